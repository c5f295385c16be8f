//! `send`, `sessions`, `watch` and `disconnect`: for people and for programs.

use serde_json::Value;
use tokio::net::TcpSocket;

use super::{Process, begins_with_a_time, client, json, run, run_with, signalbox};
use crate::support::{Event, Frame, Peer, TestServer, proto, signal, soon};

#[tokio::test]
async fn send_takes_its_data_as_an_argument_or_from_its_input() {
    let server = TestServer::start().await;
    let mut member = server.join("demo").enter().await;
    assert_eq!(run(client(&server, &["send", "demo", "hello"])).await.well(), "sent to 1 connection, sequence 2\n");
    assert_eq!(member.signal().await.signal, Some(signal("", "hello")));
    for (arguments, input, data) in [
        (&["send", "demo"][..], "piped\n", "piped"),
        (&["send", "demo", "-"], "piped\r\n", "piped"),
        (&["send", "demo"], "two\nlines\n\n", "two\nlines\n"),
        (&["send", "demo"], "", ""),
        (&["send", "demo", "", "--type", "x"], "not read", ""),
        (&["send", "demo", "--", "--type"], "", "--type"),
    ] {
        // What comes after `--` is data, flags and all: the server goes before.
        let mut command = signalbox(&["send", "--server", &server.address().to_string()]);
        command.args(&arguments[1..]);
        run_with(command, input).await.well();
        assert_eq!(member.heard().await, data, "{arguments:?}");
    }
}

#[tokio::test]
async fn send_takes_a_type_recipients_and_an_idempotency_key() {
    let server = TestServer::start().await;
    let mut one = server.join("demo").enter().await;
    let mut other = server.join("demo").enter().await;
    let id = one.id();
    let out = run(client(&server, &["send", "demo", "secret", "--type", "note", "--to", &id, "--to", "nobody"])).await;
    assert_eq!(out.well(), "sent to 1 connection, sequence 3\nnot connected: nobody\n");
    assert_eq!(one.signal().await.signal, Some(signal("note", "secret")));

    let arguments = ["send", "demo", "once", "--idempotency-key", "k", "--json"];
    let first = run(client(&server, &arguments)).await.well();
    assert_eq!(run(client(&server, &arguments)).await.well(), first);
    let sent = serde_json::json!({ "sequence": 4, "not_connected_ids": [], "recipient_count": 2 });
    assert_eq!(json(&first), sent);
    run(client(&server, &["send", "demo", "marker"])).await.well();
    for member in [&mut one, &mut other] {
        assert_eq!([member.heard().await, member.heard().await], ["once", "marker"]);
    }
}

#[tokio::test]
async fn a_refused_call_ends_with_code_1_and_its_reason_on_standard_error() {
    let server = TestServer::start().await;
    let _member = server.join("demo").enter().await;
    let long = "x".repeat(8_193);
    for (arguments, reason) in [
        (&["send", "nowhere", "x"][..], "NOT_FOUND / SESSION_NOT_FOUND"),
        (&["send", "demo", &long], "INVALID_ARGUMENT / SIGNAL_DATA_TOO_LARGE"),
        (&["send", "demo", "x", "--type", "a b"], "INVALID_ARGUMENT / SIGNAL_TYPE_INVALID"),
        (&["send", "demo", "x", "--to", "nobody"], "NOT_FOUND / CONNECTION_NOT_FOUND"),
        (&["send", "a b", "x"], "INVALID_ARGUMENT / SESSION_ID_INVALID"),
        (&["sessions", "nowhere"], "NOT_FOUND / SESSION_NOT_FOUND"),
        (&["watch", "a b"], "INVALID_ARGUMENT / SESSION_ID_INVALID"),
        (&["disconnect", "nowhere", "x"], "NOT_FOUND / SESSION_NOT_FOUND"),
        (&["disconnect", "demo", "nobody"], "NOT_FOUND / CONNECTION_NOT_FOUND"),
    ] {
        for form in [&[][..], &["--json"]] {
            let done = run(client(&server, &[arguments, form].concat())).await;
            done.failed(1, &[&format!("signalbox: {reason}: ")]);
            assert_eq!((done.out.as_str(), done.err.lines().count()), ("", 1), "{done:?}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_ends_every_command_with_code_1_and_a_clear_sentence() {
    // A port that is taken, by one who doesn't listen.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    for arguments in
        [&["send", "demo", "x"][..], &["sessions"], &["watch"], &["disconnect", "demo", "x"], &["join", "demo"]]
    {
        let done = run(signalbox(&[arguments, &["--server", &address]].concat())).await;
        done.failed(1, &["can't connect to", &address, "refused", "--server"]);
        assert_eq!(done.out, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn send_and_disconnect_tell_what_is_there_instead_of_a_server() {
    let peer = Peer::saying(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    for arguments in [&["send", "demo", "x"][..], &["disconnect", "demo", "x"]] {
        let done = run(signalbox(&[arguments, &["--server", &peer.endpoint()]].concat())).await;
        done.failed(1, &[&peer.endpoint(), "HTTP/1.1 400 Bad Request", "is it the right port"]);
        assert_eq!((done.out.as_str(), done.err.lines().count()), ("", 1), "{done:?}");
    }
}

#[tokio::test]
async fn the_server_is_named_by_a_flag_or_by_the_environment_with_or_without_http() {
    let server = TestServer::start().await;
    let address = server.address().to_string();
    for named in [address.clone(), format!("http://{address}"), format!("http://{address}/")] {
        assert_eq!(run(signalbox(&["sessions", "--server", &named])).await.well(), "no sessions\n");
        let mut command = signalbox(&["sessions"]);
        command.env("SIGNALBOX_SERVER", &named);
        assert_eq!(run(command).await.well(), "no sessions\n");
    }
}

#[tokio::test]
async fn sessions_lists_all_or_shows_one_and_its_connections() {
    let server = TestServer::start().await;
    let first = server.join("alpha").data("Ada").enter().await;
    let second = server.join("alpha").enter().await;
    let _third = server.join("beta").enter().await;
    let out = run(client(&server, &["sessions"])).await.well();
    let words: Vec<Vec<_>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["SESSION", "CONNECTIONS", "SEQUENCE", "SINCE"]);
    assert_eq!((&words[1][..3], &words[2][..3], words.len()), (&["alpha", "2", "2"][..], &["beta", "1", "1"][..], 3));

    let out = run(client(&server, &["sessions", "alpha"])).await.well();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for (line, member, data) in [(lines[2], &first, "Ada"), (lines[3], &second, "")] {
        assert!(line.trim_start().starts_with(&member.id()) && line.ends_with(data), "{line}");
        assert!(line.contains("moderator") && line.contains("connected"), "{line}");
    }
}

#[tokio::test]
async fn sessions_prints_json_with_the_apis_names() {
    let server = TestServer::start().await;
    let member = server.join("alpha").data("Ada").enter().await;
    let _other = server.join("beta").enter().await;
    let out = run(client(&server, &["sessions", "--json"])).await.well();
    let all: Vec<_> = out.lines().map(json).collect();
    let ids: Vec<_> = all.iter().map(|session| session["session_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["alpha", "beta"]);
    assert_eq!((&all[0]["connection_count"], &all[0]["sequence"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(all[0]["epoch"].as_u64(), Some(member.joined.epoch));
    assert!(all[0]["created_at"].as_str().unwrap().ends_with('Z'));

    let out = run(client(&server, &["sessions", "alpha", "--json"])).await.well();
    let shown: Vec<_> = out.lines().map(json).collect();
    assert_eq!((shown.len(), &shown[0]), (2, &all[0]));
    let connection = &shown[1];
    assert_eq!(connection["connection_id"], member.id());
    assert_eq!((&connection["data"], &connection["role"]), (&"Ada".into(), &"ROLE_MODERATOR".into()));
    assert_eq!(connection["state"], "CONNECTION_STATE_CONNECTED");
    // Where there is nothing, there are no lines.
    let empty = TestServer::start().await;
    assert_eq!(run(client(&empty, &["sessions", "--json"])).await.well(), "");
}

#[tokio::test]
async fn sessions_shows_more_than_one_page() {
    let server = TestServer::with(&["--max-streams-per-transport", "0"]).await;
    let joins = (0..1_003).map(|number| server.join(&format!("s{number:04}")).enter());
    let _members = futures_util::future::join_all(joins).await;
    let out = run(client(&server, &["sessions", "--json"])).await.well();
    let ids: Vec<_> = out.lines().map(|line| json(line)["session_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..1_003).map(|number| format!("s{number:04}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_strangers_wrote_does_not_reach_the_terminal() {
    let server = TestServer::start().await;
    let _member = server.join("demo").data("\u{1b}[2J\u{202e}\n\u{7}").enter().await;
    let mut watch = Process::start(client(&server, &["watch", "demo"]));
    let seen = watch.says(" + ").await;
    let out = run(client(&server, &["sessions", "demo"])).await.well();
    assert_eq!(out.lines().count(), 3, "{out}");
    for text in [out, seen] {
        assert!(text.contains("\\u{1b}[2J\\u{202e}\\n\\u{7}"), "{text:?}");
    }
}

#[tokio::test]
async fn watch_tells_what_is_there_then_what_changes() {
    let server = TestServer::start().await;
    let member = server.join("alpha").data("Ada").enter().await;
    let mut watch = Process::start(client(&server, &["watch"]));
    let line = watch.line().await;
    assert!(begins_with_a_time(&line) && line.ends_with("alpha  session started"), "{line}");
    let line = watch.line().await;
    assert!(begins_with_a_time(&line) && line.contains(&format!("alpha  + {}  Ada", member.id())), "{line}");
    assert!(watch.line().await.starts_with("--"), "the marker");
    let visitor = server.join("beta").enter().await;
    assert!(watch.line().await.ends_with("beta  session started"));
    assert!(watch.line().await.contains(&format!("beta  + {}", visitor.id())));
    let id = visitor.id();
    visitor.frame(Frame::Leave(proto::Leave {}));
    let line = watch.line().await;
    assert!(begins_with_a_time(&line) && line.ends_with(&format!("beta  - {id}  CLIENT_DISCONNECTED")), "{line}");
    assert!(watch.line().await.ends_with("beta  session ended"));
    watch.signal("INT").await;
    assert_eq!(watch.done().await.well(), "");
}

#[tokio::test]
async fn watch_tells_of_one_session_in_json_with_the_apis_names() {
    let server = TestServer::start().await;
    let _elsewhere = server.join("beta").enter().await;
    let mut watch = Process::start(client(&server, &["watch", "alpha", "--json"]));
    assert_eq!(json(&watch.line().await), serde_json::json!({ "event": "snapshot_complete" }));
    let member = server.join("alpha").enter().await;
    let started = json(&watch.line().await);
    assert_eq!((&started["event"], &started["session_id"]), (&"session_started".into(), &"alpha".into()));
    assert_eq!(started["epoch"].as_u64(), Some(member.joined.epoch));
    let created = json(&watch.line().await);
    assert_eq!((&created["event"], &created["sequence"]), (&"connection_created".into(), &1.into()));
    assert_eq!(created["connection"]["connection_id"], member.id());
    member.frame(Frame::Leave(proto::Leave {}));
    let destroyed = json(&watch.line().await);
    assert_eq!((&destroyed["event"], &destroyed["sequence"]), (&"connection_destroyed".into(), &2.into()));
    assert_eq!((&destroyed["connection_id"], &destroyed["session_id"]), (&member.id().into(), &"alpha".into()));
    assert_eq!(destroyed["reason"], "DISCONNECT_REASON_CLIENT_DISCONNECTED");
    let ended = json(&watch.line().await);
    assert_eq!((&ended["event"], &ended["epoch"]), (&"session_ended".into(), &started["epoch"]));
}

#[tokio::test]
async fn a_watch_that_the_server_ends_fails_with_the_reason() {
    let mut server = TestServer::start().await;
    let mut watch = Process::start(client(&server, &["watch"]));
    watch.says("--").await;
    server.shut_down();
    watch.done().await.failed(1, &["UNAVAILABLE / GOING_AWAY"]);
}

#[tokio::test]
async fn disconnect_ends_a_connection_for_good() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    for form in [&[][..], &["--json"]] {
        let target = server.join("demo").enter().await;
        let id = target.id();
        let out = run(client(&server, &[&["disconnect", "demo", &id], form].concat())).await.well();
        if form.is_empty() {
            assert_eq!(out, format!("disconnected {id}\n"));
        } else {
            assert_eq!(json(&out), serde_json::json!({ "disconnected": id }));
        }
        assert_eq!(soon("the end", target.end()).await.status.unwrap().code(), tonic::Code::Aborted);
        let gone =
            |event: &Event| matches!(event, Event::ConnectionDestroyed(gone) if gone.connection_id == id).then_some(());
        onlooker.find("the departure", gone).await;
    }
}
