//! How a test's client joins.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;

use signalbox::proto::signaling_service_client::SignalingServiceClient;

use super::{End, Frame, Member, plain_join, proto, shown, soon, to_wire};

/// A join on its way.
pub(crate) struct JoinBuilder {
    channel: Channel,
    join: proto::Join,
    token: Option<String>,
    parent: Option<String>,
}

impl JoinBuilder {
    pub(crate) fn new(channel: Channel, session: &str) -> Self {
        Self { channel, join: plain_join(session), token: None, parent: None }
    }

    /// Over another TCP connection.
    pub(crate) fn over(mut self, channel: Channel) -> Self {
        self.channel = channel;
        self
    }

    /// Showing a token.
    pub(crate) fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// As a part of a trace.
    pub(crate) fn traceparent(mut self, parent: &str) -> Self {
        self.parent = Some(parent.to_owned());
        self
    }

    pub(crate) fn window(mut self, window: Duration) -> Self {
        self.join.resume_window = Some(to_wire(window));
        self
    }

    pub(crate) fn data(mut self, data: &str) -> Self {
        data.clone_into(&mut self.join.connection_data);
        self
    }

    pub(crate) fn types(mut self, types: &[&str]) -> Self {
        self.join.signal_types = types.iter().map(ToString::to_string).collect();
        self
    }

    pub(crate) fn without_connection_events(mut self) -> Self {
        self.join.suppress_connection_events = true;
        self
    }

    pub(crate) fn without_own_signals(mut self) -> Self {
        self.join.suppress_own_signals = true;
        self
    }

    pub(crate) fn resume(mut self, resume: proto::Resume) -> Self {
        self.join.resume = Some(resume);
        self
    }

    /// The member, which must be let in.
    pub(crate) async fn enter(self) -> Member {
        match self.attempt().await {
            Ok(member) => member,
            Err(end) => panic!("the join was refused: {:?}", end.status),
        }
    }

    /// The end of the stream, which must not be let in.
    pub(crate) async fn refused(self) -> End {
        match self.attempt().await {
            Ok(member) => panic!("the join was let in as {}", member.id()),
            Err(end) => end,
        }
    }

    async fn attempt(self) -> Result<Member, End> {
        let join = Frame::Join(self.join);
        Member::open_with(self.channel, join, (self.token.as_deref(), self.parent.as_deref())).await.joined().await
    }
}

impl Member {
    /// A stream with a first frame, whatever it is.
    pub(crate) async fn open(channel: Channel, first: Frame) -> Member {
        Self::open_with(channel, first, (None, None)).await
    }

    async fn open_with(channel: Channel, first: Frame, (token, parent): (Option<&str>, Option<&str>)) -> Member {
        let (requests, frames) = mpsc::unbounded_channel();
        requests.send(proto::JoinRequest { frame: Some(first) }).unwrap();
        let mut client = SignalingServiceClient::new(channel);
        let mut request = shown(UnboundedReceiverStream::new(frames), token);
        if let Some(parent) = parent {
            request.metadata_mut().insert("traceparent", parent.parse().unwrap());
        }
        let response = soon("the headers of a join", client.join(request)).await;
        Member::new(requests, response.unwrap().into_inner())
    }
}
