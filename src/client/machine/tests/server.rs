//! A model of the server, for one machine: the contract and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::proto::{
    self, ClientAction, DisconnectReason, JoinOutcome, JoinRequest, JoinResponse, join_request::Frame,
    join_response::Event as Wire, send_result::Outcome,
};

use super::super::{End, StreamId};

/// How many events can be replayed.
const LOG: u64 = 12;
/// The rate limit: so low that the machine must mind it.
pub(super) const PER_SECOND: u32 = 20;
pub(super) const BURST: u32 = 4;
const UNRESOLVED: u32 = 6;
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// What one stream has on its way to the client.
pub(super) enum Down {
    Response(JoinResponse),
    End(End),
}

#[derive(Default)]
pub(super) struct Pipe {
    pub(super) up: VecDeque<JoinRequest>,
    pub(super) down: VecDeque<Down>,
    /// Nothing passes any more, and neither end knows.
    pub(super) half_open: bool,
    member: Option<u32>,
}

struct Member {
    joined_at: u64,
    stream: Option<StreamId>,
    decided: BTreeMap<u64, proto::SendResult>,
    last_send_id: u64,
    /// By the generic cell rate algorithm, as the server counts.
    paid_at: Duration,
}

/// One place of the order.
pub(super) struct Entry {
    pub(super) event: Wire,
    /// The one who isn't told: it is about it.
    about: Option<u32>,
}

pub(super) struct Server {
    pub(super) epoch: u64,
    pub(super) sequence: u64,
    pub(super) order: BTreeMap<(u64, u64), Entry>,
    members: BTreeMap<u32, Member>,
    last_member: u32,
    pub(super) pipes: BTreeMap<StreamId, Pipe>,
    /// What was accepted, in order.
    pub(super) accepted: Vec<String>,
    pub(super) rate_limited: bool,
}

fn name(member: u32) -> String {
    format!("member {member}")
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("member ")?.parse().ok()
}

fn connection(member: u32) -> proto::Connection {
    proto::Connection { connection_id: name(member), ..proto::Connection::default() }
}

fn limits() -> proto::Limits {
    proto::Limits {
        max_unresolved_sends: UNRESOLVED,
        signals_per_second: PER_SECOND,
        signal_burst: BURST,
        max_recipients: 100,
        heartbeat_interval: HEARTBEAT.try_into().ok(),
        ..proto::Limits::default()
    }
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            epoch: 1,
            sequence: 0,
            order: BTreeMap::new(),
            members: BTreeMap::new(),
            last_member: 0,
            pipes: BTreeMap::new(),
            accepted: Vec::new(),
            rate_limited: false,
        }
    }

    /// Whether this member is told of a place in the order.
    pub(super) fn told(entry: &Entry, member: &str) -> bool {
        entry.about.is_none() || entry.about != number(member)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().map(|member| name(*member)).collect()
    }

    fn place(&mut self, about: Option<u32>, event: impl FnOnce(u64) -> Wire) -> u64 {
        self.sequence += 1;
        let event = event(self.sequence);
        for (member, state) in &self.members {
            if let Some(pipe) = state.stream.and_then(|stream| self.pipes.get_mut(&stream))
                && about != Some(*member)
                && state.joined_at < self.sequence
            {
                pipe.down.push_back(Down::Response(JoinResponse { event: Some(event.clone()) }));
            }
        }
        self.order.insert((self.epoch, self.sequence), Entry { event, about });
        self.sequence
    }

    fn signal(&mut self, from: Option<u32>, data: String) -> u64 {
        self.place(None, |sequence| {
            Wire::Signal(proto::SignalReceived {
                sequence,
                from_connection_id: from.map(name),
                signal: Some(proto::Signal { r#type: String::new(), data }),
                sent_at: None,
            })
        })
    }

    pub(super) fn noise(&mut self) {
        self.signal(None, "noise".to_owned());
    }

    /// Somebody else joins.
    pub(super) fn other_joins(&mut self) -> u32 {
        self.last_member += 1;
        let member = self.last_member;
        let sequence = self.place(Some(member), |sequence| {
            Wire::ConnectionCreated(proto::ConnectionCreated { sequence, connection: Some(connection(member)) })
        });
        let state = Member {
            joined_at: sequence,
            stream: None,
            decided: BTreeMap::new(),
            last_send_id: 0,
            paid_at: Duration::ZERO,
        };
        self.members.insert(member, state);
        member
    }

    /// Those without a stream, the newest first, are gone.
    pub(super) fn one_goes(&mut self) {
        let gone = self.members.iter().rev().find(|(_, state)| state.stream.is_none()).map(|(member, _)| *member);
        if let Some(member) = gone {
            self.destroy(member);
        }
    }

    fn destroy(&mut self, member: u32) {
        self.members.remove(&member);
        self.place(Some(member), |sequence| {
            Wire::ConnectionDestroyed(proto::ConnectionDestroyed {
                sequence,
                connection_id: name(member),
                reason: DisconnectReason::NetworkDisconnected.into(),
            })
        });
    }

    /// Ends a stream on the server's own account.
    pub(super) fn close(&mut self, stream: StreamId, reason: &str, action: ClientAction) {
        if let Some(pipe) = self.pipes.get_mut(&stream) {
            let closing = proto::Closing { reason: reason.to_owned(), action: action.into(), retry_after: None };
            let event = Some(Wire::Closing(closing));
            pipe.down.push_back(Down::Response(JoinResponse { event }));
            pipe.down.push_back(Down::End(End::Well));
            pipe.up.clear();
        }
        self.detach(stream);
    }

    /// The server has seen that a stream is gone.
    pub(super) fn detach(&mut self, stream: StreamId) {
        let lost = self.members.iter_mut().find(|(_, state)| state.stream == Some(stream));
        if let Some((member, state)) = lost {
            state.stream = None;
            let member = *member;
            self.place(Some(member), |sequence| {
                let connection_id = name(member);
                Wire::ConnectionInterrupted(proto::ConnectionInterrupted { sequence, connection_id })
            });
        }
        if let Some(pipe) = self.pipes.get_mut(&stream) {
            pipe.member = None;
        }
    }

    /// Everything is forgotten.
    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        self.sequence = 0;
        self.members.clear();
        for pipe in self.pipes.values_mut() {
            pipe.up.clear();
            pipe.member = None;
            pipe.down.push_back(Down::End(End::Status(super::broken())));
        }
    }

    pub(super) fn heartbeat(&mut self, stream: StreamId) {
        let sequence = self.sequence;
        if let Some(pipe) = self.pipes.get_mut(&stream).filter(|pipe| pipe.member.is_some()) {
            let event = Some(Wire::Heartbeat(proto::Heartbeat { sequence }));
            pipe.down.push_back(Down::Response(JoinResponse { event }));
        }
    }

    /// Takes one frame of a stream.
    pub(super) fn take(&mut self, stream: StreamId, now: Duration) {
        let Some(pipe) = self.pipes.get_mut(&stream) else { return };
        let member = pipe.member;
        let Some(frame) = pipe.up.pop_front().and_then(|request| request.frame) else { return };
        match (frame, member) {
            (Frame::Join(join), None) => self.join(stream, &join),
            (Frame::Send(send), Some(member)) => self.send(stream, member, send, now),
            (Frame::Leave(_), Some(member)) => {
                self.destroy(member);
                if let Some(pipe) = self.pipes.get_mut(&stream) {
                    pipe.member = None;
                    pipe.down.push_back(Down::End(End::Well));
                }
            }
            // Of a stream that is over for the server.
            _ => {}
        }
    }

    fn join(&mut self, stream: StreamId, join: &proto::Join) {
        let known = join.resume.as_ref().filter(|resume| resume.resume_token == format!("t {}", resume.connection_id));
        let member = known.and_then(|resume| number(&resume.connection_id)).filter(|member| {
            self.members.contains_key(member) && join.resume.as_ref().is_some_and(|resume| resume.epoch == self.epoch)
        });
        let mut joined = proto::Joined { epoch: self.epoch, limits: Some(limits()), ..proto::Joined::default() };
        let Some(member) = member else {
            let member = self.other_joins();
            joined.outcome = JoinOutcome::New.into();
            joined.resume_token = format!("t {}", name(member));
            return self.enter(stream, member, joined, &[], self.sequence);
        };
        if let Some(old) = self.members[&member].stream {
            // A take-over is no interruption.
            if let Some(pipe) = self.pipes.get_mut(&old) {
                pipe.up.clear();
                pipe.member = None;
                let closing = proto::Closing {
                    reason: "CONNECTION_TAKEN_OVER".to_owned(),
                    action: ClientAction::Stop.into(),
                    retry_after: None,
                };
                pipe.down.push_back(Down::Response(JoinResponse { event: Some(Wire::Closing(closing)) }));
                pipe.down.push_back(Down::End(End::Well));
            }
        } else {
            self.place(Some(member), |sequence| {
                Wire::ConnectionRestored(proto::ConnectionRestored { sequence, connection_id: name(member) })
            });
        }
        let resume = join.resume.clone().unwrap_or_default();
        let state = &self.members[&member];
        joined.last_send_id = state.last_send_id;
        let restated: Vec<_> =
            state.decided.range(resume.last_result_send_id + 1..).map(|(_, result)| result.clone()).collect();
        if resume.last_sequence + LOG >= self.sequence {
            joined.outcome = JoinOutcome::Resumed.into();
            self.enter(stream, member, joined, &restated, resume.last_sequence);
        } else {
            joined.outcome = JoinOutcome::ResumedWithGap.into();
            self.enter(stream, member, joined, &restated, self.sequence);
        }
    }

    fn enter(
        &mut self,
        stream: StreamId,
        member: u32,
        mut joined: proto::Joined,
        restated: &[proto::SendResult],
        from: u64,
    ) {
        joined.connection = Some(connection(member));
        joined.sequence = from;
        if joined.outcome() != JoinOutcome::Resumed {
            joined.connections = self.members.keys().map(|member| connection(*member)).collect();
        }
        // Large snapshots come in pieces.
        let rest = joined.connections.split_off(joined.connections.len().min(3));
        joined.more_connections = !rest.is_empty();
        let mut down = vec![Wire::Joined(joined)];
        if !rest.is_empty() {
            down.push(Wire::ConnectionsPage(proto::ConnectionsPage { connections: rest, more: false }));
        }
        down.extend(restated.iter().cloned().map(Wire::SendResult));
        down.extend(
            self.order
                .range((self.epoch, from + 1)..)
                .filter(|(_, entry)| entry.about != Some(member))
                .map(|(_, entry)| entry.event.clone()),
        );
        if let Some(state) = self.members.get_mut(&member) {
            state.stream = Some(stream);
        }
        if let Some(pipe) = self.pipes.get_mut(&stream) {
            pipe.member = Some(member);
            pipe.down.extend(down.into_iter().map(|event| Down::Response(JoinResponse { event: Some(event) })));
        }
    }

    fn send(&mut self, stream: StreamId, member: u32, send: proto::SendSignal, now: Duration) {
        let Some(state) = self.members.get_mut(&member) else { return };
        let result = match state.decided.get(&send.send_id) {
            Some(result) => result.clone(),
            None => {
                assert!(send.send_id > state.last_send_id, "send_id {} after {}", send.send_id, state.last_send_id);
                state.last_send_id = send.send_id;
                let each = Duration::from_secs(1) / PER_SECOND;
                let paid_at = state.paid_at.max(now);
                self.rate_limited |= paid_at.saturating_sub(now) > each * (BURST - 1);
                state.paid_at = paid_at + each;
                let data = send.signal.unwrap_or_default().data;
                self.accepted.push(data.clone());
                let sequence = self.signal(Some(member), data);
                let accepted = proto::Accepted { sequence, not_connected_ids: Vec::new() };
                let outcome = Some(Outcome::Accepted(accepted));
                let result = proto::SendResult { send_id: send.send_id, outcome };
                if let Some(state) = self.members.get_mut(&member) {
                    state.decided.insert(send.send_id, result.clone());
                }
                result
            }
        };
        if let Some(pipe) = self.pipes.get_mut(&stream) {
            pipe.down.push_back(Down::Response(JoinResponse { event: Some(Wire::SendResult(result)) }));
        }
    }
}
