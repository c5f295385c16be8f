//! What is over a limit: refused by the client as the server would.

use signalbox::client::{Refusal, SendError, Signal};
use tonic::Code;

use crate::support::{Frame, Relay, TestServer, proto, recipients, signal, soon};

use super::App;

/// As the server told it in a stream.
fn told(error: proto::SendError) -> Refusal {
    Refusal {
        code: Code::from(error.code),
        reason: error.reason,
        message: error.message,
        field: (!error.field.is_empty()).then_some(error.field),
        retry_after: None,
    }
}

/// Signals that no server takes.
fn bad() -> Vec<(proto::Signal, Option<proto::Recipients>)> {
    let many: Vec<_> = (0..101).map(|number| format!("recipient-{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    vec![
        // Three bytes each.
        (signal("chat", &"語".repeat(2_731)), None),
        (signal("chat", &"d".repeat(8_193)), None),
        (signal(&"t".repeat(129), ""), None),
        (signal("not allowed", ""), None),
        (signal("naïve", ""), None),
        (signal("chat", ""), Some(recipients(&many))),
        (signal("chat", ""), Some(recipients(&[]))),
        (signal("chat", ""), Some(recipients(&[&"n".repeat(129)]))),
        // More than one thing is wrong.
        (signal("not allowed", &"d".repeat(8_193)), Some(recipients(&[]))),
    ]
}

fn send(app: &App, signal: proto::Signal, to: Option<proto::Recipients>) -> signalbox::client::Outcome {
    let signal = Signal::new(signal.r#type, signal.data);
    app.session.signal(match to {
        Some(to) => signal.to(to.connection_ids),
        None => signal,
    })
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_as_the_server_would_and_costs_nothing() {
    let server = TestServer::start().await;
    let mut raw = server.join("s").without_own_signals().without_connection_events().enter().await;
    let relay = Relay::to(server.address()).await;
    let mut app = App::through(&relay).await;
    let mut expected = Vec::new();
    for (send_id, (signal, to)) in (1..).zip(bad()) {
        raw.frame(Frame::Send(proto::SendSignal { send_id, signal: Some(signal), to }));
        expected.push(told(raw.refusal(send_id).await));
    }
    for ((signal, to), refusal) in bad().into_iter().zip(&expected) {
        let outcome = soon("an outcome", send(&app, signal, to)).await;
        assert_eq!(outcome, Err(SendError::Refused(refusal.clone())));
    }
    app.session.signal(Signal::new("", "good")).await.unwrap();
    assert_eq!(app.heard().await, "good");
    assert_eq!(raw.heard().await, "good");

    // The server isn't asked: it can't be.
    relay.cut();
    app.lost().await;
    for ((signal, to), refusal) in bad().into_iter().zip(expected) {
        assert_eq!(soon("an outcome", send(&app, signal, to)).await, Err(SendError::Refused(refusal)));
    }
}

#[tokio::test]
async fn the_servers_own_limit_on_recipients_is_the_one_that_holds() {
    let server = TestServer::with(&["--max-recipients", "2"]).await;
    let app = App::of(&server).await;
    let outcome = soon("an outcome", app.session.signal(Signal::new("", "").to(["a", "b", "c"]))).await;
    let Err(SendError::Refused(refusal)) = outcome else { panic!("{outcome:?}") };
    assert!(refusal.message.contains("3 recipients; the limit is 2"), "{refusal}");
    // 0 is no limit.
    let server = TestServer::with(&["--max-recipients", "0"]).await;
    let app = App::of(&server).await;
    let to: Vec<_> = (0..200).map(|number| number.to_string()).chain([app.id()]).collect();
    let accepted = soon("an outcome", app.session.signal(Signal::new("", "").to(to))).await.unwrap();
    assert_eq!(accepted.not_connected_ids.len(), 200);
}

#[tokio::test]
async fn a_refused_join_says_why() {
    let server = TestServer::start().await;
    let client = signalbox::client::Client::new([server.address().to_string()]).unwrap();
    let options = signalbox::client::JoinOptions::new("a room");
    let refused = soon("a refusal", client.join(options)).await.unwrap_err();
    let signalbox::client::ConnectError::Rejected(refusal) = &refused else { panic!("{refused:?}") };
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "SESSION_ID_INVALID"));
    assert_eq!(refusal.field.as_deref(), Some("join.session_id"));
}
