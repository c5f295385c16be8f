//! `signalbox token`, and the commands with what it prints.

use super::{client, client_at, json, run, signalbox};
use crate::{auth::file, support::TestServer};

const SECRET: &str = "the secret of the tests, long enough\n";

#[tokio::test]
async fn a_token_that_was_printed_opens_its_session() {
    let secret = file(SECRET);
    let path = secret.to_str().unwrap();
    let server = TestServer::with(&["--jwt-secret-file", path]).await;
    let member = [
        "token",
        "--session",
        "demo",
        "--role",
        "moderator",
        "--data",
        "alice",
        "--subject",
        "a",
        "--secret-file",
        path,
    ];
    let token = run(signalbox(&member)).await.well();
    assert_eq!(token.trim_end().split('.').count(), 3, "one line, and nothing else");
    let joined = server.join("demo").token(token.trim_end()).enter().await;
    assert_eq!(joined.joined.connection.as_ref().unwrap().data, "alice");

    let backend = run(signalbox(&["token", "--role", "server", "--expires", "1m", "--secret-file", path])).await.well();
    let mut command = client(&server, &["send", "demo", "hello"]);
    command.env("SIGNALBOX_TOKEN", backend.trim_end());
    assert!(run(command).await.well().starts_with("sent to 1 connection"));
    run(client(&server, &["send", "demo", "hello"])).await.failed(1, &["UNAUTHENTICATED / TOKEN_MISSING"]);
    let mut command = client(&server, &["send", "demo", "hello"]);
    command.env("SIGNALBOX_TOKEN", token.trim_end());
    run(command).await.failed(1, &["PERMISSION_DENIED / ROLE_FORBIDS", "moderator"]);
}

#[tokio::test]
async fn commands_speak_tls_where_the_server_does() {
    let (server, ca) = crate::tls::with_files(&[]).await;
    let endpoint = format!("https://localhost:{}", server.address().port());
    let ca = ca.to_str().unwrap();
    assert_eq!(run(client_at(&endpoint, &["sessions", "--json", "--ca", ca])).await.well(), "");
    let mut command = client_at(&endpoint, &["send", "demo", "hello"]);
    command.env("SIGNALBOX_CA", ca);
    run(command).await.failed(1, &["NOT_FOUND / SESSION_NOT_FOUND"]);
    let with = |more: &[&str]| run(client_at(&endpoint, &[&["sessions"], more].concat()));
    with(&["--ca", "/nowhere"]).await.failed(2, &["can't read --ca /nowhere"]);
    with(&["--client-cert", ca]).await.failed(2, &["--client-key"]);
    let stranger = crate::tls::with_files(&[]).await.1;
    let says = &["by nobody that is trusted here", "--ca FILE"];
    with(&["--ca", stranger.to_str().unwrap()]).await.failed(1, says);
    run(client_at(&endpoint, &["bench", "join"])).await.failed(1, &["plain text only"]);
}

#[tokio::test]
async fn the_secret_may_be_in_the_environment_and_is_in_no_flag() {
    let mut command = signalbox(&["token", "--session", "demo", "--json"]);
    command.env("SIGNALBOX_JWT_SECRET", SECRET);
    let printed = json(&run(command).await.well());
    assert!(printed["token"].is_string() && printed["expires_at"].is_u64(), "{printed}");
    run(signalbox(&["token", "--session", "demo"])).await.failed(2, &["there is no secret", "SIGNALBOX_JWT_SECRET"]);
}

#[tokio::test]
async fn what_can_not_be_signed_says_why() {
    let secret = file("short");
    let path = secret.to_str().unwrap();
    for (arguments, code, says) in [
        (&["--session", "demo", "--secret-file", path][..], 1, "at least 32 bytes; this one has 5"),
        (&["--session", "demo", "--secret-file", "/nowhere"], 1, "can't read the secret in '/nowhere'"),
        (&["--role", "server", "--session", "demo", "--secret-file", path], 2, "names no --session"),
        (&["--secret-file", path], 2, "needs the --session"),
        (&["--role", "admin", "--session", "demo"], 2, "subscriber, publisher, moderator, server"),
        (&["--session", "demo", "--expires", "soon"], 2, "--expires"),
    ] {
        run(signalbox(&[&["token"], arguments].concat())).await.failed(code, &[says]);
    }
}

#[tokio::test]
async fn a_server_says_at_once_what_is_wrong_with_its_keys() {
    let (short, not_json) = (file("short"), file("nonsense"));
    for (flag, file, says) in [
        ("--jwt-secret-file", short.to_str().unwrap(), "at least 32 bytes"),
        ("--jwt-secret-file", "/nowhere", "No such file"),
        ("--jwt-jwks-file", not_json.to_str().unwrap(), "not a JSON Web Key Set"),
    ] {
        let done = run(signalbox(&["serve", "--listen", "127.0.0.1:0", flag, file])).await;
        done.failed(2, &[flag, file, says]);
    }
}
