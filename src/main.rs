//! The `signalbox` command.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
