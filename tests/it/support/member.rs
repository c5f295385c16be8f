//! A member of a session, over a `Join` stream.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{DEADLINE, Event, Frame, addressed, broadcast, proto, soon, within};

/// How a stream ended.
#[derive(Debug)]
pub(crate) struct End {
    /// The events before `closing`.
    pub(crate) before: Vec<Event>,
    pub(crate) closing: Option<proto::Closing>,
    /// None: OK.
    pub(crate) status: Option<Status>,
}

/// A member, or a stream on its way to be one. Every event it reads is checked
/// to be of a higher sequence than those before.
pub(crate) struct Member {
    requests: Option<mpsc::UnboundedSender<proto::JoinRequest>>,
    events: Streaming<proto::JoinResponse>,
    pub(crate) joined: proto::Joined,
    /// Read, but passed over for what a test waited for.
    passed: VecDeque<Event>,
    last_sequence: u64,
    last_result: u64,
    last_send_id: u64,
}

impl Member {
    pub(super) fn new(
        requests: mpsc::UnboundedSender<proto::JoinRequest>,
        events: Streaming<proto::JoinResponse>,
    ) -> Self {
        Self {
            requests: Some(requests),
            events,
            joined: proto::Joined::default(),
            passed: VecDeque::new(),
            last_sequence: 0,
            last_result: 0,
            last_send_id: 0,
        }
    }

    /// Waits to be let in.
    pub(super) async fn joined(mut self) -> Result<Self, End> {
        match soon("joined", self.events.message()).await {
            Ok(Some(proto::JoinResponse { event: Some(Event::Joined(joined)) })) => {
                self.last_sequence = joined.sequence;
                self.last_send_id = joined.last_send_id;
                self.joined = joined;
                while self.joined.more_connections {
                    let event = self.next().await;
                    let Event::ConnectionsPage(page) = event else { panic!("{event:?} in the midst of a snapshot") };
                    self.joined.connections.extend(page.connections);
                    self.joined.more_connections = page.more;
                }
                Ok(self)
            }
            Ok(Some(response)) => {
                let event = response.event.unwrap();
                assert!(matches!(event, Event::Closing(_)), "{event:?} came first");
                self.passed.push_back(event);
                Err(self.end().await)
            }
            Ok(None) => Err(End { before: Vec::new(), closing: None, status: None }),
            Err(status) => Err(End { before: Vec::new(), closing: None, status: Some(status) }),
        }
    }

    pub(crate) fn id(&self) -> String {
        self.joined.connection.as_ref().unwrap().connection_id.clone()
    }

    /// The newest sequence seen.
    pub(crate) fn sequence(&self) -> u64 {
        self.last_sequence
    }

    /// Everyone of the snapshot.
    pub(crate) fn snapshot(&self) -> Vec<String> {
        self.joined.connections.iter().map(|connection| connection.connection_id.clone()).collect()
    }

    /// What a client remembers to come back by.
    pub(crate) fn memory(&self) -> proto::Resume {
        proto::Resume {
            connection_id: self.id(),
            resume_token: self.joined.resume_token.clone(),
            epoch: self.joined.epoch,
            last_sequence: self.last_sequence,
            last_result_send_id: self.last_result,
        }
    }

    /// Loses the stream.
    pub(crate) fn lose(self) -> proto::Resume {
        self.memory()
    }

    /// Loses the stream, and waits until somebody else has seen it.
    pub(crate) async fn lose_before(self, onlooker: &mut Member) -> proto::Resume {
        let memory = self.lose();
        let wanted = |event: &Event| match event {
            Event::ConnectionInterrupted(lost) => (lost.connection_id == memory.connection_id).then_some(()),
            _ => None,
        };
        onlooker.find("the interruption", wanted).await;
        memory
    }

    /// Says that nothing more will be sent.
    pub(crate) fn half_close(&mut self) {
        self.requests = None;
    }

    pub(crate) fn frame(&self, frame: Frame) {
        self.request(proto::JoinRequest { frame: Some(frame) });
    }

    pub(crate) fn request(&self, request: proto::JoinRequest) {
        let requests = self.requests.as_ref().expect("nothing is sent after a half-close");
        // A stream that is over takes nothing; its end tells more.
        let _ = requests.send(request);
    }

    /// Broadcasts; comes back with the id of the send.
    pub(crate) fn send(&mut self, kind: &str, data: &str) -> u64 {
        self.last_send_id += 1;
        self.frame(broadcast(self.last_send_id, kind, data));
        self.last_send_id
    }

    /// Broadcasts, and waits until it is accepted.
    pub(crate) async fn say(&mut self, kind: &str, data: &str) -> u64 {
        let sent = self.send(kind, data);
        self.accepted(sent).await
    }

    /// Sends to some.
    pub(crate) fn send_to(&mut self, to: &[&str], data: &str) -> u64 {
        self.last_send_id += 1;
        self.frame(addressed(self.last_send_id, data, to));
        self.last_send_id
    }

    /// Disconnects another connection.
    pub(crate) fn disconnect(&mut self, connection: &str) -> u64 {
        self.last_send_id += 1;
        let (send_id, connection_id) = (self.last_send_id, connection.to_owned());
        self.frame(Frame::Disconnect(proto::DisconnectConnection { send_id, connection_id }));
        self.last_send_id
    }

    /// The next event; none at the end.
    async fn read(&mut self) -> Result<Option<Event>, Status> {
        let Some(response) = self.events.message().await? else { return Ok(None) };
        let event = response.event.expect("a response has an event");
        let sequence = match &event {
            Event::Signal(signal) => signal.sequence,
            Event::ConnectionCreated(created) => created.sequence,
            Event::ConnectionDestroyed(destroyed) => destroyed.sequence,
            Event::ConnectionInterrupted(interrupted) => interrupted.sequence,
            Event::ConnectionRestored(restored) => restored.sequence,
            Event::Heartbeat(heartbeat) => {
                assert!(heartbeat.sequence >= self.last_sequence, "{heartbeat:?} after {}", self.last_sequence);
                self.last_sequence = heartbeat.sequence;
                return Ok(Some(event));
            }
            Event::SendResult(result) => {
                self.last_result = self.last_result.max(result.send_id);
                return Ok(Some(event));
            }
            Event::Joined(_) | Event::Closing(_) | Event::ConnectionsPage(_) => return Ok(Some(event)),
        };
        assert!(sequence > self.last_sequence, "{event:?} after {}", self.last_sequence);
        self.last_sequence = sequence;
        Ok(Some(event))
    }

    /// The next event, which must come.
    pub(crate) async fn next(&mut self) -> Event {
        self.next_within(DEADLINE).await
    }

    /// The next event, which may take its time.
    pub(crate) async fn next_within(&mut self, most: Duration) -> Event {
        if let Some(event) = self.passed.pop_front() {
            return event;
        }
        match within(most, "an event", self.read()).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => panic!("the stream ended: {status:?}"),
        }
    }

    /// The first event that `wanted` takes; those before it stay for later.
    pub(crate) async fn find<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        for at in 0..self.passed.len() {
            if let Some(found) = wanted(&self.passed[at]) {
                self.passed.remove(at);
                return found;
            }
        }
        loop {
            match soon(what, self.read()).await {
                Ok(Some(event)) => match wanted(&event) {
                    Some(found) => return found,
                    None => self.passed.push_back(event),
                },
                Ok(None) => panic!("the stream ended with OK before {what}"),
                Err(status) => panic!("the stream ended before {what}: {status:?}"),
            }
        }
    }

    /// The next signal, past other events.
    pub(crate) async fn signal(&mut self) -> proto::SignalReceived {
        self.find("a signal", |event| if let Event::Signal(signal) = event { Some(signal.clone()) } else { None }).await
    }

    /// The data of the next signal.
    pub(crate) async fn heard(&mut self) -> String {
        self.signal().await.signal.unwrap().data
    }

    /// The outcome of a send.
    pub(crate) async fn outcome(&mut self, send_id: u64) -> Result<proto::Accepted, proto::SendError> {
        let what = format!("the outcome of send {send_id}");
        let result = self.find(&what, |event| match event {
            Event::SendResult(result) if result.send_id == send_id => Some(result.clone()),
            _ => None,
        });
        match result.await.outcome.unwrap() {
            proto::send_result::Outcome::Accepted(accepted) => Ok(accepted),
            proto::send_result::Outcome::Error(error) => Err(error),
        }
    }

    /// The place of a send that must be accepted.
    pub(crate) async fn accepted(&mut self, send_id: u64) -> u64 {
        match self.outcome(send_id).await {
            Ok(accepted) => accepted.sequence,
            Err(error) => panic!("send {send_id} was refused: {error:?}"),
        }
    }

    /// The refusal of a send.
    pub(crate) async fn refusal(&mut self, send_id: u64) -> proto::SendError {
        self.outcome(send_id).await.expect_err("the send must be refused")
    }

    /// Reads to the end.
    pub(crate) async fn end(mut self) -> End {
        let mut end = End { before: self.passed.drain(..).collect(), closing: None, status: None };
        loop {
            if let Some(Event::Closing(closing)) = end.before.pop_if(|last| matches!(last, Event::Closing(_))) {
                end.closing = Some(closing);
            }
            match soon("the end of the stream", self.read()).await {
                Ok(Some(event)) => {
                    assert!(end.closing.is_none(), "{event:?} after closing");
                    end.before.push(event);
                }
                Ok(None) => return end,
                Err(status) => {
                    end.status = Some(status);
                    return end;
                }
            }
        }
    }
}
