//! A server's side that a test plays, in place of the network.

use std::{future::Future, sync::Mutex, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture};
use signalbox::client::{Client, ClientBuilder, ConnectError, Connector, Refusal, Requests, Responses};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
};

use crate::support::{Event as Wire, Frame, proto, to_wire, within};

/// The longest that anything is waited for, in virtual time: over all that a
/// client waits for by itself.
const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn soon<T>(wanted: &str, coming: impl Future<Output = T>) -> T {
    within(DAY, wanted, coming).await
}

/// Where the streams that a client opens come out.
pub(super) struct Fake {
    opened: mpsc::UnboundedReceiver<Opening>,
}

struct FakeConnector(mpsc::UnboundedSender<Opening>);

/// A stream that a client wants.
pub(super) struct Opening {
    pub(super) endpoint: String,
    /// What it shows.
    pub(super) authorization: Option<String>,
    requests: Requests,
    answer: oneshot::Sender<Result<Responses, ConnectError>>,
}

/// A stream, after its `join`.
pub(super) struct FakeStream {
    pub(super) join: proto::Join,
    requests: Requests,
    responses: mpsc::UnboundedSender<Result<proto::JoinResponse, Refusal>>,
}

impl Connector for FakeConnector {
    fn open(
        &self,
        endpoint: String,
        authorization: Option<MetadataValue<Ascii>>,
        requests: Requests,
    ) -> BoxFuture<'static, Result<Responses, ConnectError>> {
        let (answer, answered) = oneshot::channel();
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        // A test that has ended takes nothing.
        let _ = self.0.send(Opening { endpoint, authorization, requests, answer });
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(refused_connection())) })
    }
}

pub(super) fn refused_connection() -> ConnectError {
    ConnectError::ConnectionRefused { endpoint: "a".to_owned() }
}

/// A status that a proxy gives, or a server without details.
pub(super) fn status(code: Code, reason: &str) -> Refusal {
    Refusal { code, reason: reason.to_owned(), message: "as the test wants".to_owned(), field: None, retry_after: None }
}

impl Fake {
    pub(super) fn new() -> (Self, ClientBuilder) {
        let (opening, opened) = mpsc::unbounded_channel();
        (Self { opened }, Client::builder().endpoint("a").connector(FakeConnector(opening)))
    }

    /// The next stream that the client wants.
    pub(super) async fn opening(&mut self) -> Opening {
        soon("a stream to be opened", self.opened.recv()).await.expect("the client goes on")
    }

    /// The next stream, opened.
    pub(super) async fn stream(&mut self) -> FakeStream {
        self.opening().await.accept().await
    }

    /// Waits until the client, and all it runs, is gone; false for one that
    /// wants another stream.
    pub(super) async fn gone(&mut self) -> bool {
        self.opened.recv().await.is_none()
    }

    /// Whether nothing more is wanted: the client is gone, or waits.
    pub(super) fn is_idle(&mut self) -> bool {
        self.opened.try_recv().is_err()
    }
}

impl Opening {
    pub(super) fn refuse(self, error: ConnectError) {
        let _ = self.answer.send(Err(error));
    }

    pub(super) async fn accept(mut self) -> FakeStream {
        let first = self.requests.recv().await.expect("the first frame is there").frame;
        let Some(Frame::Join(join)) = first else { panic!("{first:?} came first") };
        let (responses, answers) = mpsc::unbounded_channel();
        let answered = self.answer.send(Ok(UnboundedReceiverStream::new(answers).boxed()));
        assert!(answered.is_ok(), "the client has let go of it");
        FakeStream { join, requests: self.requests, responses }
    }

    /// Waits until the client has let go of it.
    pub(super) async fn given_up(mut self) {
        soon("the end of an attempt", self.answer.closed()).await;
    }
}

impl FakeStream {
    /// What the client sends next; none: nothing more.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        soon("a frame", self.requests.recv()).await.map(|request| request.frame.unwrap())
    }

    /// The id and the data of a signal, which must be what comes next.
    pub(super) async fn sent(&mut self) -> (u64, String) {
        match self.frame().await {
            Some(Frame::Send(send)) => (send.send_id, send.signal.unwrap().data),
            other => panic!("{other:?} instead of a signal"),
        }
    }

    /// Whether the client has sent nothing that was not taken.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    pub(super) fn tell(&self, event: Wire) {
        self.respond(proto::JoinResponse { event: Some(event) });
    }

    pub(super) fn respond(&self, response: proto::JoinResponse) {
        assert!(self.responses.send(Ok(response)).is_ok(), "the client has let go of it");
    }

    /// Lets the client in, as connection `me` of epoch 7 at place 10.
    pub(super) fn let_in(&self) {
        self.tell(Wire::Joined(joined(proto::JoinOutcome::New)));
    }

    /// Lets the client back in where it was.
    pub(super) fn let_back_in(&self) {
        let sequence = self.resume().last_sequence;
        self.tell(Wire::Joined(proto::Joined { sequence, connections: vec![], ..joined(proto::JoinOutcome::Resumed) }));
    }

    /// What the client wants to resume.
    pub(super) fn resume(&self) -> &proto::Resume {
        self.join.resume.as_ref().expect("it resumes")
    }

    pub(super) fn signal(&self, sequence: u64, data: &str) {
        let signal = Some(crate::support::signal("", data));
        self.tell(Wire::Signal(proto::SignalReceived { sequence, signal, ..proto::SignalReceived::default() }));
    }

    pub(super) fn accepted(&self, send_id: u64, sequence: u64) {
        let accepted = proto::Accepted { sequence, not_connected_ids: vec![] };
        let outcome = Some(proto::send_result::Outcome::Accepted(accepted));
        self.tell(Wire::SendResult(proto::SendResult { send_id, outcome }));
    }

    pub(super) fn closing(&self, reason: &str, action: i32, retry_after: Option<Duration>) {
        let (reason, retry_after) = (reason.to_owned(), retry_after.map(to_wire));
        self.tell(Wire::Closing(proto::Closing { reason, action, retry_after }));
    }

    /// Ends it with a status.
    pub(super) fn fail(self, status: Refusal) {
        let _ = self.responses.send(Err(status));
    }

    /// Waits until the client has let go of it.
    pub(super) async fn given_up(self) {
        soon("the end of a stream", self.responses.closed()).await;
    }
}

pub(super) fn connection(id: &str) -> proto::Connection {
    proto::Connection { connection_id: id.to_owned(), ..proto::Connection::default() }
}

/// In, as connection `me` of epoch 7 at place 10, without limits.
pub(super) fn joined(outcome: proto::JoinOutcome) -> proto::Joined {
    proto::Joined {
        outcome: outcome.into(),
        connection: Some(connection("me")),
        connections: vec![connection("me")],
        epoch: 7,
        sequence: 10,
        resume_token: "secret".to_owned(),
        limits: Some(proto::Limits::default()),
        ..proto::Joined::default()
    }
}

/// Tokens that are asked for: the test answers each question.
pub(super) struct Tokens {
    asked: mpsc::UnboundedReceiver<Question>,
}

pub(super) type Answer = Result<signalbox::client::Token, signalbox::client::TokenError>;

pub(super) struct Question {
    pub(super) session: Option<String>,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Tokens {
    pub(super) fn of(builder: ClientBuilder) -> (Self, ClientBuilder) {
        let (ask, asked) = mpsc::unbounded_channel();
        let ask = Mutex::new(ask);
        let builder = builder.token_with(move |session| {
            let (answer, answered) = oneshot::channel();
            let _ = ask.lock().unwrap().send(Question { session, answer });
            async move { answered.await.unwrap_or_else(|_| Err("the test has ended".into())) }
        });
        (Self { asked }, builder)
    }

    pub(super) async fn question(&mut self) -> Question {
        soon("a question for a token", self.asked.recv()).await.expect("the client goes on")
    }

    /// Waits for the next question and answers it.
    pub(super) async fn give(&mut self, token: &str, lasts: Option<Duration>) {
        let token = signalbox::client::Token::new(token);
        let token = match lasts {
            Some(lasts) => token.expires_at(std::time::SystemTime::now() + lasts),
            None => token,
        };
        let _ = self.question().await.answer.send(Ok(token));
    }

    /// Whether no question waits.
    pub(super) fn is_idle(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}
