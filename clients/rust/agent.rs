//! The agent of the Rust client: see `clients/agent.md`.

use std::{error::Error, sync::Arc, time::Duration};

use serde_json::{Value, json};
use signalbox::client::{
    Accepted, Client, ConnectError, Event, Events, JoinOptions, Outcome, Over, SendError, Session, Signal, Token,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Lines, whole.
fn tell(what: &Value) {
    println!("{what}");
}

fn answer(id: &Value, outcome: Result<Accepted, SendError>) {
    tell(&match outcome {
        Ok(Accepted { sequence, not_connected_ids, .. }) => {
            json!({ "id": id, "ok": { "sequence": sequence, "not_connected": not_connected_ids } })
        }
        Err(error) => {
            let (kind, reason) = match &error {
                SendError::Refused(refusal) => ("refused", &*refusal.reason),
                SendError::Disconnected => ("disconnected", ""),
                SendError::QueueFull { .. } => ("queue-full", ""),
                SendError::Over => ("over", ""),
                _ => ("unknown", ""),
            };
            json!({ "id": id, "error": { "kind": kind, "reason": reason } })
        }
    });
}

async fn tell_outcome(id: Value, outcome: Outcome) {
    answer(&id, outcome.await);
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// A variant's name as the wire has it.
fn screaming(name: &str) -> String {
    let mut screaming = String::new();
    for (at, letter) in name.chars().enumerate() {
        if at > 0 && letter.is_uppercase() {
            screaming.push('_');
        }
        screaming.extend(letter.to_uppercase());
    }
    screaming
}

fn told(event: &Event) -> Value {
    match event {
        Event::Joined { sequence, .. } => json!({ "event": "joined", "sequence": sequence }),
        Event::ConnectionCreated { sequence, connection } => json!({
            "event": "created", "sequence": sequence,
            "connection": connection.connection_id, "data": connection.data,
        }),
        Event::ConnectionDestroyed { sequence, connection_id, reason } => json!({
            "event": "destroyed", "sequence": sequence,
            "connection": connection_id, "reason": screaming(&format!("{reason:?}")),
        }),
        Event::ConnectionInterrupted { sequence, connection_id } => {
            json!({ "event": "interrupted", "sequence": sequence, "connection": connection_id })
        }
        Event::ConnectionRestored { sequence, connection_id } => {
            json!({ "event": "restored", "sequence": sequence, "connection": connection_id })
        }
        Event::Signal(signal) => json!({
            "event": "signal", "sequence": signal.sequence,
            "type": signal.kind, "data": signal.data, "from": signal.from,
        }),
        Event::Reconnected { gap, connection, sequence, .. } => json!({
            "event": "reconnected", "sequence": sequence, "connection": connection.connection_id, "gap": gap,
        }),
        Event::Disconnected { reason, action } => {
            let why = match reason {
                Over::Closed(refusal) => &*refusal.reason,
                _ => "",
            };
            json!({ "event": "disconnected", "action": screaming(&format!("{action:?}")), "reason": why })
        }
        _ => json!({ "event": "reconnecting" }),
    }
}

async fn tell_events(mut events: Events) {
    while let Some(event) = events.next().await {
        tell(&told(&event));
    }
}

async fn join(asked: &Value) -> Result<(Session, Events), ConnectError> {
    let seconds = |name: &str, unless: f64| Duration::from_secs_f64(asked[name].as_f64().unwrap_or(unless));
    let mut client = Client::builder()
        .endpoints(strings(&asked["endpoints"]))
        .back_off(Duration::from_millis(20), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(5))
        .give_up_after(seconds("give_up_after", 20.0));
    let tokens = strings(&asked["tokens"]);
    if !tokens.is_empty() {
        let tokens = Arc::new(std::sync::Mutex::new(tokens));
        let lasts = asked["lasts"].as_f64();
        client = client.token_with(move |_| {
            let tokens = Arc::clone(&tokens);
            async move {
                let mut tokens = tokens.lock().expect("nobody panics with it");
                let token = if tokens.len() > 1 { tokens.remove(0) } else { tokens[0].clone() };
                let token = Token::new(token);
                Ok(match lasts {
                    Some(lasts) => token.expires_at(std::time::SystemTime::now() + Duration::from_secs_f64(lasts)),
                    None => token,
                })
            }
        });
    }
    let is = |name: &str| asked[name].as_bool().unwrap_or(false);
    let mut options = JoinOptions::new(asked["session"].as_str().unwrap_or_default())
        .connection_data(asked["data"].as_str().unwrap_or_default())
        .resume_window(seconds("window", 30.0))
        .signal_types(strings(&asked["types"]))
        .suppress_connection_events(is("suppress_connection_events"))
        .suppress_own_signals(is("suppress_own_signals"));
    if let [sends, bytes] = asked["queue"].as_array().map_or(&[][..], |queue| &queue[..]) {
        let number = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
        options = options.queue(number(sends), number(bytes));
    }
    client.build()?.join(options).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut session = None;
    while let Some(line) = lines.next_line().await? {
        let asked: Value = serde_json::from_str(&line)?;
        let id = asked["id"].clone();
        match (asked["do"].as_str().unwrap_or_default(), &session) {
            ("join", _) => match join(&asked).await {
                Ok((joined, events)) => {
                    tell(&json!({ "id": id, "ok": { "connection": joined.connection_id() } }));
                    tokio::spawn(tell_events(events));
                    session = Some(joined);
                }
                Err(error) => {
                    let reason = match &error {
                        ConnectError::Rejected(refusal) => &*refusal.reason,
                        _ => "",
                    };
                    tell(&json!({ "id": id, "error": { "kind": "connect", "reason": reason } }));
                }
            },
            ("signal", Some(session)) => {
                let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
                let mut signal =
                    Signal::new(text("type"), text("data")).retry_after_reconnect(asked["retry"] != json!(false));
                if asked["to"].is_array() {
                    signal = signal.to(strings(&asked["to"]));
                }
                tokio::spawn(tell_outcome(id, session.signal(signal)));
            }
            ("disconnect", Some(session)) => {
                let whom = asked["connection"].as_str().unwrap_or_default();
                tokio::spawn(tell_outcome(id, session.force_disconnect(whom)));
            }
            ("connections", Some(session)) => {
                let there = session.connections().into_iter().map(
                    |one| json!({ "connection": one.connection_id, "data": one.data, "interrupted": one.interrupted }),
                );
                let there: Vec<_> = there.collect();
                tell(&json!({ "id": id, "ok": there }));
            }
            ("leave", Some(session)) => {
                let session = session.clone();
                tokio::spawn(async move {
                    session.leave().await;
                    tell(&json!({ "id": id, "ok": {} }));
                });
            }
            (what, _) => return Err(format!("can't {what:?} now").into()),
        }
    }
    Ok(())
}
