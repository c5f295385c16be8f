//! Getting in, and getting back in.

use std::time::Duration;

use crate::proto::{self, ClientAction, JoinOutcome, join_response::Event as Wire};

use super::{
    ConnectError, Connection, End, Event, Identity, Live, Machine, Output, Over, Pace, SendError, StreamId,
    UNRESOLVED_WITHOUT_LIMIT,
    losing::{Verdict, why},
};

/// A stream on its way to be the live one.
pub(super) struct Opening {
    pub(super) stream: StreamId,
    pub(super) deadline: Duration,
    /// Whether another token was asked for.
    renewed: bool,
    /// Waiting for the rest of its snapshot.
    joined: Option<proto::Joined>,
    closing: Option<proto::Closing>,
}

impl<T> Machine<T> {
    /// Opens a stream: the first, the next, or one that takes over.
    pub(super) fn open(&mut self, now: Duration) {
        self.open_at = None;
        self.renew_at = None;
        self.streams += 1;
        let stream = self.streams;
        let renew_token = std::mem::take(&mut self.renew_token);
        self.opening = Some(Opening {
            stream,
            deadline: now + self.settings.connect_timeout,
            renewed: renew_token,
            joined: None,
            closing: None,
        });
        let resume = self.identity.as_ref().map(|identity| proto::Resume {
            connection_id: identity.connection.connection_id.clone(),
            resume_token: identity.resume_token.clone(),
            epoch: identity.epoch,
            last_sequence: identity.last_sequence,
            last_result_send_id: identity.last_result,
        });
        let join = Box::new(proto::Join { resume, ..self.settings.join.clone() });
        let endpoint = self.settings.endpoints[self.endpoint].clone();
        self.outputs.push_back(Output::Open { stream, endpoint, join, renew_token });
    }

    /// An event on the stream that is being opened.
    pub(super) fn opening_received(&mut self, event: Wire, now: Duration) {
        let Some(opening) = &mut self.opening else { return };
        match (event, &mut opening.joined) {
            (Wire::Joined(joined), None) => {
                if joined.more_connections {
                    opening.joined = Some(joined);
                } else {
                    self.joined(joined, now);
                }
            }
            (Wire::ConnectionsPage(page), Some(joined)) => {
                joined.connections.extend(page.connections);
                // A large snapshot may take its time as long as it comes.
                opening.deadline = now + self.settings.connect_timeout;
                if !page.more
                    && let Some(joined) = opening.joined.take()
                {
                    self.joined(joined, now);
                }
            }
            (Wire::Closing(closing), _) => opening.closing = Some(closing),
            // Nothing else comes before the snapshot is whole; what this
            // version doesn't know is passed over.
            _ => {}
        }
    }

    /// In.
    fn joined(&mut self, joined: proto::Joined, now: Duration) {
        let Some(opening) = self.opening.take() else { return };
        if let Some(old) = self.live.take() {
            self.outputs.push_back(Output::Close(old.stream));
        }
        self.live = Some(Live {
            stream: opening.stream,
            since: now,
            heard_at: now,
            closing: opening.closing,
            leave_sent: false,
        });
        self.adopt_limits(joined.limits.as_ref());

        let outcome = joined.outcome();
        let lost = self.lost_at.take().is_some();
        let connection = Connection::from(joined.connection.clone().unwrap_or_default());
        // An outcome that this version doesn't know is judged by the id.
        let resumed = match outcome {
            JoinOutcome::New => false,
            JoinOutcome::Resumed | JoinOutcome::ResumedWithGap => true,
            JoinOutcome::Unspecified => self.connection_id() == connection.connection_id,
        };
        match (&mut self.identity, resumed) {
            (Some(identity), true) => {
                for ticket in self.sends.resumed(joined.last_send_id, lost) {
                    self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Disconnected)));
                }
                if outcome == JoinOutcome::Resumed && joined.epoch == identity.epoch {
                    if lost {
                        let (connection, epoch, sequence) =
                            (identity.connection.clone(), identity.epoch, identity.last_sequence);
                        let connections = self.roster.connections().to_vec();
                        self.tell(Event::Reconnected { gap: false, connection, connections, epoch, sequence });
                    }
                } else {
                    identity.epoch = joined.epoch;
                    identity.last_sequence = joined.sequence;
                    self.tell_gap(joined);
                }
            }
            (identity, _) => {
                let first = identity.is_none();
                *identity = Some(Identity {
                    connection: connection.clone(),
                    resume_token: joined.resume_token.clone(),
                    epoch: joined.epoch,
                    last_sequence: joined.sequence,
                    last_result: 0,
                });
                self.renew_pace(joined.limits.as_ref());
                for ticket in self.sends.renewed() {
                    self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Unknown)));
                }
                if first {
                    let (epoch, sequence) = (joined.epoch, joined.sequence);
                    let connections = joined.connections.into_iter().map(Into::into).collect();
                    self.tell(Event::Joined { connection, connections, epoch, sequence });
                } else {
                    self.tell_gap(joined);
                }
            }
        }
        self.flush(now);
    }

    fn tell_gap(&mut self, joined: proto::Joined) {
        let connection = joined.connection.unwrap_or_default().into();
        let connections = joined.connections.into_iter().map(Into::into).collect();
        let (epoch, sequence) = (joined.epoch, joined.sequence);
        self.tell(Event::Reconnected { gap: true, connection, connections, epoch, sequence });
    }

    /// Tells the application, and keeps the machine's own view.
    pub(super) fn tell(&mut self, event: Event) {
        self.roster.apply(&event);
        self.outputs.push_back(Output::Event(event));
    }

    fn adopt_limits(&mut self, limits: Option<&proto::Limits>) {
        let Some(limits) = limits else { return };
        self.limits.max_recipients = limits.max_recipients as usize;
        self.limits.heartbeat_interval =
            limits.heartbeat_interval.and_then(|interval| Duration::try_from(interval).ok()).unwrap_or_default();
        self.max_unresolved = match limits.max_unresolved_sends as usize {
            0 => UNRESOLVED_WITHOUT_LIMIT,
            limit => limit,
        };
    }

    /// A new connection has the server's whole burst; a resumed one goes on
    /// with what it had.
    fn renew_pace(&mut self, limits: Option<&proto::Limits>) {
        self.pace = limits.map_or(Pace::new(0, 0), |limits| Pace::new(limits.signals_per_second, limits.signal_burst));
    }

    /// The stream that was being opened won't be.
    pub(super) fn fail(&mut self, end: End, now: Duration) {
        let Some(opening) = self.opening.take() else { return };
        self.outputs.push_back(Output::Close(opening.stream));
        let verdict = self.judge(opening.closing.as_ref(), &end, opening.renewed);
        let tried = self.endpoint;
        self.next_endpoint();
        // The token that was asked for may never have come.
        let unanswered = matches!(end, End::Silent | End::Failed(ConnectError::Token(_)));
        self.renew_token |= opening.renewed && unanswered;
        if self.identity.is_none() {
            return self.first_failed(&verdict, end, tried, now);
        }
        match verdict {
            Verdict::Again { after, renew_token } => {
                self.renew_token |= renew_token;
                // It ended the stream that it was to take over, and failed.
                if self.live.is_none() && self.lost_at.is_none() {
                    self.reconnecting(why(opening.closing, &end), now);
                }
                self.try_again(after, end, now);
            }
            // The live stream stays as long as the server lets it.
            Verdict::Stop(_) if self.live.is_some() => self.again(None, now),
            Verdict::Stop(refusal) => self.stop(refusal),
        }
        self.flush(now);
    }

    fn first_failed(&mut self, verdict: &Verdict, end: End, tried: usize, now: Duration) {
        match verdict {
            Verdict::Again { renew_token: true, .. } => {
                self.renew_token = true;
                self.endpoint = tried;
                self.open(now);
            }
            Verdict::Again { .. } if self.endpoint != 0 => self.open(now),
            _ => {
                self.over = true;
                let endpoint = self.settings.endpoints[tried].clone();
                let error = match end {
                    End::Failed(error) => error,
                    End::Status(refusal) => ConnectError::Rejected(refusal),
                    End::Silent => ConnectError::TimedOut { endpoint, after: self.settings.connect_timeout },
                    End::Well => ConnectError::NotGrpc { endpoint, why: "the stream ended before it began".to_owned() },
                };
                self.outputs.push_back(Output::Failed(error));
                self.outputs.push_back(Output::Over);
            }
        }
    }

    fn try_again(&mut self, after: Option<Duration>, end: End, now: Duration) {
        let gives_up_at = self.lost_at.map(|at| at.saturating_add(self.settings.give_up_after));
        if gives_up_at.is_some_and(|at| at <= now) {
            let last = match end {
                End::Failed(error) => error.to_string(),
                End::Status(refusal) => refusal.to_string(),
                End::Silent => format!("nothing came for {:?}", self.settings.connect_timeout),
                End::Well => "the stream ended before it began".to_owned(),
            };
            return self.end(Over::GaveUp(last), ClientAction::Rejoin);
        }
        self.again(after, now);
        // The last attempt is made when the time is up, not after it.
        self.open_at = self.open_at.map(|at| gives_up_at.map_or(at, |end| at.min(end)));
    }
}
