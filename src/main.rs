//! The `signalbox` command.

use std::process::ExitCode;

use clap::Parser;
use signalbox::{cli, server::ServeArgs};

#[derive(Parser)]
#[command(name = "signalbox", version, about)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
}

#[tokio::main]
async fn main() -> ExitCode {
    cli::serve::serve(Cli::parse().serve).await
}
