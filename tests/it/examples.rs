//! The programs of `examples/`, as a reader would run them.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

use crate::support::{Event, Relay, TestServer, proto, signal, within};

/// A program takes a while to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// An example, built beside the command.
fn example(name: &str) -> Command {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_signalbox")).parent().unwrap().join("examples").join(name);
    assert!(built.exists(), "{name} is not built: `cargo test` does it, `cargo test --test it` alone does not");
    let mut command = Command::new(built);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// What it printed, when it ended well.
async fn output(mut command: Command, input: &str) -> String {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let done = within(PATIENCE, "the end of an example", child.wait_with_output()).await.unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert!(done.status.success(), "{out}\n{err}");
    assert_eq!(err, "", "{out}");
    out
}

/// The next who joins.
fn joined(event: &Event) -> Option<proto::Connection> {
    match event {
        Event::ConnectionCreated(created) => created.connection.clone(),
        _ => None,
    }
}

#[tokio::test]
async fn a_chat_shows_who_is_there_and_sends_each_line() {
    let server = TestServer::start().await;
    let mut other = server.join("demo").enter().await;
    let mut chat = example("chat");
    chat.args(["demo", "Ada", &server.address().to_string()]);
    let out = output(chat, "hello\nand bye\n").await;
    for line in ["* 2 here", "Ada: hello", "Ada: and bye", "* left"] {
        assert!(out.lines().any(|said| said == line), "{line:?} is not in {out}");
    }
    assert_eq!(other.find("an arrival", joined).await.data, "Ada");
    for line in ["hello", "and bye"] {
        assert_eq!(other.signal().await.signal, Some(signal("chat", line)));
    }
}

#[tokio::test]
async fn a_chat_comes_back_and_ends_when_it_is_put_out_though_its_input_is_open() {
    let server = TestServer::start().await;
    let mut other = server.join("demo").enter().await;
    let relay = Relay::to(server.address()).await;
    let mut chat = example("chat");
    chat.args(["demo", "Ada", &relay.endpoint()]);
    let mut child = chat.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || within(PATIENCE, "a line", lines.next_line()).await.unwrap().unwrap();
    let id = other.find("an arrival", joined).await.connection_id;
    assert_eq!(next().await, "* 2 here");
    relay.cut();
    assert!(next().await.starts_with("* reconnecting\u{2026} ("));
    input.write_all(b"meanwhile\n").await.unwrap();
    relay.mend();
    assert_eq!(next().await, "* reconnected");
    assert_eq!(next().await, "Ada: meanwhile");
    let sent = other.disconnect(&id);
    other.accepted(sent).await;
    let done = within(PATIENCE, "the end of the chat", child.wait_with_output()).await.unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&done.stderr).contains("FORCE_DISCONNECTED"), "{done:?}");
}

#[tokio::test]
async fn a_call_is_set_up_through_a_dropped_connection() {
    let server = TestServer::start().await;
    for endpoint in [server.address().to_string(), format!("http://{}", server.address())] {
        let mut call_setup = example("call_setup");
        call_setup.arg(endpoint);
        let out = output(call_setup, "").await;
        for line in ["callee is reconnecting…", "callee reconnected, gap: false", "both have everything"] {
            assert!(out.contains(line), "{line:?} is not in {out}");
        }
    }
}

#[tokio::test]
async fn the_backend_greets_who_comes() {
    let server = TestServer::start().await;
    let mut member = server.join("demo").enter().await;
    let mut backend = example("backend");
    backend.args([&format!("http://{}", server.address()), "--once"]);
    let out = output(backend, "").await;
    assert_eq!(out, format!("watching http://{}\ndemo: greeted {} (sequence 2)\n", server.address(), member.id()));
    assert_eq!(member.signal().await.signal, Some(signal("greeting", "welcome to demo")));
}
