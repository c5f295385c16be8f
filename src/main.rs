//! The `signalbox` command.

use std::process::ExitCode;

use signalbox::cli::{Cli, run};

/// Chosen by figures: docs/PERFORMANCE.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::from_process();
    match cli.runtime() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("signalbox: can't start: {error}");
            ExitCode::FAILURE
        }
    }
}
