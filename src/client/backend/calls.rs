//! One call: over which connection, again or not, and elsewhere or not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::domain::Reason;

use super::super::{
    CallError, ConnectError, Refusal,
    back_off::pauses,
    connect::failed,
    token::Tokens,
    transport::{Secure, cause, connect},
};

/// A connection that calls share.
struct Transport {
    channel: Channel,
    /// Not for another call.
    broken: AtomicBool,
}

/// An endpoint, and the connection to it if there is one.
struct Line {
    endpoint: String,
    secure: Secure,
    // Held while connecting, so that calls at the same time share the attempt.
    transport: Mutex<Option<Arc<Transport>>>,
}

impl Line {
    async fn open(&self, timeout: Duration) -> Result<Arc<Transport>, ConnectError> {
        let mut held = self.transport.lock().await;
        if let Some(transport) = held.as_ref().filter(|held| !held.broken.load(Ordering::Relaxed)) {
            return Ok(Arc::clone(transport));
        }
        *held = None;
        let channel = connect(&self.endpoint, timeout, &self.secure).await?;
        let transport = Arc::new(Transport { channel, broken: AtomicBool::new(false) });
        *held = Some(Arc::clone(&transport));
        Ok(transport)
    }
}

/// Why an attempt brought no answer, or a refusal.
#[derive(Debug)]
enum Failure {
    Refused(Refusal),
    /// It never was on its way.
    Unasked(ConnectError),
    /// It was.
    Unanswered(ConnectError),
}

impl Failure {
    fn known(refusal: &Refusal) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.name() == refusal.reason)
    }

    /// Whether the call may have been carried out nevertheless.
    fn is_in_doubt(&self) -> bool {
        match self {
            Self::Unasked(_) => false,
            Self::Unanswered(_) => true,
            Self::Refused(refusal) => match Self::known(refusal) {
                Some(reason) => reason.may_have_happened(),
                // Perhaps a proxy's word, which doesn't know.
                None => passes(refusal.code) || matches!(refusal.code, Code::Internal | Code::DataLoss),
            },
        }
    }

    /// Whether another attempt may do better.
    fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Unasked(_) | Self::Unanswered(_) => true,
            Self::Refused(refusal) => match Self::known(refusal) {
                Some(reason) => reason.retry_helps(),
                None => passes(refusal.code) || refusal.retry_after.is_some(),
            },
        }
    }

    /// Whether another endpoint may do better. After a loss the one that was
    /// asked comes first: it knows best what it did.
    fn moves_on(&self) -> bool {
        match self {
            Self::Unasked(ConnectError::Token(_)) | Self::Unanswered(ConnectError::Lost { .. }) => false,
            Self::Unasked(_) | Self::Unanswered(_) => true,
            // Somebody's limit is no reason to go and use up the next one's.
            Self::Refused(refusal) => refusal.code != Code::ResourceExhausted,
        }
    }

    /// Whether a server of ours said it.
    fn is_a_servers(&self) -> bool {
        matches!(self, Self::Refused(refusal) if !refusal.reason.is_empty())
    }

    fn is_for_an_expired_token(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.reason == Reason::TokenExpired.name())
    }

    fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(refusal) => refusal.retry_after.unwrap_or_default(),
            Self::Unasked(_) | Self::Unanswered(_) => Duration::ZERO,
        }
    }
}

/// Whether a code, without a reason that says more, tells of what passes.
fn passes(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted)
}

/// A call that was given up.
#[derive(Debug)]
pub(super) struct GivenUp {
    last: Failure,
    /// Whether one of the attempts may have been carried out.
    in_doubt: bool,
}

impl GivenUp {
    /// What it means for a call that changes nothing.
    pub(super) fn reading(self) -> CallError {
        match self.last {
            Failure::Refused(refusal) => CallError::Refused(refusal),
            Failure::Unasked(error) | Failure::Unanswered(error) => CallError::Connect(error),
        }
    }

    /// What it means for a call that has an effect.
    pub(super) fn acting(self) -> CallError {
        match self.last {
            Failure::Refused(refusal) if self.in_doubt => CallError::Unknown { last: ConnectError::Rejected(refusal) },
            Failure::Unasked(last) | Failure::Unanswered(last) if self.in_doubt => CallError::Unknown { last },
            _ => self.reading(),
        }
    }

    /// Whether the last answer is that there is no such thing, while an attempt
    /// before it may have seen to that.
    pub(super) fn is_gone_by_now(&self) -> bool {
        self.in_doubt && matches!(&self.last, Failure::Refused(refusal) if refusal.code == Code::NotFound)
    }
}

/// An answer, and where it came from.
pub(super) struct Answer<A> {
    pub(super) answer: A,
    pub(super) endpoint: String,
}

/// What makes calls.
pub(super) struct Caller {
    lines: Box<[Line]>,
    tokens: Mutex<Tokens>,
    attempt_timeout: Duration,
    back_off: (Duration, Duration),
    give_up_after: Duration,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
    /// Whether a server ever answered.
    reached: AtomicBool,
}

impl Caller {
    pub(super) fn new(
        endpoints: &[String],
        tokens: Tokens,
        attempt_timeout: Duration,
        back_off: (Duration, Duration),
        give_up_after: Duration,
        secure: &Secure,
    ) -> Self {
        let line = |endpoint: &String| Line {
            endpoint: endpoint.clone(),
            secure: secure.clone(),
            transport: Mutex::default(),
        };
        Self {
            lines: endpoints.iter().map(line).collect(),
            tokens: Mutex::new(tokens),
            attempt_timeout,
            back_off,
            give_up_after,
            preferred: AtomicUsize::new(0),
            reached: AtomicBool::new(false),
        }
    }

    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.endpoint.as_str())
    }

    /// Makes a call that may be made more than once.
    pub(super) async fn ask<Q, A, F>(
        &self,
        message: Q,
        call: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<Answer<A>, GivenUp>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let begun = Instant::now();
        let mut pauses = pauses(self.back_off, None);
        let mut at = self.preferred.load(Ordering::Relaxed);
        // Of this round; after each there is a pause.
        let (mut tried, mut patience) = (1, Duration::ZERO);
        let (mut renew, mut renewed, mut in_doubt) = (false, false, false);
        loop {
            let line = &self.lines[at];
            let last = match self.attempt(line, std::mem::take(&mut renew), &message, &call).await {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    self.reached.store(true, Ordering::Relaxed);
                    return Ok(Answer { answer, endpoint: line.endpoint.clone() });
                }
                Err(failure) => failure,
            };
            in_doubt |= last.is_in_doubt();
            patience = patience.max(last.retry_after());
            if last.is_a_servers() {
                self.reached.store(true, Ordering::Relaxed);
            }
            if last.is_for_an_expired_token() && !renewed && self.tokens.lock().await.are_renewable() {
                (renew, renewed) = (true, true);
                continue;
            }
            if !last.is_worth_a_retry() {
                self.preferred.store(at, Ordering::Relaxed);
                return Err(GivenUp { last, in_doubt });
            }
            if last.moves_on() {
                at = (at + 1) % self.lines.len();
                if tried < self.lines.len() {
                    tried += 1;
                    continue;
                }
            }
            let left = self.give_up_after.saturating_sub(begun.elapsed());
            // What is wrong at the start should show at the start.
            let wrong_at_the_start = !in_doubt && !self.reached.load(Ordering::Relaxed);
            if wrong_at_the_start || left.is_zero() || patience > left {
                return Err(GivenUp { last, in_doubt });
            }
            let pause = pauses.next().unwrap_or(self.back_off.1).max(patience);
            // The last attempt is made when the time is up, not after it.
            tokio::time::sleep(pause.min(left)).await;
            (tried, patience) = (1, Duration::ZERO);
        }
    }

    async fn attempt<Q, A, F>(
        &self,
        line: &Line,
        renew: bool,
        message: &Q,
        call: &impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<A, Failure>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut asked: Option<Arc<Transport>> = None;
        let answered = tokio::time::timeout(self.attempt_timeout, async {
            let authorization = self.tokens.lock().await.authorization(renew).await.map_err(Failure::Unasked)?;
            let mut again = true;
            loop {
                let transport = line.open(self.attempt_timeout).await.map_err(Failure::Unasked)?;
                let mut request = Request::new(message.clone());
                if let Some(value) = authorization.value.clone() {
                    request.metadata_mut().insert("authorization", value);
                }
                asked = Some(Arc::clone(&transport));
                let status = match call(transport.channel.clone(), request).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => status,
                };
                // The connection had ended before the call, as one does that
                // nobody used for long.
                let unasked = cause::<tonic::ConnectError>(&status).is_some();
                let failure = match failed(&line.endpoint, &status) {
                    ConnectError::Rejected(refusal) => return Err(Failure::Refused(refusal)),
                    error @ ConnectError::NotGrpc { .. } => Failure::Unasked(error),
                    error if unasked => Failure::Unasked(error),
                    error => Failure::Unanswered(error),
                };
                transport.broken.store(true, Ordering::Relaxed);
                if !unasked || !std::mem::take(&mut again) {
                    return Err(failure);
                }
                asked = None;
            }
        })
        .await;
        answered.unwrap_or_else(|_| {
            let error = ConnectError::TimedOut { endpoint: line.endpoint.clone(), after: self.attempt_timeout };
            match asked {
                Some(transport) => {
                    // Perhaps it is dead, and nobody has noticed yet.
                    transport.broken.store(true, Ordering::Relaxed);
                    Err(Failure::Unanswered(error))
                }
                None => Err(Failure::Unasked(error)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code, reason: &str) -> Failure {
        Failure::Refused(Refusal::new(code, reason, ""))
    }

    #[test]
    fn a_known_reason_decides_by_what_it_means_and_another_by_its_code() {
        for (code, reason, in_doubt, again) in [
            (Code::Unavailable, "GOING_AWAY", false, true),
            (Code::Unavailable, "ENGINE_UNAVAILABLE", true, true),
            (Code::NotFound, "SESSION_NOT_FOUND", false, false),
            (Code::InvalidArgument, "NEW_ONE", false, false),
            (Code::Unavailable, "NEW_ONE", true, true),
            (Code::Unavailable, "", true, true),
            (Code::Internal, "", true, false),
            (Code::PermissionDenied, "", false, false),
        ] {
            let failure = refused(code, reason);
            assert_eq!((failure.is_in_doubt(), failure.is_worth_a_retry()), (in_doubt, again), "{failure:?}");
        }
    }

    #[test]
    fn once_in_doubt_nothing_but_an_answer_helps() {
        let given_up = |in_doubt| GivenUp { last: refused(Code::NotFound, "SESSION_NOT_FOUND"), in_doubt };
        assert!(matches!(given_up(false).acting(), CallError::Refused(_)));
        assert!(matches!(given_up(true).acting(), CallError::Unknown { last: ConnectError::Rejected(_) }));
        assert!(matches!(given_up(true).reading(), CallError::Refused(_)));
        assert!(given_up(true).is_gone_by_now() && !given_up(false).is_gone_by_now());
    }
}
