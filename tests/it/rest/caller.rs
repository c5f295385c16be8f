//! A caller that writes HTTP/1.1 by hand, and OpenTok's tokens.

use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    auth::file,
    support::{TestServer, soon},
};

pub(crate) const KEY: &str = "47345601";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const ON: [&str; 2] = ["--rest", "127.0.0.1:0"];

/// A server that takes calls of one project.
pub(crate) async fn guarded(flags: &[&str]) -> TestServer {
    let keys = file(&format!("# ours\n{KEY} {SECRET}\nother {}\n", SECRET.replace('0', "f")));
    let server = TestServer::with(&[&ON, &["--rest-key-file", keys.to_str().unwrap()], flags].concat()).await;
    std::fs::remove_file(keys).unwrap();
    server
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims as OpenTok's libraries make them.
pub(crate) fn claims() -> Value {
    json!({ "iss": KEY, "ist": "project", "iat": now(), "exp": now() + 180, "jti": "0.5" })
}

pub(crate) fn signed(claims: &Value, secret: &str) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

pub(crate) fn token() -> String {
    signed(&claims(), SECRET)
}

/// A token whose header says that nobody signed it.
pub(crate) fn unsigned() -> String {
    let [header, claims] = [json!({ "alg": "none" }), claims()].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}.")
}

pub(crate) fn session_path(session: &str) -> String {
    format!("/v2/project/{KEY}/session/{session}/signal")
}

pub(crate) fn connection_path(session: &str, connection: &str) -> String {
    format!("/v2/project/{KEY}/session/{session}/connection/{connection}")
}

/// A request's text, with a good token unless `headers` has one.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: rest\r\n");
    let has = |name: &str| headers.iter().any(|header| header.starts_with(name));
    if !has("X-OPENTOK-AUTH") {
        text += &format!("X-OPENTOK-AUTH: {}\r\n", token());
    }
    if method == "POST" {
        if !has("Content-Type") {
            text += "Content-Type: application/json\r\n";
        }
        if !has("Content-Length") && !has("Transfer-Encoding") {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
    }
    // A header that is only there to replace another has no value.
    for header in headers.iter().filter(|header| header.contains(':')) {
        text += &format!("{header}\r\n");
    }
    text + "\r\n" + body
}

/// A request for a signal to a session.
pub(crate) fn signal(session: &str, data: &str) -> String {
    request("POST", &session_path(session), &[], &json!({ "type": "chat", "data": data }).to_string())
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (its, value) = line.split_once(':')?;
            its.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// What is wrong, in the form that all have: the reason and the message.
    pub(crate) fn error(&self) -> (String, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let error: Value = serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"));
        assert_eq!(error["code"], self.status, "{self:?}");
        assert_eq!(error["message"], error["description"], "{self:?}");
        assert_eq!(error.as_object().unwrap().len(), 4, "{self:?}");
        [&error["reason"], &error["message"]].map(|text| text.as_str().unwrap().to_owned()).into()
    }

    /// Checks that it is this error, whose message says so much.
    pub(crate) fn is(&self, status: u16, reason: &str, says: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let (its, message) = self.error();
        assert_eq!(its, reason, "{self:?}");
        assert!(message.contains(says), "{message:?} doesn't say {says:?}");
    }

    /// Checks that it was done.
    pub(crate) fn is_done(&self) {
        assert_eq!((self.status, self.body.as_str()), (204, ""), "{self:?}");
        assert_eq!(self.header("content-length"), None, "{self:?}");
    }
}

/// A TCP connection.
pub(crate) struct Caller {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        Self { stream: soon("a connection", TcpStream::connect(address)).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("a write", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads until `enough` says how much of it that is; none at the end before.
    async fn fill<T>(&mut self, enough: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = enough(&self.buffer) {
                return Some(found);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next answer; none when the server closes instead.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        soon("an answer", self.read()).await
    }

    /// As [`Caller::next`], for as long as it takes.
    pub(crate) async fn read(&mut self) -> Option<Answer> {
        let end = self.fill(|bytes| bytes.windows(4).position(|four| four == b"\r\n\r\n")).await?;
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        self.fill(|bytes| (bytes.len() >= length).then_some(())).await.expect("the whole body");
        answer.body = String::from_utf8(self.buffer.drain(..length).collect()).unwrap();
        Some(answer)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        self.write(request).await;
        self.next().await.expect("an answer before the end")
    }

    /// Waits until the server has closed, without another answer.
    pub(crate) async fn closed(mut self) {
        if let Some(answer) = self.next().await {
            panic!("{answer:?} instead of the end");
        }
    }
}

/// Asks over a connection of its own.
pub(crate) async fn ask(server: &TestServer, request: impl AsRef<[u8]>) -> Answer {
    Caller::new(server.rest()).await.ask(request).await
}
