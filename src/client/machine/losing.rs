//! How streams end, and what comes after.

use std::time::Duration;

use tonic::Code;

use crate::proto::{self, ClientAction};

use super::{End, Event, Leaving, Lost, Machine, Output, Over, Refusal, SendError, attempts};

/// What the server says of a stream whose connection was resumed on another.
const TAKEN_OVER: &str = "CONNECTION_TAKEN_OVER";
/// What the server says when it shuts down: another may take its members.
const GOING_AWAY: &str = "GOING_AWAY";

impl<T> Machine<T> {
    /// The live stream is gone.
    pub(super) fn lose(&mut self, end: End, now: Duration) {
        let Some(live) = self.live.take() else { return };
        self.outputs.push_back(Output::Close(live.stream));
        if self.leaving == Leaving::Now || (live.leave_sent && matches!(end, End::Well)) {
            return self.end(Over::Left, ClientAction::Stop);
        }
        // A stream opened after it took it over, and that it is in is still on
        // its way: nothing is lost unless it fails.
        let by_own = reason(live.closing.as_ref(), &end) == TAKEN_OVER && self.streams > live.stream;
        if by_own && self.opening.is_some() {
            return;
        }
        let verdict = match self.judge(live.closing.as_ref(), &end, false) {
            // Its answer was lost: that stream is no more, and nobody else's.
            Verdict::Stop(_) if by_own => Verdict::Again { after: None, renew_token: false },
            verdict => verdict,
        };
        match verdict {
            Verdict::Stop(refusal) => self.stop(refusal),
            Verdict::Again { after, renew_token } => {
                // A stream that breaks again and again is no success.
                if now.saturating_sub(live.since) >= self.settings.back_off.1 {
                    self.attempts = attempts(&self.settings);
                }
                self.renew_token |= renew_token;
                if live.closing.as_ref().is_some_and(|closing| closing.reason == GOING_AWAY) {
                    self.next_endpoint();
                }
                self.reconnecting(why(live.closing, &end), now);
                // A stream that was about to take over is as good as any.
                if self.opening.is_none() {
                    self.again(after, now);
                }
            }
        }
    }

    /// There is no stream any more.
    pub(super) fn reconnecting(&mut self, why: Lost, now: Duration) {
        self.lost_at = Some(now);
        for ticket in self.sends.lost() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Disconnected)));
        }
        self.outputs.push_back(Output::Event(Event::Reconnecting { why }));
    }

    pub(super) fn next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.settings.endpoints.len();
    }

    /// Tries again after a pause.
    pub(super) fn again(&mut self, after: Option<Duration>, now: Duration) {
        let pause = self.attempts.next().unwrap_or(self.settings.back_off.1);
        self.open_at = Some(now + pause.max(after.unwrap_or_default()));
    }

    pub(super) fn stop(&mut self, refusal: Refusal) {
        self.end(Over::Closed(refusal), ClientAction::Stop);
    }

    /// It is over, for good.
    pub(super) fn end(&mut self, reason: Over, action: ClientAction) {
        if self.over {
            return;
        }
        self.over = true;
        for stream in [self.live.take().map(|live| live.stream), self.opening.take().map(|opening| opening.stream)] {
            self.outputs.extend(stream.map(Output::Close));
        }
        self.open_at = None;
        self.renew_at = None;
        for ticket in self.sends.discard() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Over)));
        }
        for ticket in self.sends.renewed() {
            self.outputs.push_back(Output::Outcome(ticket, Err(SendError::Unknown)));
        }
        self.outputs.push_back(Output::Event(Event::Disconnected { reason, action }));
        self.outputs.push_back(Output::Over);
    }

    /// What an end means for coming back; `renewed` says whether the stream had
    /// a new token.
    pub(super) fn judge(&self, closing: Option<&proto::Closing>, end: &End, renewed: bool) -> Verdict {
        let told = match end {
            End::Status(refusal) => Some(refusal),
            _ => None,
        };
        let reason = reason(closing, end);
        let after = closing
            .and_then(|closing| closing.retry_after)
            .and_then(|after| Duration::try_from(after).ok())
            .or_else(|| told.and_then(|refusal| refusal.retry_after));
        let refusal = || match told {
            Some(refusal) => Refusal { reason: reason.to_owned(), ..refusal.clone() },
            None => Refusal::new(Code::Aborted, reason, "the server closed the stream and says not to come back"),
        };
        if reason == "TOKEN_EXPIRED" {
            // Another token may help, once; one that is refused again doesn't.
            return if self.settings.renewable && !renewed {
                Verdict::Again { after, renew_token: true }
            } else {
                Verdict::Stop(refusal())
            };
        }
        // An action that this version doesn't know leaves it to the status.
        match closing.map(proto::Closing::action) {
            Some(ClientAction::Stop) => return Verdict::Stop(refusal()),
            Some(ClientAction::Resume | ClientAction::Rejoin) => return Verdict::Again { after, renew_token: false },
            Some(ClientAction::Unspecified) | None => {}
        }
        match told.map(|refusal| refusal.code) {
            Some(Code::PermissionDenied | Code::Unauthenticated) => Verdict::Stop(refusal()),
            // Without a reason it is a proxy's, and passes.
            Some(Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::Aborted)
                if !reason.is_empty() =>
            {
                Verdict::Stop(refusal())
            }
            _ => Verdict::Again { after, renew_token: false },
        }
    }
}

/// Whether to come back.
pub(super) enum Verdict {
    Again { after: Option<Duration>, renew_token: bool },
    Stop(Refusal),
}

/// The stable reason of an end; empty when it has none.
fn reason<'a>(closing: Option<&'a proto::Closing>, end: &'a End) -> &'a str {
    match (closing, end) {
        (Some(closing), _) => &closing.reason,
        (None, End::Status(refusal)) => &refusal.reason,
        _ => "",
    }
}

pub(super) fn why(closing: Option<proto::Closing>, end: &End) -> Lost {
    if let Some(closing) = closing {
        let retry_after = closing.retry_after.and_then(|after| Duration::try_from(after).ok());
        return Lost::Closed { reason: closing.reason, retry_after };
    }
    match end {
        End::Well => Lost::Broken("the stream ended".to_owned()),
        End::Silent => Lost::Silent,
        End::Status(refusal) if refusal.reason.is_empty() => Lost::Broken(refusal.to_string()),
        End::Status(refusal) => Lost::Closed { reason: refusal.reason.clone(), retry_after: refusal.retry_after },
        End::Failed(error) => Lost::Broken(error.to_string()),
    }
}
