//! gRPC-Web, as a browser speaks it: by hand, over HTTP/1.1 on a real port.

mod beside;
mod cors;
mod streams;

use std::{collections::HashMap, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BytesMut};
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tonic::Status;

use crate::support::{Event, TestServer, plain_join, prefixed, proto, signal, soon, to_wire};

pub(crate) const ORIGIN: &str = "http://localhost:8080";
const SERVICE: &str = "/signalbox.v1.SignalingService";
/// What the prefix of a message with trailers in it begins with.
const TRAILERS: u8 = 0x80;

/// A server that serves pages of one origin.
async fn server(flags: &[&str]) -> TestServer {
    TestServer::with(&[&["--cors-origin", ORIGIN], flags].concat()).await
}

/// A page's way to a server.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    address: SocketAddr,
    origin: Option<&'static str>,
    is_text: bool,
    /// The trace that its calls are of.
    pub(crate) traceparent: Option<&'static str>,
}

impl Page {
    pub(crate) fn of(server: &TestServer) -> Self {
        Self { address: server.address(), origin: Some(ORIGIN), is_text: false, traceparent: None }
    }

    /// Calls a method of the signaling service.
    async fn call<M: Message>(&self, method: &str, message: &M) -> Answer<TcpStream> {
        let stream = soon("a connection", TcpStream::connect(self.address)).await.unwrap();
        self.call_over(stream, method, message).await
    }

    pub(crate) async fn call_over<S, M>(&self, stream: S, method: &str, message: &M) -> Answer<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        M: Message,
    {
        let body = prefixed(&message.encode_to_vec());
        let (kind, body) = match self.is_text {
            true => ("application/grpc-web-text", STANDARD.encode(body).into_bytes()),
            false => ("application/grpc-web+proto", body),
        };
        let length = body.len().to_string();
        let mut headers =
            vec![("content-type", kind), ("accept", kind), ("x-grpc-web", "1"), ("content-length", &length)];
        headers.extend(self.origin.map(|origin| ("origin", origin)));
        headers.extend(self.traceparent.map(|parent| ("traceparent", parent)));
        ask(stream, "POST", &format!("{SERVICE}/{method}"), &headers, &body).await
    }

    /// A stream that is let in.
    pub(crate) async fn subscribe(&self, join: proto::Join) -> (Answer<TcpStream>, proto::Joined) {
        let mut stream = self.call("Subscribe", &proto::SubscribeRequest { join: Some(join) }).await;
        match stream.event().await {
            Event::Joined(joined) => (stream, joined),
            other => panic!("{other:?} instead of joined"),
        }
    }

    /// A unary call's answer.
    async fn unary<Q: Message, A: Message + Default>(&self, method: &str, request: &Q) -> Result<A, Status> {
        let mut answer = self.call(method, request).await;
        assert_eq!(answer.status, 200);
        let message = answer.message().await;
        let status = answer.end().await;
        match message {
            Some(message) if status.code() == tonic::Code::Ok => Ok(A::decode(&message[..]).unwrap()),
            _ => Err(status),
        }
    }

    pub(crate) async fn send(&self, request: &proto::SendRequest) -> Result<proto::SendResult, Status> {
        let mut results = self.send_all(request).await?;
        assert_eq!(results.len(), 1);
        Ok(results.remove(0))
    }

    async fn send_all(&self, request: &proto::SendRequest) -> Result<Vec<proto::SendResult>, Status> {
        self.unary::<_, proto::SendResponse>("Send", request).await.map(|response| response.results)
    }

    async fn leave(&self, request: &proto::LeaveRequest) -> Result<proto::LeaveResponse, Status> {
        self.unary("Leave", request).await
    }
}

/// A request over HTTP/1.1, and the head of its answer.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer<S> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: signalbox\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    Answer::begin(BufReader::new(stream)).await
}

/// An answer as it comes.
#[derive(Debug)]
pub(crate) struct Answer<S> {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    stream: BufReader<S>,
    /// What is still to come, where that was said.
    length: Option<usize>,
    /// Base64 that isn't whole yet.
    text: Option<BytesMut>,
    bytes: BytesMut,
    status_inside: Option<Status>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Answer<S> {
    async fn begin(mut stream: BufReader<S>) -> Self {
        let mut lines = Vec::new();
        soon("the head of an answer", async {
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                match line.trim_end() {
                    "" => return,
                    line => lines.push(line.to_owned()),
                }
            }
        })
        .await;
        let first = lines.first().expect("an answer over HTTP/1.1");
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect(first).parse().unwrap();
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers: HashMap<_, _> =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let is_text = headers.get("content-type").is_some_and(|kind| kind.starts_with("application/grpc-web-text"));
        let length = headers.get("content-length").map(|length| length.parse().unwrap());
        let text = is_text.then(BytesMut::new);
        Self { status, headers, stream, length, text, bytes: BytesMut::new(), status_inside: None }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// More of the body. False at its end.
    async fn fill(&mut self) -> bool {
        let length = match self.length.take() {
            Some(length) => length,
            None => {
                let mut line = String::new();
                self.stream.read_line(&mut line).await.unwrap();
                usize::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("{line:?} is no chunk's length"))
            }
        };
        let is_chunk = !self.headers.contains_key("content-length");
        self.length = (!is_chunk).then_some(0);
        let mut piece = vec![0; length];
        self.stream.read_exact(&mut piece).await.unwrap();
        if is_chunk {
            let mut end = [0; 2];
            self.stream.read_exact(&mut end).await.unwrap();
        }
        match &mut self.text {
            None => self.bytes.extend_from_slice(&piece),
            Some(text) => {
                text.extend_from_slice(&piece);
                // Each message may end with padding.
                while text.len() >= 4 {
                    self.bytes.extend_from_slice(&STANDARD.decode(text.split_to(4)).unwrap());
                }
            }
        }
        length > 0
    }

    /// The next message; none when there are trailers, or nothing more.
    async fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            let length = self.bytes.get(1..5).map(|length| u32::from_be_bytes(length.try_into().unwrap()) as usize);
            if let Some(length) = length.filter(|length| self.bytes.len() >= 5 + length) {
                let flags = self.bytes.get_u8();
                self.bytes.advance(4);
                let message = self.bytes.split_to(length);
                if flags != TRAILERS {
                    assert_eq!(flags, 0);
                    return Some(message.to_vec());
                }
                self.status_inside = Some(status_of(std::str::from_utf8(&message).unwrap()));
                assert!(!self.fill().await && self.bytes.is_empty(), "trailers are the end");
                return None;
            }
            if !soon("more of a body", self.fill()).await {
                assert!(self.bytes.is_empty(), "the body ended inside a message");
                return None;
            }
        }
    }

    async fn event(&mut self) -> Event {
        let message = self.message().await;
        let message = message.unwrap_or_else(|| panic!("the stream ended: {:?}", self.status_inside));
        proto::JoinResponse::decode(&message[..]).unwrap().event.unwrap()
    }

    /// The next signal's data, past other events.
    async fn heard(&mut self) -> String {
        loop {
            if let Event::Signal(signal) = self.event().await {
                return signal.signal.unwrap().data;
            }
        }
    }

    /// How it ends: by its trailers, or, where it has no message, by its headers.
    pub(crate) async fn end(mut self) -> Status {
        while self.status_inside.is_none() {
            if self.message().await.is_none() {
                break;
            }
        }
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
        self.status_inside.unwrap_or_else(|| status_of(&headers))
    }

    /// The whole of a text.
    async fn body(mut self) -> String {
        while soon("more of a body", self.fill()).await {}
        String::from_utf8(self.bytes.to_vec()).unwrap()
    }
}

/// The status in lines of headers.
fn status_of(lines: &str) -> Status {
    let fields = lines.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap()));
    Status::from_header_map(&http::HeaderMap::from_iter(fields)).expect("a status")
}

/// A join that waits a minute for its stream.
fn join(session: &str) -> proto::Join {
    proto::Join { resume_window: Some(to_wire(std::time::Duration::from_secs(60))), ..plain_join(session) }
}

/// A send of one who joined.
pub(crate) fn send(session: &str, joined: &proto::Joined, send_id: u64, data: &str) -> proto::SendRequest {
    let send = proto::SendSignal { send_id, signal: Some(signal("chat", data)), to: None };
    asks(session, joined, [proto::send_frame::Frame::Send(send)])
}

fn asks(
    session: &str,
    joined: &proto::Joined,
    frames: impl IntoIterator<Item = proto::send_frame::Frame>,
) -> proto::SendRequest {
    let proto::LeaveRequest { session_id, connection_id, resume_token } = leave(session, joined);
    let frames = frames.into_iter().map(|frame| proto::SendFrame { frame: Some(frame) }).collect();
    proto::SendRequest { session_id, connection_id, resume_token, frames }
}

pub(crate) fn leave(session: &str, joined: &proto::Joined) -> proto::LeaveRequest {
    proto::LeaveRequest {
        session_id: session.into(),
        connection_id: joined.connection.as_ref().unwrap().connection_id.clone(),
        resume_token: joined.resume_token.clone(),
    }
}

/// What one who joined remembers.
fn memory(joined: &proto::Joined, last_sequence: u64, last_result_send_id: u64) -> proto::Resume {
    proto::Resume {
        connection_id: joined.connection.as_ref().unwrap().connection_id.clone(),
        resume_token: joined.resume_token.clone(),
        epoch: joined.epoch,
        last_sequence,
        last_result_send_id,
    }
}

fn accepted(result: proto::SendResult) -> proto::Accepted {
    match result.outcome.unwrap() {
        proto::send_result::Outcome::Accepted(accepted) => accepted,
        proto::send_result::Outcome::Error(error) => panic!("refused: {error:?}"),
    }
}

fn refused(result: proto::SendResult) -> proto::SendError {
    match result.outcome.unwrap() {
        proto::send_result::Outcome::Error(error) => error,
        proto::send_result::Outcome::Accepted(accepted) => panic!("accepted: {accepted:?}"),
    }
}
