//! `signalbox send`: one signal from a backend.

use std::io::Read as _;

use clap::Args;
use serde_json::json;

use crate::client::Signal;

use super::{connect::ServerArgs, failure::Failure, output};

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    signalbox send demo hello --type greeting\n  \
    date | signalbox send demo -\n  \
    signalbox send demo 'only for you' --to 006c501f-5dff-4162-af0f-5e2a8db25b3a")]
pub(super) struct SendArgs {
    /// The session
    session: String,

    /// The data, at most 8192 bytes; `-` or nothing: standard input, less one line end
    data: Option<String>,

    /// The type, at most 128 characters of A-Z a-z 0-9 - _ ~
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    kind: String,

    /// A connection to send to, by its whole id; may be repeated. None: all of them
    #[arg(long, value_name = "CONNECTION_ID")]
    to: Vec<String>,

    /// Makes it safe to repeat the command: the same key sends once
    #[arg(long, value_name = "KEY", default_value = "")]
    idempotency_key: String,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: SendArgs) -> Result<(), Failure> {
    let data = match args.data {
        Some(data) if data != "-" => data,
        _ => {
            let mut data = String::new();
            std::io::stdin().read_to_string(&mut data)?;
            let trimmed = data.strip_suffix('\n').map(|data| data.strip_suffix('\r').unwrap_or(data));
            trimmed.map(str::to_owned).unwrap_or(data)
        }
    };
    let mut signal = Signal::new(args.kind, data);
    if !args.to.is_empty() {
        signal = signal.to(args.to);
    }
    let send = args.server.backend()?.send_from_server(args.session, signal);
    let sent = send.idempotency_key(args.idempotency_key).await?;
    if args.server.json {
        let sent = json!({
            "sequence": sent.sequence,
            "not_connected_ids": sent.not_connected_ids,
            "recipient_count": sent.recipient_count,
        });
        return Ok(output::line(&sent.to_string())?);
    }
    let connections = if sent.recipient_count == 1 { "connection" } else { "connections" };
    output::line(&format!("sent to {} {connections}, sequence {}", sent.recipient_count, sent.sequence))?;
    for id in sent.not_connected_ids {
        output::line(&format!("not connected: {}", output::harmless(&id)))?;
    }
    Ok(())
}
