//! A client below gRPC: bytes into an HTTP/2 stream and out of it, with flow
//! control in the test's hands.

use std::{net::SocketAddr, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use prost::Message as _;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{DEADLINE, End, Event, Frame, plain_join, proto, soon, within};

const JOIN: &str = "/signalbox.v1.SignalingService/Join";

/// One message with gRPC's prefix.
pub(crate) fn framed(frame: Frame) -> Vec<u8> {
    prefixed(&proto::JoinRequest { frame: Some(frame) }.encode_to_vec())
}

/// One message with gRPC's prefix, whatever its bytes mean.
pub(crate) fn prefixed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// An HTTP/2 connection.
pub(crate) struct Raw {
    requests: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    frozen: CancellationToken,
    token: Option<String>,
}

impl Raw {
    /// Connects; the server may send `window` bytes on each stream until they
    /// are released.
    pub(crate) async fn connect(address: SocketAddr, window: u32) -> Self {
        let tcp = soon("a connection", TcpStream::connect(address)).await.unwrap();
        Self::over(tcp, window).await
    }

    /// Speaks HTTP/2 over a TCP connection.
    pub(crate) async fn over(tcp: TcpStream, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        // Only the streams' windows are to hold the server back.
        let handshake = builder.initial_window_size(window).initial_connection_window_size(1 << 24).handshake(tcp);
        let (requests, connection) = soon("a handshake", handshake).await.unwrap();
        let frozen = CancellationToken::new();
        let freeze = frozen.clone();
        let driver = tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // How the connection ends shows in its streams.
                _ = connection.as_mut() => {}
                () = freeze.cancelled() => std::future::pending().await,
            }
        });
        Self { requests, driver, frozen, token: None }
    }

    /// How many streams the server allows.
    pub(crate) fn streams_allowed(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// Shows a token with each call.
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(format!("Bearer {token}"));
        self
    }

    /// Opens a `Join` stream.
    pub(crate) async fn join(&self) -> RawStream {
        self.call(JOIN).await
    }

    /// Opens a stream for a method.
    pub(crate) async fn call(&self, path: &str) -> RawStream {
        let request = Request::post(format!("http://signalbox{path}"));
        self.request(request.header("content-type", "application/grpc").header("te", "trailers")).await
    }

    /// Opens a stream for any request.
    pub(crate) async fn request(&self, mut request: http::request::Builder) -> RawStream {
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let request = request.body(()).unwrap();
        let mut requests = soon("a place for a stream", self.requests.clone().ready()).await.unwrap();
        let (response, send) = requests.send_request(request, false).unwrap();
        RawStream {
            response: Some(response),
            receive: None,
            send,
            buffer: BytesMut::new(),
            unreleased: 0,
            patience: DEADLINE,
        }
    }

    /// A member whose window is shut: it takes nothing at all, not even that it
    /// is in.
    pub(crate) async fn shut_out(address: SocketAddr, session: &str) -> (Self, RawStream) {
        let raw = Self::connect(address, 0).await;
        let mut stream = raw.join().await;
        stream.frame(Frame::Join(plain_join(session)));
        (raw, stream)
    }

    /// Answers nothing any more, not even pings; the TCP connection stays.
    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }

    /// Waits until the server has ended the TCP connection.
    pub(crate) async fn cut_off(self) {
        // However it ended.
        let _ = soon("the end of the TCP connection", self.driver).await;
    }

    /// Drops the TCP connection.
    pub(crate) async fn vanish(self) {
        self.driver.abort();
        let _ = self.driver.await;
    }
}

/// An HTTP/2 stream.
pub(crate) struct RawStream {
    response: Option<ResponseFuture>,
    receive: Option<RecvStream>,
    send: SendStream<Bytes>,
    buffer: BytesMut,
    unreleased: usize,
    /// How long anything on this stream may take.
    pub(crate) patience: Duration,
}

impl RawStream {
    /// Waits for the response's headers.
    pub(crate) async fn headers(&mut self) -> HeaderMap {
        let (status, headers) = self.head().await;
        assert_eq!(status, 200);
        headers
    }

    /// The same, of a response with any status.
    pub(crate) async fn head(&mut self) -> (u16, HeaderMap) {
        let response = self.response.take().expect("headers come once");
        let (head, body) = soon("response headers", response).await.unwrap().into_parts();
        self.receive = Some(body);
        (head.status.as_u16(), head.headers)
    }

    pub(crate) fn bytes(&mut self, bytes: impl Into<Bytes>, last: bool) {
        self.send.send_data(bytes.into(), last).unwrap();
    }

    pub(crate) fn frame(&mut self, frame: Frame) {
        self.bytes(framed(frame), false);
    }

    /// One message, whatever its bytes mean.
    pub(crate) fn message(&mut self, message: &[u8]) {
        self.bytes(prefixed(message), false);
    }

    /// Reads bytes until `enough`, and keeps them from the server's window.
    /// False at the end.
    async fn fill(&mut self, mut enough: impl FnMut(&BytesMut) -> bool) -> bool {
        if self.receive.is_none() {
            self.headers().await;
        }
        let receive = self.receive.as_mut().unwrap();
        while !enough(&self.buffer) {
            match within(self.patience, "bytes of the stream", receive.data()).await {
                Some(data) => {
                    let data = data.unwrap();
                    self.unreleased += data.len();
                    self.buffer.extend_from_slice(&data);
                }
                None => return false,
            }
        }
        true
    }

    /// Waits until the server's window is used up, without giving any back.
    pub(crate) async fn stall(&mut self, window: usize) {
        let taken = self.unreleased - self.buffer.len();
        assert!(self.fill(|buffer| taken + buffer.len() >= window).await, "the stream ended");
    }

    /// Gives back what was read, so that the server can go on.
    pub(crate) fn release(&mut self) {
        let unreleased = std::mem::take(&mut self.unreleased);
        let receive = self.receive.as_mut().expect("bytes were read before");
        receive.flow_control().release_capacity(unreleased).unwrap();
    }

    /// The next event, without giving its bytes back; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let (_, message) = self.next_message().await?;
        Some(proto::JoinResponse::decode(message).unwrap().event.unwrap())
    }

    /// The next message, and what its prefix begins with.
    pub(crate) async fn next_message(&mut self) -> Option<(u8, Bytes)> {
        let whole = |buffer: &BytesMut| {
            let length = buffer.get(1..5).map(|length| u32::from_be_bytes(length.try_into().unwrap()) as usize);
            length.is_some_and(|length| buffer.len() >= 5 + length)
        };
        if !self.fill(whole).await {
            assert!(self.buffer.is_empty(), "the stream ended inside a message");
            return None;
        }
        let flags = self.buffer.get_u8();
        let length = self.buffer.get_u32() as usize;
        Some((flags, self.buffer.split_to(length).freeze()))
    }

    /// Waits to be let in.
    pub(crate) async fn joined(&mut self) -> proto::Joined {
        match self.next().await {
            Some(Event::Joined(joined)) => joined,
            other => panic!("{other:?} instead of joined"),
        }
    }

    /// The refusal of a call that has no response, which is in its headers.
    pub(crate) async fn refusal(mut self) -> Status {
        Status::from_header_map(&self.headers().await).expect("a refused call's headers have its status")
    }

    /// The status in the trailers, whatever comes before.
    pub(crate) async fn trailers(mut self) -> Status {
        while self.fill(|_| false).await {}
        let trailers = soon("trailers", self.receive.as_mut().unwrap().trailers()).await.unwrap();
        Status::from_header_map(&trailers.expect("a gRPC stream ends with trailers")).expect("and they have a status")
    }

    /// Reads to the end, giving everything back.
    pub(crate) async fn end(mut self) -> End {
        let mut end = End { before: Vec::new(), closing: None, status: None };
        loop {
            if self.receive.is_some() {
                self.release();
            }
            match self.next().await {
                Some(Event::Closing(closing)) => end.closing = Some(closing),
                Some(event) => end.before.push(event),
                None => break,
            }
        }
        let trailers = soon("trailers", self.receive.as_mut().unwrap().trailers()).await.unwrap();
        let status = Status::from_header_map(&trailers.expect("a gRPC stream ends with trailers"));
        end.status = status.filter(|status| status.code() != tonic::Code::Ok);
        end
    }
}
