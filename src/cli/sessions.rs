//! `signalbox sessions`: what is there.

use clap::Args;

use crate::proto::{Connection, GetSessionRequest, ListConnectionsRequest, ListSessionsRequest, Session};

use super::{connect::ServerArgs, failure::Failure, json, output};

/// Items per call; the most that the server gives.
const PAGE_SIZE: u32 = 1_000;

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
    let mut client = server.sessions().await?;
    let mut request = ListSessionsRequest { page_size: PAGE_SIZE, page_token: String::new() };
    let mut count = 0;
    loop {
        let page = client.list_sessions(request.clone()).await?.into_inner();
        for session in &page.sessions {
            if count == 0 && !server.json {
                output::line(&row("SESSION", "CONNECTIONS", "SEQUENCE", "SINCE"))?;
            }
            count += 1;
            print_session(server, session)?;
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    if count == 0 && !server.json {
        output::line("no sessions")?;
    }
    Ok(())
}

async fn show(server: &ServerArgs, session_id: String) -> Result<(), Failure> {
    let mut client = server.sessions().await?;
    let request = GetSessionRequest { session_id: session_id.clone() };
    if let Some(session) = client.get_session(request).await?.into_inner().session {
        if !server.json {
            output::line(&row("SESSION", "CONNECTIONS", "SEQUENCE", "SINCE"))?;
        }
        print_session(server, &session)?;
    }
    let mut request = ListConnectionsRequest { session_id, page_size: PAGE_SIZE, page_token: String::new() };
    loop {
        let page = client.list_connections(request.clone()).await?.into_inner();
        for connection in &page.connections {
            print_connection(server, connection)?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

fn row(session: &str, connections: &str, sequence: &str, since: &str) -> String {
    format!("{session:<32}  {connections:>11}  {sequence:>10}  {since}")
}

fn print_session(server: &ServerArgs, session: &Session) -> Result<(), Failure> {
    let line = if server.json {
        json::session(session).to_string()
    } else {
        let since = session.created_at.map(|at| at.to_string()).unwrap_or_default();
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
    let role = output::bare(connection.role().as_str_name(), "ROLE_").to_lowercase();
    let state = output::bare(connection.state().as_str_name(), "CONNECTION_STATE_").to_lowercase();
    let since = connection.created_at.map(|at| at.to_string()).unwrap_or_default();
    let data = output::harmless(&connection.data);
    format!("{}  {role:<10}  {state:<11}  {since}  {data}", output::harmless(&connection.connection_id))
        .trim_end()
        .to_owned()
}
