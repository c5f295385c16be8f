//! The same in plain text, for who has no terminal.

use std::fmt::Write as _;

use crate::cli::output::harmless;

use super::{
    show,
    state::{Series, State},
};

/// How many sessions are listed.
const SESSIONS: usize = 20;

/// What is known, in lines.
pub(super) fn text(state: &State) -> String {
    let mut text = String::new();
    for node in &state.nodes {
        let _ = match (&node.away, &node.snapshot) {
            (Some((_, why)), _) => writeln!(text, "{} is away: {}", node.endpoint, harmless(why)),
            (None, None) => writeln!(text, "{}: not asked", node.endpoint),
            (None, Some(snapshot)) => {
                let facts = &snapshot.node;
                let state = format!("{:?}", facts.state).to_lowercase();
                let why = facts.why.as_deref().map(|why| format!(" ({})", harmless(why))).unwrap_or_default();
                let (address, version, kind) =
                    (harmless(&facts.address), harmless(&facts.version), harmless(&snapshot.engine.kind));
                let up = show::time(facts.uptime_seconds);
                writeln!(text, "{address}  signalbox {version}  {state}{why}  up {up}  engine {kind}")
            }
        };
    }
    if state.answering().next().is_none() {
        return text;
    }
    let newest = |series| show::number(state.history(series).back().copied().flatten());
    let _ = writeln!(
        text,
        "sessions {}  connections {}  signals/s {}  deliveries/s {}  closes/min {}  waiting {}  CPU % {}",
        newest(Series::Sessions),
        newest(Series::Connections),
        newest(Series::Signals),
        newest(Series::Deliveries),
        newest(Series::Closes),
        newest(Series::Outboxes),
        newest(Series::Cpu),
    );
    let sessions = state.sessions();
    let _ = writeln!(
        text,
        "\n{:<32}  {:>11}  {:>8}  {:>12}  {:>8}",
        "SESSION", "CONNECTIONS", "EVENTS/S", "SEQUENCE", "AGE"
    );
    for (_, session) in sessions.iter().take(SESSIONS) {
        let _ = writeln!(
            text,
            "{:<32}  {:>11}  {:>8}  {:>12}  {:>8}",
            harmless(&session.id),
            show::size(session.connected.saturating_add(session.interrupted)),
            show::number(session.events_per_second),
            session.sequence,
            show::time(session.age_seconds),
        );
    }
    let (matching, _) = state.matching();
    if matching > SESSIONS.min(sessions.len()) {
        let _ = writeln!(text, "and {} more", show::size(matching - SESSIONS.min(sessions.len())));
    }
    let readers = state.readers();
    if !readers.is_empty() {
        let _ = writeln!(
            text,
            "\n{:<32}  {:<36}  {:>6}  {:>7}  {:>10}",
            "SLOW READER OF", "CONNECTION", "FULL", "EVENTS", "BYTES"
        );
    }
    for (_, reader) in readers {
        let _ = writeln!(
            text,
            "{:<32}  {:<36}  {:>5.0}%  {:>7}  {:>10}",
            harmless(reader.session.as_deref().unwrap_or("(not in yet)")),
            harmless(reader.connection.as_deref().unwrap_or("")),
            reader.full * 100.0,
            show::size(reader.events),
            show::bytes(reader.bytes as u64),
        );
    }
    let closes = state.closes();
    if !closes.is_empty() {
        let _ = writeln!(text, "\n{:<32}  {:>11}  {:>8}", "CLOSES", "PER MINUTE", "IN ALL");
    }
    for (reason, rate, all) in closes {
        let _ = writeln!(text, "{:<32}  {:>11}  {:>8}", harmless(reason), show::number(rate), show::count(all));
    }
    text
}
