//! The commands: the server, and clients of a running one. Layer 5.
//!
//! The clients use the public clients only, as anybody would.

mod bench;
mod connect;
mod disconnect;
mod doctor;
mod failure;
mod join;
mod json;
mod man;
mod output;
mod send;
mod serve;
mod sessions;
mod token;
mod top;
mod watch;

use std::{env, io, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::{Builder, Runtime};

use crate::server::{ServeArgs, worker_runtime};

use failure::Failure;

/// Session signaling over gRPC
#[derive(Debug, Parser)]
#[command(
    name = "signalbox",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "`signalbox` alone is `signalbox serve`.\n\n\
        Try:\n  \
        signalbox                                  start a server on 127.0.0.1:50051\n  \
        signalbox join demo                        be a member of the session demo\n  \
        signalbox send demo hello --type greeting  a signal from a backend\n\n\
        Exit codes: 0 success, 1 refused or unreachable (the reason is on standard error), 2 bad usage."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server
    Serve(Box<ServeArgs>),
    /// Be a member of a session: lines typed are sent, what happens is shown
    Join(join::JoinArgs),
    /// Send one signal into a session, as a backend does
    Send(send::SendArgs),
    /// List the sessions, or one session and its connections
    Sessions(sessions::SessionsArgs),
    /// Watch sessions start and end and connections come and go
    Watch(watch::WatchArgs),
    /// See sessions, rates, slow readers and closes as they happen: a live view of servers, by their admin ports
    Top(top::TopArgs),
    /// Disconnect a connection for good
    Disconnect(disconnect::DisconnectArgs),
    /// See whether what a server with these flags would depend on will do, and what to mend
    Doctor(Box<doctor::DoctorArgs>),
    /// Sign a token, for a server with the same secret
    Token(token::TokenArgs),
    /// Put load on a server and measure what it costs
    Bench(Box<bench::BenchArgs>),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write all of them into a folder
    Man(man::ManArgs),
}

impl Cli {
    /// The command that the process was started with. Ends the process when
    /// there is none in it, or when only help was asked for.
    #[must_use]
    pub fn from_process() -> Self {
        let arguments: Vec<_> = env::args_os().collect();
        let named = arguments.get(1).is_some_and(|first| !first.as_encoded_bytes().starts_with(b"-"));
        let mut command = Self::command();
        if named {
            // What the command named takes is its own matter: a server's
            // environment, right or wrong, must not reach it by these.
            command = command.mut_args(|flag| flag.env(None::<&str>));
        }
        Self::from_arg_matches(&command.get_matches_from(arguments)).unwrap_or_else(|error| error.exit())
    }

    /// The runtime that the command runs in. A server's is the first of its
    /// workers, and takes connections in turn with the others.
    ///
    /// # Errors
    /// When the system refuses its resources.
    pub fn runtime(&self) -> io::Result<Runtime> {
        match self.command {
            None | Some(Command::Serve(_)) => worker_runtime(),
            Some(_) => Builder::new_multi_thread().enable_all().build(),
        }
    }
}

/// Runs the command that the process was started with.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        None => return serve::serve(cli.serve).await,
        Some(Command::Serve(args)) => return serve::serve(*args).await,
        Some(Command::Join(args)) => join::run(args).await,
        Some(Command::Send(args)) => send::run(args).await,
        Some(Command::Sessions(args)) => sessions::run(args).await,
        Some(Command::Watch(args)) => watch::run(args).await,
        Some(Command::Top(args)) => top::run(args).await,
        Some(Command::Disconnect(args)) => disconnect::run(args).await,
        Some(Command::Doctor(args)) => doctor::run(*args).await,
        Some(Command::Token(args)) => token::run(&args),
        Some(Command::Bench(args)) => bench::run(*args).await,
        Some(Command::Completions { shell }) => completions(shell),
        Some(Command::Man(args)) => man::run(&args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "signalbox", &mut script);
    Ok(io::Write::write_all(&mut io::stdout(), &script)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn alone_is_serve_and_takes_its_flags() {
        for arguments in
            [&["signalbox"][..], &["signalbox", "--signal-burst", "7"], &["signalbox", "serve", "--signal-burst", "7"]]
        {
            assert!(Cli::try_parse_from(arguments).is_ok(), "{arguments:?}");
        }
        assert!(Cli::try_parse_from(["signalbox", "--signal-burst", "7", "join", "demo"]).is_err());
    }

    #[test]
    fn every_flag_of_serve_has_its_environment_variable() {
        let mut command = Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        let flags: Vec<_> = serve.get_arguments().filter(|flag| flag.get_id() != "help").collect();
        assert!(flags.len() > 20);
        for flag in flags {
            let name = flag.get_long().unwrap();
            let variable = format!("SIGNALBOX_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(variable.as_str()), "--{name}");
            assert!(flag.get_help().is_some(), "--{name} has no help");
        }
    }
}
