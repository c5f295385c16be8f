//! The `signalbox` command.

use std::process::ExitCode;

use signalbox::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::from_process()).await
}
