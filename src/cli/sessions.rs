//! `signalbox sessions`: what is there.

use clap::Args;

use crate::client::{Connection, SessionInfo};

use super::{connect::ServerArgs, failure::Failure, json, output};

/// The command's flags.
#[derive(Args, Clone, Debug)]
pub(super) struct SessionsArgs {
    /// Show this session and its connections; none: list all sessions
    session: Option<String>,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: SessionsArgs) -> Result<(), Failure> {
    match args.session {
        Some(session) => show(&args.server, session).await,
        None => list(&args.server).await,
    }
}

async fn list(server: &ServerArgs) -> Result<(), Failure> {
    let mut sessions = server.backend()?.list_sessions();
    let mut count = 0;
    while let Some(page) = sessions.next_page().await? {
        for session in &page {
            if count == 0 && !server.json {
                output::line(&row("SESSION", "CONNECTIONS", "SEQUENCE", "SINCE"))?;
            }
            count += 1;
            print_session(server, session)?;
        }
    }
    if count == 0 && !server.json {
        output::line("no sessions")?;
    }
    Ok(())
}

async fn show(server: &ServerArgs, session_id: String) -> Result<(), Failure> {
    let backend = server.backend()?;
    let session = backend.get_session(session_id.as_str()).await?;
    if !server.json {
        output::line(&row("SESSION", "CONNECTIONS", "SEQUENCE", "SINCE"))?;
    }
    print_session(server, &session)?;
    let mut connections = backend.list_connections(session_id);
    while let Some(page) = connections.next_page().await? {
        for connection in &page {
            print_connection(server, connection)?;
        }
    }
    Ok(())
}

fn row(session: &str, connections: &str, sequence: &str, since: &str) -> String {
    format!("{session:<32}  {connections:>11}  {sequence:>10}  {since}")
}

fn print_session(server: &ServerArgs, session: &SessionInfo) -> Result<(), Failure> {
    let line = if server.json {
        json::session(session).to_string()
    } else {
        let since = session.created_at.map(output::time).unwrap_or_default();
        let (connections, sequence) = (session.connection_count.to_string(), session.sequence.to_string());
        row(&output::harmless(&session.session_id), &connections, &sequence, &since)
    };
    Ok(output::line(&line)?)
}

fn print_connection(server: &ServerArgs, connection: &Connection) -> Result<(), Failure> {
    let line =
        if server.json { json::connection(connection).to_string() } else { format!("  {}", describe(connection)) };
    Ok(output::line(&line)?)
}

/// A connection in a line.
pub(super) fn describe(connection: &Connection) -> String {
    let role = output::bare(connection.role.as_str_name(), "ROLE_").to_lowercase();
    let state = output::bare(json::state(connection), "CONNECTION_STATE_").to_lowercase();
    let since = connection.created_at.map(output::time).unwrap_or_default();
    let data = output::harmless(&connection.data);
    format!("{}  {role:<10}  {state:<11}  {since}  {data}", output::harmless(&connection.connection_id))
        .trim_end()
        .to_owned()
}
