//! What the command says of itself, and bad usage: exit code 2, with the flag,
//! the value and what is allowed.

use std::{fs, path::Path};

use tokio::net::TcpListener;

use super::{client, run, signalbox};
use crate::support::TestServer;

/// The contract's table, less what this version has not; the default is empty
/// where there is none.
const FLAGS: &[(&str, &str)] = &[
    ("--listen", "127.0.0.1:50051"),
    ("--admin-listen", "127.0.0.1:9464"),
    ("--engine", "memory"),
    ("--signals-per-second", "50"),
    ("--signal-burst", "100"),
    ("--max-resume-window", "120s"),
    ("--heartbeat-interval", "25s"),
    ("--drain-timeout", "10s"),
    ("--max-connections", "0"),
    ("--max-connections-per-session", "10000"),
    ("--max-connections-per-address", "0"),
    ("--max-streams-per-transport", "1000"),
    ("--outbox-events", "1024"),
    ("--outbox-bytes", "1048576"),
    ("--log-events", "1000"),
    ("--log-bytes", "1048576"),
    ("--insecure-open", ""),
    ("--log-format", "text"),
    ("--log-level", "info"),
];

const COMMANDS: &[&str] = &["serve", "join", "send", "sessions", "watch", "top", "disconnect", "completions", "man"];

#[tokio::test]
async fn version_is_the_packages() {
    let expected = format!("signalbox {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["--version", "-V"] {
        assert_eq!(run(signalbox(&[flag])).await.well(), expected);
    }
}

#[tokio::test]
async fn help_names_every_flag_with_its_default_and_its_environment_variable() {
    for arguments in [&["--help"][..], &["serve", "--help"]] {
        let help = run(signalbox(arguments)).await.well();
        let lines: Vec<_> = help.lines().map(str::trim).collect();
        for (flag, default) in FLAGS {
            let begins = |line: &str| line.split([' ', ',']).next() == Some(flag);
            let at = lines.iter().position(|line| begins(line)).unwrap_or_else(|| panic!("no {flag} in\n{help}"));
            let until =
                lines[at + 1..].iter().position(|line| line.starts_with("--")).map_or(lines.len(), |to| at + 1 + to);
            let told = lines[at..until].join(" ");
            let variable = format!("[env: SIGNALBOX_{}=]", flag[2..].to_uppercase().replace('-', "_"));
            assert!(told.contains(&variable), "{variable} is not in {told}");
            assert!(default.is_empty() || told.contains(&format!("[default: {default}]")), "{default} in {told}");
            // A name alone explains nothing.
            assert!(told.split_whitespace().count() > 6, "{told}");
        }
    }
}

#[tokio::test]
async fn help_names_every_command_and_each_explains_itself() {
    let help = run(signalbox(&["--help"])).await.well();
    for command in COMMANDS {
        let named = |line: &str| line.split_whitespace().next() == Some(command);
        assert!(help.lines().any(named), "{command} is not in\n{help}");
        let own = run(signalbox(&[command, "--help"])).await.well();
        assert!(own.contains(&format!("Usage: signalbox {command}")), "{own}");
        if *command == "top" {
            for word in ["--admin <URL>", "SIGNALBOX_ADMIN", "http://127.0.0.1:9464", "--once", "--json", "Keys:"] {
                assert!(own.contains(word), "{word} is not in\n{own}");
            }
        } else if !["serve", "completions", "man"].contains(command) {
            for word in ["--server <URL>", "SIGNALBOX_SERVER", "http://127.0.0.1:50051", "--token", "--json"] {
                assert!(own.contains(word), "{word} is not in\n{own}");
            }
        }
    }
    assert!(help.contains("Exit codes: 0 success, 1 refused"), "{help}");
}

#[tokio::test]
async fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(signalbox(&["completions", shell])).await.well();
        for command in COMMANDS {
            assert!(script.contains(command), "{command} is not in the script for {shell}");
        }
        assert!(script.contains("idempotency-key"), "{shell}");
    }
    run(signalbox(&["completions", "cobol"])).await.failed(2, &["'cobol'", "bash"]);
}

#[tokio::test]
async fn each_command_has_its_manual_page() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{}", std::process::id()));
    run(signalbox(&["man", "--dir", folder.to_str().unwrap()])).await.well();
    for command in COMMANDS {
        let page = fs::read_to_string(folder.join(format!("signalbox-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("signalbox {}", env!("CARGO_PKG_VERSION"))));
    }
    let printed = run(signalbox(&["man"])).await.well();
    assert_eq!(printed, fs::read_to_string(folder.join("signalbox.1")).unwrap());
    let nowhere = folder.join("signalbox.1/pages");
    run(signalbox(&["man", "--dir", nowhere.to_str().unwrap()])).await.failed(1, &["can't write", "signalbox.1/pages"]);
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_bad_value_is_refused_before_a_socket_opens() {
    // Where nothing can be bound, a socket that was opened first would show as
    // exit code 1.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (flag, value, allowed) in [
        ("--admin-listen", "off", "IP:PORT"),
        ("--heartbeat-interval", "1ms", "between 100ms and 1h"),
        ("--heartbeat-interval", "25", "500ms, 30s, 2m"),
        ("--max-resume-window", "2days", "between 0s and 1day"),
        ("--drain-timeout", "2h", "between 0s and 1h"),
        ("--signals-per-second", "-1", "not in 0..=1000000"),
        ("--signal-burst", "1000001", "not in 0..=1000000"),
        ("--max-connections", "many", "invalid digit"),
        ("--max-streams-per-transport", "4294967296", "not in 0..=4294967295"),
        ("--outbox-bytes", "1MiB", "invalid digit"),
        ("--engine", "etcd", "memory"),
        ("--log-format", "xml", "text, json"),
        ("--log-level", "signalbox=loud", "level"),
        ("--admin-listen", "0.0.0.0:0", "--insecure-open"),
        ("--insecure-open", "maybe", "boolean"),
    ] {
        let says = [flag, &format!("'{value}'"), allowed];
        // A flag that takes no value has its bad ones from the environment.
        if flag != "--insecure-open" {
            for serve in [&[][..], &["serve"]] {
                let arguments = [serve, &["--listen", &taken, flag, value]].concat();
                run(signalbox(&arguments)).await.failed(2, &says);
            }
        }
        let variable = format!("SIGNALBOX_{}", flag[2..].to_uppercase().replace('-', "_"));
        let mut command = signalbox(&["--listen", &taken]);
        command.env(variable, value);
        run(command).await.failed(2, &says);
    }
    run(signalbox(&["--listen", "localhost:1"])).await.failed(2, &["--listen", "'localhost:1'", "IP:PORT"]);
}

#[tokio::test]
async fn arguments_that_make_no_command_are_bad_usage() {
    for (arguments, says) in [
        (&["whisper"][..], "'whisper'"),
        (&["--loud"], "'--loud'"),
        (&["--signal-burst", "7", "sessions"], "sessions"),
        (&["send"], "<SESSION>"),
        (&["join"], "<SESSION>"),
        (&["disconnect", "demo"], "<CONNECTION_ID>"),
        (&["send", "demo", "two", "words"], "'words'"),
        (&["sessions", "--server", "ftp://here"], "http"),
        (&["sessions", "--client-key", "key.pem"], "--client-cert"),
        (&["sessions", "--server", ""], "--server"),
        (&["sessions", "--token", "a\nb"], "visible ASCII"),
    ] {
        let done = run(signalbox(arguments)).await;
        done.failed(2, &[says]);
        assert_eq!(done.out, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn a_clients_command_is_not_troubled_by_a_servers_environment() {
    let server = TestServer::start().await;
    let mut command = client(&server, &["sessions"]);
    command.env("SIGNALBOX_LISTEN", "nowhere").env("SIGNALBOX_SIGNAL_BURST", "many");
    assert_eq!(run(command).await.well(), "no sessions\n");
}

#[tokio::test]
async fn a_flag_goes_before_its_environment_variable() {
    let server = TestServer::start().await;
    let mut command = client(&server, &["sessions"]);
    command.env("SIGNALBOX_SERVER", "http://127.0.0.1:1");
    assert_eq!(run(command).await.well(), "no sessions\n");
    let mut command = signalbox(&["serve", "--heartbeat-interval", "2ms"]);
    command.env("SIGNALBOX_HEARTBEAT_INTERVAL", "1ms");
    run(command).await.failed(2, &["'2ms'"]);
}
