//! `signalbox serve` as a process: its first lines, its logs, its end.

use std::{net::SocketAddr, process::Stdio};

use tokio::{net::TcpListener, process::Command};
use tonic::transport::Channel;

use super::{Done, Process, json, run, signalbox};
use crate::{
    auth::file,
    rest::caller::{Caller, KEY, ON, SECRET, claims, connection_path, request, session_path, signed, token},
    support::{JoinBuilder, from_server, http_get, proto, signal, soon},
};
use proto::signaling_service_client::SignalingServiceClient;

const ANY_PORTS: &[&str] = &["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];

/// A server's process that listens.
pub(super) struct Serving {
    process: Process,
    banner: Vec<String>,
    grpc: SocketAddr,
}

impl Serving {
    /// One that greets.
    pub(super) async fn start(command: Command) -> Self {
        let mut process = Process::start(command);
        let mut banner = Vec::new();
        while banner.last().is_none_or(|line: &String| !line.contains("Ctrl-C")) {
            banner.push(process.line().await);
        }
        let grpc = address(&banner, "gRPC").expect("the banner says where gRPC is served");
        Self { process, banner, grpc }
    }

    /// Where operators are served.
    pub(super) fn admin(&self) -> SocketAddr {
        address(&self.banner, "admin").expect("the banner says where operators are served")
    }

    async fn channel(&self) -> Channel {
        connect(self.grpc).await
    }

    /// Asks it to stop, and waits until it has.
    pub(super) async fn stop(self) -> Done {
        self.process.signal("TERM").await;
        self.process.done().await
    }
}

/// What a line of the banner says listens where.
fn address(banner: &[String], what: &str) -> Option<SocketAddr> {
    let line = banner.iter().find(|line| line.trim_start().starts_with(what))?;
    line.split_whitespace().find_map(|word| word.strip_prefix("http://")?.parse().ok())
}

async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    soon("a connection", endpoint.connect()).await.unwrap()
}

fn with(flags: &[&str]) -> Command {
    signalbox(&[ANY_PORTS, flags].concat())
}

#[tokio::test]
async fn it_may_open_as_many_files_as_the_hard_limit_says() {
    let mut command = Command::new("sh");
    let serve = r#"ulimit -Sn 64; exec "$0" serve --listen 127.0.0.1:0 --admin-listen none"#;
    command.args(["-c", serve, env!("CARGO_BIN_EXE_signalbox")]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let serving = Serving::start(command).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serving.process.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: Vec<_> = files.split_whitespace().collect();
    assert_eq!(files[3], files[4], "soft and hard in {limits}");
    assert_ne!(files[3], "64");
    assert_eq!(serving.stop().await.code, 0);
}

#[tokio::test]
async fn its_first_lines_say_what_listens_and_what_to_try_next() {
    let serving = Serving::start(signalbox(&[&["serve"], ANY_PORTS].concat())).await;
    let (grpc, banner) = (serving.grpc, serving.banner.join("\n"));
    assert!(serving.banner[0].contains(env!("CARGO_PKG_VERSION")) && serving.banner[0].contains("no tokens"));
    assert_eq!(http_get(serving.admin(), "/livez").await.0, 200);
    // The command that it tells to try, tried as it stands.
    let line = serving.banner.iter().find(|line| line.contains(" join demo")).unwrap_or_else(|| panic!("{banner}"));
    let mut words = line.split_whitespace();
    assert_eq!(words.next(), Some(env!("CARGO_BIN_EXE_signalbox")));
    let joined = run(signalbox(&words.collect::<Vec<_>>())).await.well();
    assert!(joined.contains("you are"), "{joined}");
    let grpcurl = serving.banner.iter().find(|line| line.contains("grpcurl")).unwrap_or_else(|| panic!("{banner}"));
    assert!(grpcurl.contains(&format!("localhost:{} signalbox.v1.SignalingService/Join", grpc.port())), "{grpcurl}");
    let done = serving.stop().await;
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{done:?}");
}

#[tokio::test]
async fn alone_it_is_serve_and_the_admin_port_can_be_off() {
    let serving = Serving::start(signalbox(&["--listen", "127.0.0.1:0", "--admin-listen", "none"])).await;
    assert!(serving.banner.iter().any(|line| line.trim_start().starts_with("admin") && line.contains("off")));
    JoinBuilder::new(serving.channel().await, "s").enter().await;
    assert_eq!(serving.stop().await.code, 0);
}

#[tokio::test]
async fn flags_and_environment_set_the_same() {
    for by_environment in [false, true] {
        let mut command = if by_environment { with(&[]) } else { with(&["--signal-burst", "7"]) };
        if by_environment {
            command.env("SIGNALBOX_SIGNAL_BURST", "7");
        }
        let serving = Serving::start(command).await;
        let member = JoinBuilder::new(serving.channel().await, "s").enter().await;
        assert_eq!(member.joined.limits.unwrap().signal_burst, 7);
    }
}

#[tokio::test]
async fn insecure_open_is_told_by_the_environment_in_the_usual_words() {
    let everywhere = ["--listen", "0.0.0.0:0", "--admin-listen", "none"];
    for yes in ["1", "true", "yes", "on"] {
        let mut command = signalbox(&everywhere);
        command.env("SIGNALBOX_INSECURE_OPEN", yes);
        let serving = Serving::start(command).await;
        let done = serving.stop().await;
        assert_eq!(done.code, 0, "{yes}");
        assert!(done.err.contains("open to everyone who reaches this address"), "{done:?}");
    }
    for no in ["0", "false", "no", "off"] {
        let mut command = signalbox(&everywhere);
        command.env("SIGNALBOX_INSECURE_OPEN", no);
        run(command).await.failed(2, &["--listen", "loopback", "--insecure-open"]);
    }
}

#[tokio::test]
async fn an_address_in_use_ends_it_with_code_1_and_a_clear_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--listen", "--admin-listen"), ("--admin-listen", "--listen")] {
        let done = run(signalbox(&[flag, &taken, other, "127.0.0.1:0"])).await;
        done.failed(1, &[&format!("signalbox: can't listen on {taken}: "), "ddress", "in use"]);
        assert_eq!(done.err.lines().count(), 1, "{done:?}");
        assert_eq!(done.out, "", "nothing listens");
    }
}

#[tokio::test]
async fn json_logs_are_one_object_a_line_and_say_what_listens() {
    let mut process = Process::start(with(&["--log-format", "json"]));
    let listening = loop {
        let line = json(&process.complaint().await);
        if line["message"] == "listening" {
            break line;
        }
    };
    let grpc = listening["grpc"].as_str().unwrap().parse().unwrap();
    let admin = listening["admin"].as_str().unwrap().parse().unwrap();
    assert_eq!(http_get(admin, "/readyz").await.0, 200);
    let member = JoinBuilder::new(connect(grpc).await, "s").enter().await;
    process.signal("TERM").await;
    drop(member);
    let done = process.done().await;
    assert_eq!((done.code, done.out.as_str()), (0, ""), "{done:?}");
    let lines: Vec<_> = done.err.lines().map(json).collect();
    assert!(lines.iter().any(|line| line["message"] == "stopped"), "{lines:?}");
    for line in lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn text_logs_go_to_standard_error_without_colours_when_nobody_looks() {
    let serving = Serving::start(with(&["--log-level", "debug"])).await;
    JoinBuilder::new(serving.channel().await, "s").enter().await;
    let done = serving.stop().await;
    assert_eq!(done.out, "", "the banner was all");
    assert!(done.err.contains("INFO") && done.err.contains("draining"), "{done:?}");
    assert!(!done.err.contains('\u{1b}'), "{done:?}");
}

/// Texts in all the ways that a log could show them.
fn shown_in(log: &str, text: &str) -> bool {
    let decimal = text.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    log.contains(text) || log.contains(&decimal) || log.to_lowercase().contains(&hex)
}

#[tokio::test]
async fn what_signals_say_and_what_is_secret_is_in_no_log_at_any_level() {
    for format in ["text", "json"] {
        // The server says where it listens in its log when that is JSON.
        let mut process = Process::start(with(&["--log-level", "trace", "--log-format", format]));
        let (grpc, mut log): (SocketAddr, String) = if format == "text" {
            let line = process.says("gRPC").await;
            (address(&[line], "gRPC").unwrap(), String::new())
        } else {
            let mut log = String::new();
            loop {
                let line = process.complaint().await;
                log += &line;
                if let Some(grpc) = json(&line)["grpc"].as_str() {
                    break (grpc.parse().unwrap(), log);
                }
            }
        };
        let channel = connect(grpc).await;
        let mut member = JoinBuilder::new(channel.clone(), "s").enter().await;
        let mut other = JoinBuilder::new(channel.clone(), "s").enter().await;
        let sent = member.send("chat", "MarkerOfAMember");
        member.accepted(sent).await;
        let request =
            proto::SendFromServerRequest { signal: Some(signal("chat", "MarkerOfABackend")), ..from_server("s", "") };
        SignalingServiceClient::new(channel).send_from_server(request).await.unwrap();
        // Refused ones are no less private.
        let sent = member.send("bad type", "MarkerOfARefused");
        member.refusal(sent).await;
        assert_eq!([other.heard().await, other.heard().await], ["MarkerOfAMember", "MarkerOfABackend"]);
        let secret = member.joined.resume_token.clone();
        let back = JoinBuilder::new(connect(grpc).await, "s").resume(member.lose()).enter().await;
        drop(back);
        process.signal("TERM").await;
        let done = process.done().await;
        assert_eq!(done.code, 0, "{done:?}");
        log += &done.err;
        assert!(log.contains("TRACE"), "it is the most that can be logged");
        for text in ["MarkerOfAMember", "MarkerOfABackend", "MarkerOfARefused", &secret] {
            assert!(!shown_in(&log, text), "{text} is in the log:\n{}", excerpt(&log, text));
        }
    }
}

#[tokio::test]
async fn rest_is_off_unless_told_and_the_banner_says_where_it_is() {
    let serving = Serving::start(with(&[])).await;
    assert_eq!(address(&serving.banner, "REST"), None);
    assert_eq!(serving.stop().await.code, 0);
    let serving = Serving::start(with(&ON)).await;
    let rest = address(&serving.banner, "REST").unwrap();
    let (status, body) = http_get(rest, "/").await;
    assert!(status == 404 && body.contains("/v2/project/KEY"), "{status}: {body}");
    assert_eq!(serving.stop().await.code, 0);
    let serving = Serving::start(with(&["--rest", "0.0.0.0:0", "--insecure-open"])).await;
    let done = serving.stop().await;
    assert!(done.err.contains("open to everyone who reaches this address by REST"), "{done:?}");
}

#[tokio::test]
async fn a_wrong_file_of_projects_ends_it_with_code_2_and_the_line() {
    let keys = file(&format!("# ours\n{KEY} {SECRET}\n{KEY} MarkerOfASecret\n"));
    let flags = [&ON[..], &["--rest-key-file", keys.to_str().unwrap()]].concat();
    let done = run(with(&flags)).await;
    done.failed(2, &["--rest-key-file", "line 3", "32 bytes"]);
    assert!(!done.err.contains("Marker"), "{done:?}");
    std::fs::remove_file(&keys).unwrap();
    run(with(&flags)).await.failed(2, &["--rest-key-file", "No such file"]);
    run(with(&["--rest", "0.0.0.0:0"])).await.failed(2, &["--rest", "--rest-key-file", "--insecure-open"]);
}

#[tokio::test]
async fn the_audit_says_who_calls_by_rest_and_no_log_what_is_secret() {
    let keys = file(&format!("{KEY} {SECRET}\n"));
    let flags = ["--rest-key-file", keys.to_str().unwrap(), "--log-level", "trace", "--log-format", "json"];
    let mut process = Process::start(with(&[&ON[..], &flags].concat()));
    let mut log = String::new();
    let listening = loop {
        let line = process.complaint().await;
        log = log + &line + "\n";
        let line = json(&line);
        if line["message"] == "listening" {
            break line;
        }
    };
    let [grpc, rest] = ["grpc", "rest"].map(|what| listening[what].as_str().unwrap().parse().unwrap());
    let member = JoinBuilder::new(connect(grpc).await, "s").enter().await;
    let mut caller = Caller::new(rest).await;
    let (good, forged) = (token(), signed(&claims(), &SECRET.replace('0', "1")));
    let [good_header, forged_header] = [&good, &forged].map(|token| format!("X-OPENTOK-AUTH: {token}"));
    let signal = |header: &str, body: &str| request("POST", &session_path("s"), &[header], body);
    caller.ask(signal(&good_header, r#"{"data":"MarkerOfASignal"}"#)).await.is_done();
    caller.ask(signal(&good_header, r#"{"data":{"x":"MarkerOfARefused"}}"#)).await.is(400, "FRAME_INVALID", "");
    caller.ask(signal(&forged_header, r#"{"data":"MarkerOfAForger"}"#)).await.is(403, "TOKEN_INVALID", "");
    let id = member.id();
    caller.ask(request("DELETE", &connection_path("s", &id), &[&good_header], "")).await.is_done();
    process.signal("TERM").await;
    let done = process.done().await;
    assert_eq!(done.code, 0, "{done:?}");
    log += &done.err;
    let audit: Vec<_> = log.lines().map(json).filter(|line| line["target"] == "signalbox::audit").collect();
    assert_eq!(audit.len(), 2, "{audit:?}");
    let said = |line: &serde_json::Value, fields: &[(&str, &str)]| {
        for (name, value) in fields {
            assert_eq!(line[name], *value, "{line}");
        }
    };
    let refused = [("message", "refused"), ("what", "REST"), ("reason", "TOKEN_INVALID"), ("address", "127.0.0.1")];
    said(&audit[0], &refused);
    let project = format!("project {KEY}");
    said(&audit[1], &[("subject", &project), ("connection", &id), ("session", "s"), ("address", "127.0.0.1")]);
    for text in ["MarkerOfASignal", "MarkerOfARefused", "MarkerOfAForger", SECRET, &good, &forged] {
        assert!(!shown_in(&log, text), "{text} is in the log:\n{}", excerpt(&log, text));
    }
}

/// The lines of a log that show a text.
fn excerpt(log: &str, text: &str) -> String {
    log.lines().filter(|line| shown_in(line, text)).take(5).collect::<Vec<_>>().join("\n")
}
