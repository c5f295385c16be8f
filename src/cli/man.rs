//! `signalbox man`: manual pages, made of what `--help` says.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_mangen::Man;

use super::failure::Failure;

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    signalbox man | man -l -\n  \
    signalbox man --dir ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Write the page of every command, as signalbox-join.1, into this folder, made where it isn't there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the page of `command`, or writes those of all its commands too.
pub(super) fn run(args: &ManArgs, mut command: Command) -> Result<(), Failure> {
    // Only then do commands within it know their whole names.
    command.build();
    let Some(dir) = &args.dir else {
        return Ok(io::Write::write_all(&mut io::stdout(), &page(command)?)?);
    };
    write_all(&command, dir)
        .map_err(|error| Failure::Refused(format!("can't write manual pages into {}: {error}", dir.display())))
}

fn write_all(command: &Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join(format!("{}.1", name(command))), page(command.clone())?)?;
    command.get_subcommands().try_for_each(|inner| write_all(inner, dir))
}

/// As `signalbox-bench-fanout`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).manual("Signalbox").source(concat!("signalbox ", env!("CARGO_PKG_VERSION"))).render(&mut page)?;
    Ok(page)
}
