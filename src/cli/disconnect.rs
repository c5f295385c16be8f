//! `signalbox disconnect`: out, for good.

use clap::Args;
use serde_json::json;

use super::{connect::ServerArgs, failure::Failure, output};

/// The command's flags.
#[derive(Args, Clone, Debug)]
pub(super) struct DisconnectArgs {
    /// The session
    session: String,

    /// The connection, by its whole id (`signalbox sessions SESSION` shows them)
    connection_id: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: DisconnectArgs) -> Result<(), Failure> {
    args.server.backend()?.disconnect_connection(args.session, &args.connection_id).await?;
    let line = if args.server.json {
        json!({ "disconnected": args.connection_id }).to_string()
    } else {
        format!("disconnected {}", args.connection_id)
    };
    Ok(output::line(&line)?)
}
