//! The machine and the client of the `h2` crate.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use h2::{Reason, RecvStream, client};
use http::{HeaderMap, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::Notify,
    task::JoinHandle,
};

use super::*;

/// What the server keeps of a stream.
#[derive(Default)]
struct Call {
    path: String,
    /// To be sent.
    out: VecDeque<Bytes>,
    received: usize,
    /// Nothing more is going to be sent than what is in `out`.
    is_last: bool,
}

/// How much may wait for the socket before nothing more is put there.
const HIGH_BYTES: usize = 100_000;

struct Server {
    io: DuplexStream,
    connection: Connection<Call>,
    stop: Arc<Notify>,
}

impl Server {
    /// Serves until the peer has gone, or all is done.
    async fn run(mut self) -> Result<usize, Error> {
        let mut buffer = vec![0; 8_192];
        let mut most = 0;
        loop {
            self.send();
            most = most.max(self.connection.output().len());
            if self.connection.is_done() && self.connection.output().is_empty() {
                return Ok(most);
            }
            let (mut read, mut write) = tokio::io::split(&mut self.io);
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = self.connection.output().slices(&mut slices);
            tokio::select! {
                written = write.write_vectored(&slices[..filled]), if filled > 0 => {
                    let written = written.unwrap();
                    self.connection.output().advance(written);
                }
                came = read.read(&mut buffer) => match came {
                    Ok(came) if came > 0 => self.receive(&buffer[..came])?,
                    _ => return Ok(most),
                },
                () = self.stop.notified() => self.connection.shut_down(),
            }
        }
    }

    fn receive(&mut self, mut input: &[u8]) -> Result<(), Error> {
        while let Some(event) = self.connection.next(&mut input)? {
            match event {
                Event::Request { stream, head, end } => {
                    let path = String::from_utf8(head.path().to_vec()).unwrap();
                    self.connection.accept(stream, Call { path, ..Call::default() });
                    self.begin(stream);
                    if end {
                        self.end(stream);
                    }
                }
                Event::Data { stream, data, end } => {
                    let call = self.connection.get_mut(stream).unwrap();
                    call.received += data.len();
                    if call.path == "/echo" && !data.is_empty() {
                        call.out.push_back(Bytes::copy_from_slice(data));
                    }
                    self.connection.consumed(stream, data.len());
                    if end {
                        self.end(stream);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, stream: StreamId) {
        let call = self.connection.get_mut(stream).unwrap();
        let status = block(&[(":status", "200"), ("content-type", "application/grpc")]);
        match call.path.as_str() {
            "/reset" => {
                assert!(self.connection.reset(stream, ErrorCode::CANCEL).is_some());
                return;
            }
            "/early" => {
                self.connection.send_headers(stream, &block(&[(":status", "404")]), true);
                assert!(self.connection.finish(stream).is_some());
                return;
            }
            "/large" => call.out.extend((0..100).map(|n| Bytes::from(vec![n; 100_000]))),
            _ => {}
        }
        self.connection.send_headers(stream, &status, false);
    }

    fn end(&mut self, stream: StreamId) {
        let Some(call) = self.connection.get_mut(stream) else { return };
        if call.path == "/sink" {
            call.out.push_back(call.received.to_string().into());
        }
        call.is_last = call.path != "/never";
    }

    /// Sends what the windows let.
    fn send(&mut self) {
        let mut streams = Vec::new();
        self.connection.for_each_mut(|id, call| {
            if call.is_last || !call.out.is_empty() {
                streams.push(id);
            }
        });
        for id in streams {
            loop {
                let (capacity, frame) = (self.connection.capacity(id), self.connection.max_frame());
                let room = HIGH_BYTES.saturating_sub(self.connection.output().len());
                let call = self.connection.get_mut(id).unwrap();
                let Some(next) = call.out.front_mut() else { break };
                let size = capacity.min(frame).min(room).min(next.len());
                if size == 0 {
                    break;
                }
                let piece = next.split_to(size);
                if next.is_empty() {
                    call.out.pop_front();
                }
                self.connection.begin_data(id, size, false);
                self.connection.output().share(piece);
            }
            let call = self.connection.get_mut(id).unwrap();
            if call.is_last && call.out.is_empty() {
                self.connection.send_headers(id, &block(&[("grpc-status", "0")]), true);
                assert!(self.connection.finish(id).is_some());
            }
        }
    }
}

struct Pair {
    client: client::SendRequest<Bytes>,
    stop: Arc<Notify>,
    server: JoinHandle<Result<usize, Error>>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

async fn pair_with(settings: Settings, builder: &client::Builder) -> Pair {
    let (ours, theirs) = tokio::io::duplex(50_000);
    let stop = Arc::new(Notify::new());
    let server = Server { io: ours, connection: Connection::new(settings), stop: stop.clone() };
    let server = tokio::spawn(server.run());
    let (client, connection) = builder.handshake(theirs).await.unwrap();
    Pair { client, stop, server, connection: tokio::spawn(connection) }
}

async fn pair() -> Pair {
    pair_with(Settings::default(), &client::Builder::new()).await
}

fn request(path: &str) -> Request<()> {
    let uri = format!("http://example.com{path}");
    Request::post(uri).header("te", "trailers").header("content-type", "application/grpc").body(()).unwrap()
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, body.trailers().await?))
}

/// Sends a body as the windows let.
async fn send(mut body: h2::SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|context| body.poll_capacity(context)).await.unwrap().unwrap();
        body.send_data(bytes.split_to(capacity.min(bytes.len())), false).unwrap();
    }
    body.send_data(Bytes::new(), true).unwrap();
}

async fn call(client: &client::SendRequest<Bytes>, path: &str, body: Bytes) -> Result<Vec<u8>, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (answer, sender) = client.send_request(request(path), false)?;
    let sending = tokio::spawn(send(sender, body));
    let answer = answer.await?;
    assert_eq!(answer.status(), 200);
    let (bytes, trailers) = read(answer.into_body()).await?;
    sending.await.unwrap();
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    Ok(bytes)
}

#[tokio::test]
async fn calls_are_answered() {
    let pair = pair().await;
    for n in 0..300 {
        let body = Bytes::from(vec![n as u8; n]);
        assert_eq!(call(&pair.client, "/echo", body.clone()).await.unwrap(), body);
    }
}

#[tokio::test]
async fn bodies_larger_than_the_windows_go_both_ways() {
    let pair = pair().await;
    let body = Bytes::from((0..5_000_000_u32).map(|n| (n / 1_000) as u8).collect::<Vec<_>>());
    assert_eq!(call(&pair.client, "/sink", body.clone()).await.unwrap(), b"5000000");
    assert_eq!(call(&pair.client, "/echo", body.clone()).await.unwrap(), body);
    let large = call(&pair.client, "/large", Bytes::new()).await.unwrap();
    assert_eq!(large.len(), 10_000_000);
    assert!(large.chunks(100_000).enumerate().all(|(n, chunk)| chunk.iter().all(|byte| *byte == n as u8)));
    drop(pair.client);
    pair.connection.await.unwrap().unwrap();
    assert!(pair.server.await.unwrap().unwrap() < HIGH_BYTES + 1_000);
}

#[tokio::test]
async fn small_windows_and_large_frames_do() {
    let mut builder = client::Builder::new();
    builder.initial_window_size(1_000).initial_connection_window_size(70_000).max_frame_size(1 << 20);
    let pair = pair_with(Settings::default(), builder.header_table_size(100)).await;
    let body = Bytes::from(vec![3; 300_000]);
    assert_eq!(call(&pair.client, "/echo", body.clone()).await.unwrap(), body);
    assert_eq!(call(&pair.client, "/large", Bytes::new()).await.unwrap().len(), 10_000_000);
}

#[tokio::test]
async fn many_streams_share_a_connection() {
    let pair = pair_with(Settings { max_concurrent_streams: 50, ..Settings::default() }, &client::Builder::new()).await;
    let calls: Vec<_> = (0..500)
        .map(|n| {
            let client = pair.client.clone();
            tokio::spawn(async move {
                let body = Bytes::from(vec![n as u8; 20_000]);
                assert_eq!(call(&client, "/echo", body.clone()).await.unwrap(), body);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn resets_and_early_answers_leave_the_connection_whole() {
    let pair = pair().await;
    for _ in 0..200 {
        let mut client = pair.client.clone().ready().await.unwrap();
        let error = call(&client, "/reset", Bytes::from(vec![0; 100_000])).await;
        assert_eq!(error.unwrap_err().reason(), Some(Reason::CANCEL));
        // One that doesn't read what is sent.
        let (answer, mut sender) = client.send_request(request("/early"), false).unwrap();
        sender.send_data(Bytes::from(vec![0; 30_000]), false).unwrap();
        assert_eq!(answer.await.unwrap().status(), 404);
        // One that the client gives up.
        let mut client = pair.client.clone().ready().await.unwrap();
        let (answer, mut sender) = client.send_request(request("/never"), false).unwrap();
        answer.await.unwrap();
        sender.send_reset(Reason::CANCEL);
    }
    assert_eq!(call(&pair.client, "/echo", Bytes::from_static(b"x")).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_shutdown_lets_calls_finish() {
    let pair = pair().await;
    let mut client = pair.client.clone().ready().await.unwrap();
    let (answer, mut sender) = client.send_request(request("/echo"), false).unwrap();
    let answer = answer.await.unwrap();
    pair.stop.notify_one();
    let knows = async {
        while pair.client.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), knows).await.expect("it knows");
    sender.send_data(Bytes::from_static(b"last words"), true).unwrap();
    let (bytes, trailers) = read(answer.into_body()).await.unwrap();
    assert_eq!(bytes, b"last words");
    assert!(trailers.is_some());
    pair.server.await.unwrap().unwrap();
    pair.connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn too_large_a_head_is_told() {
    let mut pair = pair().await;
    let mut large = request("/echo");
    large.headers_mut().insert("large", "x".repeat(17_000).parse().unwrap());
    let (answer, _sender) = pair.client.send_request(large, false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 431);
    assert_eq!(call(&pair.client, "/echo", Bytes::from_static(b"x")).await.unwrap(), b"x");
}
