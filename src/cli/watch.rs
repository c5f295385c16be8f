//! `signalbox watch`: sessions and connections as they come and go.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::proto::{WatchSessionsRequest, watch_sessions_response::Event};

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
    let request = WatchSessionsRequest { session_id: args.session.unwrap_or_default() };
    let mut events = args.server.sessions().await?.watch_sessions(request).await?.into_inner();
    // From here on an interrupt ends it well, whenever it comes.
    let mut interrupts = signal(SignalKind::interrupt())?;
    loop {
        let next = tokio::select! {
            next = events.message() => next?,
            Some(()) = interrupts.recv() => return Ok(()),
        };
        let Some(response) = next else { return Ok(()) };
        let Some(event) = response.event else { continue };
        output::line(&if args.server.json { json::watched(&event).to_string() } else { describe(&event) })?;
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::SessionStarted(started) => {
            format!("{}  {}  session started", time_of_day(started.created_at), harmless(&started.session_id))
        }
        Event::SessionEnded(ended) => {
            format!("{}  {}  session ended", time_of_day(None), harmless(&ended.session_id))
        }
        Event::ConnectionCreated(created) => {
            let connection = created.connection.clone().unwrap_or_default();
            let data =
                if connection.data.is_empty() { String::new() } else { format!("  {}", harmless(&connection.data)) };
            let (at, session) = (time_of_day(connection.created_at), harmless(&created.session_id));
            format!("{at}  {session}  + {}{data}", harmless(&connection.connection_id))
        }
        Event::ConnectionDestroyed(destroyed) => {
            let reason = output::bare(destroyed.reason().as_str_name(), "DISCONNECT_REASON_");
            let (at, session) = (time_of_day(None), harmless(&destroyed.session_id));
            format!("{at}  {session}  - {}  {reason}", harmless(&destroyed.connection_id))
        }
        Event::SnapshotComplete(_) => "-- that is what is there; changes follow --".to_owned(),
    }
}
