//! `signalbox join` in pipes: a member that scripts can be.

use serde_json::Value;

use super::{PATIENCE, Process, begins_with_a_time, client, json, run, run_with};
use crate::support::{
    Event, Frame, Member, TestServer, from_server,
    proto::{self, DisconnectReason},
    signal, within,
};

/// The next one who comes.
async fn arrival(member: &mut Member) -> proto::Connection {
    let came = |event: &Event| match event {
        Event::ConnectionCreated(created) => created.connection.clone(),
        _ => None,
    };
    member.find("an arrival", came).await
}

/// Why the next one who goes is gone.
async fn departure(member: &mut Member) -> DisconnectReason {
    let gone = |event: &Event| match event {
        Event::ConnectionDestroyed(destroyed) => Some(destroyed.reason()),
        _ => None,
    };
    member.find("a departure", gone).await
}

#[tokio::test]
async fn each_line_is_broadcast_in_order_and_the_end_of_the_input_leaves() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let done =
        run_with(client(&server, &["join", "demo", "--data", "Ada", "--type", "chat"]), "one\n\n  two \nthree").await;
    assert_eq!(arrival(&mut onlooker).await.data, "Ada");
    // An empty line is no signal.
    for data in ["one", "  two ", "three"] {
        assert_eq!(onlooker.signal().await.signal, Some(signal("chat", data)));
    }
    assert_eq!(departure(&mut onlooker).await, DisconnectReason::ClientDisconnected);
    // It saw its own, before it left.
    let out = done.well();
    for data in ["one", "  two ", "three"] {
        assert!(
            out.lines().any(|line| begins_with_a_time(line) && line.ends_with(&format!("you       [chat] {data}")))
        );
    }
}

#[tokio::test]
async fn commands_address_one_set_the_type_list_and_leave() {
    let server = TestServer::start().await;
    let mut first = server.join("demo").data("Grace").enter().await;
    let mut second = server.join("demo").enter().await;
    let (to_first, to_second) = (first.id(), second.id());
    let mut join = Process::start(client(&server, &["join", "demo", "--suppress-own-signals"]));
    let me = arrival(&mut second).await.connection_id;
    join.types(&format!("/to {} for you\n/type note\n/to {to_second} and you\n/type\n//all\n/who\n", &to_first[..8]))
        .await;
    assert_eq!(first.signal().await.signal, Some(signal("", "for you")));
    assert_eq!(second.signal().await.signal, Some(signal("note", "and you")));
    for member in [&mut first, &mut second] {
        assert_eq!(member.signal().await.signal, Some(signal("", "/all")));
    }
    for (id, mark, data) in [(&to_first, "  ", "Grace"), (&to_second, "  ", ""), (&me, "  you", "")] {
        let line = join.says(id).await;
        assert!(line.starts_with(mark) && line.ends_with(data), "{line}");
    }
    // What is no command isn't sent either.
    join.types("/to\n/whisper x\n/to  \n").await;
    for says in ["/to needs an id and a text", "/whisper is no command", "/to needs"] {
        let complaint = join.complaint().await;
        assert!(complaint.starts_with("signalbox: ") && complaint.contains(says), "{complaint}");
    }
    join.types("/quit\nnever sent\n").await;
    assert_eq!(departure(&mut second).await, DisconnectReason::ClientDisconnected);
    join.done().await.failed(1, &["signalbox: 3 of 6 lines were not sent"]);
    let sent = second.send("", "marker");
    second.accepted(sent).await;
    assert_eq!(second.heard().await, "marker", "what came after /quit was not sent");
}

#[tokio::test]
async fn an_ambiguous_beginning_of_an_id_addresses_nobody() {
    let server = TestServer::start().await;
    // Of 17 ids two begin alike.
    let members = futures_util::future::join_all((0..17).map(|_| server.join("demo").enter())).await;
    let mut beginnings: Vec<_> = members.iter().map(|member| member.id()[..1].to_owned()).collect();
    beginnings.sort();
    let shared = beginnings.windows(2).find(|pair| pair[0] == pair[1]).unwrap()[0].clone();
    let done = run_with(client(&server, &["join", "demo"]), &format!("/to {shared} x\n")).await;
    done.failed(1, &[&format!("ids begin with {shared}: type more of it"), "1 of 1 lines"]);
}

#[tokio::test]
async fn what_happens_is_shown_with_its_time_and_its_sender() {
    let server = TestServer::start().await;
    let mut join = Process::start(client(&server, &["join", "demo", "--stay"]));
    let line = join.line().await;
    assert!(begins_with_a_time(&line) && line.contains("you are") && line.contains("with 0 others here"), "{line}");
    let mut other = server.join("demo").data("Grace").window(std::time::Duration::from_secs(60)).enter().await;
    let short = other.id()[..8].to_owned();
    let sent = other.send("chat", "hello");
    other.accepted(sent).await;
    server.signaling().send_from_server(from_server("demo", "news")).await.unwrap();
    let memory = other.lose();
    for (mark, ends) in [
        ("  * ", format!("{short} joined: Grace")),
        ("  ", format!("{short}  [chat] hello")),
        ("  ", "server    news".to_owned()),
        ("  * ", format!("{short} lost the connection and may come back")),
    ] {
        let line = join.line().await;
        assert!(begins_with_a_time(&line) && line.ends_with(&format!("{mark}{ends}")), "{line}");
    }
    let back = server.join("demo").resume(memory).enter().await;
    assert!(join.line().await.ends_with(&format!("* {short} came back")));
    back.frame(Frame::Leave(proto::Leave {}));
    assert!(join.line().await.ends_with(&format!("* {short} is gone (CLIENT_DISCONNECTED)")));
}

#[tokio::test]
async fn with_stay_it_receives_after_its_input_and_one_interrupt_leaves() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut join = Process::start(client(&server, &["join", "demo", "--stay"]));
    join.types("said\n").await;
    join.input = None;
    assert_eq!(onlooker.heard().await, "said");
    join.says("said").await;
    for data in ["still", "here"] {
        server.signaling().send_from_server(from_server("demo", data)).await.unwrap();
        assert!(join.line().await.ends_with(data));
    }
    join.signal("INT").await;
    assert_eq!(departure(&mut onlooker).await, DisconnectReason::ClientDisconnected);
    join.done().await.well();
}

#[tokio::test]
async fn an_interrupt_leaves_while_its_input_is_open_too() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut join = Process::start(client(&server, &["join", "demo"]));
    join.says("you are").await;
    join.signal("INT").await;
    assert_eq!(departure(&mut onlooker).await, DisconnectReason::ClientDisconnected);
    join.done().await.well();
}

#[tokio::test]
async fn an_interrupt_drops_what_waits_and_says_how_much_it_was() {
    let server = TestServer::with(&["--signals-per-second", "1", "--signal-burst", "1"]).await;
    let mut join = Process::start(client(&server, &["join", "demo"]));
    let lines = "line\n".repeat(50);
    join.types(&format!("{lines}/to\n")).await;
    // All before it were taken.
    assert!(join.complaint().await.contains("/to needs an id"));
    join.signal("INT").await;
    let done = join.done().await;
    done.failed(1, &["of 51 lines were not sent"]);
    assert_eq!(done.err.lines().count(), 1, "{done:?}");
}

#[tokio::test]
async fn with_json_each_event_is_an_object_with_the_apis_names() {
    let server = TestServer::start().await;
    let mut join = Process::start(client(&server, &["join", "demo", "--json", "--data", "Ada", "--type", "chat"]));
    let joined = json(&join.line().await);
    let me = joined["connection"]["connection_id"].clone();
    assert_eq!((&joined["event"], &joined["sequence"]), (&"joined".into(), &1.into()));
    assert_eq!((&joined["connections"][0]["connection_id"], &joined["connection"]["data"]), (&me, &"Ada".into()));
    assert!(joined.get("resume_token").is_none(), "a secret");

    join.types("hello\n").await;
    let (mut signal, mut result) = (json(&join.line().await), json(&join.line().await));
    // The outcome and the signal come in either order.
    if result["event"] == "signal" {
        std::mem::swap(&mut signal, &mut result);
    }
    assert_eq!(
        (&signal["event"], &signal["sequence"], &signal["from_connection_id"]),
        (&"signal".into(), &2.into(), &me)
    );
    assert_eq!((&signal["type"], &signal["data"]), (&"chat".into(), &"hello".into()));
    assert!(signal["sent_at"].as_str().unwrap().ends_with('Z'), "{signal}");
    let accepted = serde_json::json!({ "sequence": 2, "not_connected_ids": [] });
    assert_eq!(result, serde_json::json!({ "event": "send_result", "send_id": 1, "accepted": accepted }));

    server.signaling().send_from_server(from_server("demo", "news")).await.unwrap();
    let news = json(&join.line().await);
    assert_eq!((&news["data"], &news["from_connection_id"]), (&"news".into(), &Value::Null));
    let other = server.join("demo").enter().await;
    let created = json(&join.line().await);
    assert_eq!(
        (&created["event"], &created["connection"]["connection_id"]),
        (&"connection_created".into(), &other.id().into())
    );
    drop(other);
    let destroyed = json(&join.line().await);
    assert_eq!((&destroyed["event"], &destroyed["sequence"]), (&"connection_destroyed".into(), &5.into()));
    assert_eq!(destroyed["reason"], "DISCONNECT_REASON_NETWORK_DISCONNECTED");
    join.types("/who\n").await;
    let who = json(&join.line().await);
    assert_eq!((&who["event"], who["connections"].as_array().unwrap().len()), (&"who".into(), 1));
    join.done().await.well();
}

#[tokio::test]
async fn more_lines_than_the_rate_limit_allows_are_all_delivered_in_order() {
    let server = TestServer::with(&["--signals-per-second", "200", "--signal-burst", "5"]).await;
    let mut onlooker = server.join("demo").without_connection_events().enter().await;
    let input: String = (0..300).map(|number| format!("{number}\n")).collect();
    let done = run_with(client(&server, &["join", "demo", "--suppress-own-signals"]), &input).await;
    done.well();
    for number in 0..300 {
        assert_eq!(onlooker.heard().await, number.to_string());
    }
    let refused = server.metric("signalbox_refusals_total{reason=\"RATE_LIMITED\"}").await;
    assert!(refused == 0.0, "it keeps to the rate by itself");
}

#[tokio::test]
async fn refused_sends_are_told_on_standard_error_and_fail_the_command() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let long = "x".repeat(8_193);
    for form in [&[][..], &["--json"]] {
        let input = format!("/type a b\nlost\n/type\n/to nobody lost\n{long}\nheard\n");
        let done = run_with(client(&server, &[&["join", "demo"], form].concat()), &input).await;
        done.failed(1, &["SIGNAL_TYPE_INVALID", "CONNECTION_NOT_FOUND", "SIGNAL_DATA_TOO_LARGE", "3 of 4 lines"]);
        assert_eq!(done.err.lines().count(), 4, "{done:?}");
        assert_eq!(onlooker.heard().await, "heard", "the others go on");
        let refused = done.out.lines().filter(|line| line.contains("SIGNAL_TYPE_INVALID")).count();
        assert_eq!(refused, form.len(), "an event in JSON, and nothing else on standard output: {done:?}");
    }
}

#[tokio::test]
async fn input_that_cannot_be_read_fails_the_command() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut join = Process::start(client(&server, &["join", "demo"]));
    join.types("good\n").await;
    join.writes(b"bad \xff\nnot read\n").await;
    join.done().await.failed(1, &["standard input can't be read", "UTF-8"]);
    assert_eq!(onlooker.heard().await, "good");
    assert_eq!(departure(&mut onlooker).await, DisconnectReason::ClientDisconnected);
}

#[tokio::test]
async fn it_ends_well_when_nobody_reads_its_output_any_more() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut command = client(&server, &["join", "demo", "--stay"]);
    let (read, write) = std::io::pipe().unwrap();
    command.stdout(write);
    let mut child = command.spawn().unwrap();
    drop((command, read));
    arrival(&mut onlooker).await;
    // Its first line finds nobody, or this one.
    let sent = onlooker.send("", "anyone?");
    onlooker.accepted(sent).await;
    let status = within(PATIENCE, "the end of the command", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn filters_are_the_servers() {
    let server = TestServer::start().await;
    let flags = ["join", "demo", "--json", "--only", "chat", "--only", "note", "--suppress-connection-events"];
    let mut join = Process::start(client(&server, &flags));
    join.line().await;
    let mut other = server.join("demo").enter().await;
    for kind in ["", "chat", "other", "note"] {
        let sent = other.send(kind, kind);
        other.accepted(sent).await;
    }
    assert_eq!(json(&join.line().await)["data"], "chat");
    assert_eq!(json(&join.line().await)["data"], "note");
}

#[tokio::test]
async fn a_refused_join_fails_with_its_reason() {
    let server = TestServer::with(&["--max-connections-per-session", "1"]).await;
    run(client(&server, &["join", "a b"])).await.failed(1, &["INVALID_ARGUMENT / SESSION_ID_INVALID: "]);
    let _member = server.join("full").enter().await;
    run(client(&server, &["join", "full"])).await.failed(1, &["RESOURCE_EXHAUSTED / SESSION_FULL: "]);
}

#[tokio::test]
async fn a_member_that_is_told_to_stop_fails_with_the_reason() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let disconnected = Process::start(client(&server, &["join", "demo", "--stay"]));
    let id = arrival(&mut onlooker).await.connection_id;
    let sent = onlooker.disconnect(&id);
    onlooker.accepted(sent).await;
    disconnected.done().await.failed(1, &["ABORTED / FORCE_DISCONNECTED: "]);

    let reason = disconnected_reason(&server).await;
    assert_eq!(reason, "FORCE_DISCONNECTED");
}

/// What a member in JSON says when it is disconnected by force.
async fn disconnected_reason(server: &TestServer) -> Value {
    let mut onlooker = server.join("json").enter().await;
    let mut join = Process::start(client(server, &["join", "json", "--stay", "--json"]));
    let id = arrival(&mut onlooker).await.connection_id;
    let sent = onlooker.disconnect(&id);
    onlooker.accepted(sent).await;
    let told = json(&join.says("\"disconnected\"").await);
    assert_eq!(told["action"], "CLIENT_ACTION_STOP");
    assert_eq!(join.done().await.code, 1);
    told["reason"].clone()
}
