//! `signalbox watch`: sessions and connections as they come and go.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::WatchEvent;

use super::{
    connect::ServerArgs,
    failure::Failure,
    json,
    output::{self, harmless, time_of_day},
};

/// The command's flags.
#[derive(Args, Clone, Debug)]
pub(super) struct WatchArgs {
    /// Watch only this session, which need not exist yet; none: all
    session: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: WatchArgs) -> Result<(), Failure> {
    let mut events = args.server.backend()?.watch_sessions(args.session.as_deref()).await?;
    // From here on an interrupt ends it well, whenever it comes.
    let mut interrupts = signal(SignalKind::interrupt())?;
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            Some(()) = interrupts.recv() => return Ok(()),
        };
        // It ends by an error only.
        let Some(event) = next.transpose()? else { return Ok(()) };
        output::line(&if args.server.json { json::watched(&event).to_string() } else { describe(&event) })?;
    }
}

fn describe(event: &WatchEvent) -> String {
    match event {
        WatchEvent::SessionStarted { session_id, created_at, .. } => {
            format!("{}  {}  session started", time_of_day(*created_at), harmless(session_id))
        }
        WatchEvent::SessionEnded { session_id, .. } => {
            format!("{}  {}  session ended", time_of_day(None), harmless(session_id))
        }
        WatchEvent::ConnectionCreated { session_id, connection, .. } => {
            let data =
                if connection.data.is_empty() { String::new() } else { format!("  {}", harmless(&connection.data)) };
            let (at, session) = (time_of_day(connection.created_at), harmless(session_id));
            format!("{at}  {session}  + {}{data}", harmless(&connection.connection_id))
        }
        WatchEvent::ConnectionDestroyed { session_id, connection_id, reason, .. } => {
            let reason = output::bare(reason.as_str_name(), "DISCONNECT_REASON_");
            let (at, session) = (time_of_day(None), harmless(session_id));
            format!("{at}  {session}  - {}  {reason}", harmless(connection_id))
        }
        WatchEvent::SnapshotComplete => "-- that is what is there; changes follow --".to_owned(),
    }
}
