//! The state machine of one session: order, membership, delivery, resume.
//!
//! Pure: no I/O, no clock, no randomness of its own. A command and the time
//! come in, [`Effect`]s go out, in the order to be done. It is the executable
//! specification of what an engine does. Layer 1: imports the domain only.

mod bucket;
mod command;
mod effect;
mod idempotency;
mod join;
mod ledger;
mod log;
mod member;
mod refusals;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    clock::Now,
    domain::{ConnectionMap, DisconnectReason, Ending, Entry, Epoch, Event, IdempotencyKey, Limits, Reason, Sequence},
};

pub use command::{Command, ServerSend};
pub use effect::{
    Accepted, Admission, ConnectionView, Effect, Facts, Farewell, Generation, Handle, Outcome, Resumable, SendResult,
    ServerAccepted, View,
};
pub use idempotency::KEYS_KEPT_FOR;
pub use join::{Join, Resume};
pub use ledger::OUTCOMES_KEPT;
pub use log::Missed;
pub(crate) use refusals::unknown_connection;
#[cfg(feature = "redis")]
pub(crate) use refusals::{full, nobody_there, none_connected, not_connected, too_fast, too_much_data, unknown_send};

use idempotency::Responses;
use log::Log;
use member::{Member, Stream};

/// One session. It exists for its users as long as it has a connection;
/// between its lives it only remembers the responses to idempotent calls.
///
/// ```
/// use std::{sync::Arc, time::{Duration, SystemTime}};
///
/// use signalbox::{
///     clock::Now,
///     domain::{ConnectionId, Event, Limits, ResumeToken, Role, Signal},
///     session::{Command, Effect, Join, Session, View},
/// };
///
/// let mut session = Session::new(Arc::new(Limits::default()));
/// let now = Now { monotonic: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
/// let mut effects = Vec::new();
/// let join = Join {
///     data: "Ada".into(),
///     role: Role::Publisher,
///     window: Duration::from_secs(60),
///     view: View::default(),
///     resume: None,
///     fresh_id: ConnectionId::from_random([7; 16]),
///     fresh_token: ResumeToken::from_random([7; 32]),
/// };
/// let ada = session.join(now, 1, join, &mut effects)?.handle;
///
/// effects.clear();
/// let send = || Command::Send(1, Signal::parse("chat".into(), "hello".into()).map(|signal| (signal, None)));
/// session.command(now, ada, send(), &mut effects);
/// assert!(matches!(&effects[0], Effect::Entry(entry) if matches!(entry.event, Event::Signal { .. })));
/// assert!(matches!(&effects[1], Effect::Answer(to, result) if *to == ada && result.outcome.is_ok()));
///
/// // Decided once: the outcome is repeated, and nothing is sent.
/// effects.clear();
/// session.command(now, ada, send(), &mut effects);
/// assert!(matches!(&effects[..], [Effect::Answer(_, result)] if result.outcome.is_ok()));
/// # Ok::<(), signalbox::domain::Refusal>(())
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    limits: Arc<Limits>,
    epoch: Epoch,
    created_at: SystemTime,
    sequence: Sequence,
    generation: Generation,
    /// By the sequence of their joining, which is the order of listings.
    members: BTreeMap<Sequence, Member>,
    index: ConnectionMap<Sequence>,
    /// How many members filter by type: while none does, counting the
    /// recipients of a broadcast needs no walk.
    filtering: usize,
    /// When the interrupted members' windows are over.
    deadlines: BTreeSet<(Duration, Sequence)>,
    log: Log,
    responses: Responses,
    /// How many bytes of memory the members' ledgers take for what isn't short.
    outcomes_held: usize,
    is_frugal: bool,
}

/// How many bytes of memory a session takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Its log.
    pub log: usize,
    /// What it remembers of sends and keyed calls.
    pub decisions: usize,
}

impl Session {
    /// A session that nobody has joined yet.
    #[must_use]
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            epoch: 0,
            created_at: SystemTime::UNIX_EPOCH,
            sequence: 0,
            generation: 0,
            members: BTreeMap::new(),
            index: ConnectionMap::default(),
            filtering: 0,
            deadlines: BTreeSet::new(),
            log: Log::default(),
            responses: Responses::default(),
            outcomes_held: 0,
            is_frugal: false,
        }
    }

    /// What it looks like from outside; nothing while nobody is in it.
    #[must_use]
    pub fn facts(&self) -> Option<Facts> {
        (!self.members.is_empty()).then_some(Facts {
            connections: self.members.len(),
            interrupted: self.deadlines.len(),
            epoch: self.epoch,
            sequence: self.sequence,
            created_at: self.created_at,
        })
    }

    /// Which of its lives this is, or the last one was.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The connections that joined after the place `after`, with the places of
    /// their joining, in that order.
    pub fn connections(&self, after: Sequence) -> impl Iterator<Item = (Sequence, ConnectionView)> {
        self.members.range(after.saturating_add(1)..).map(|(joined, member)| (*joined, member.to_view()))
    }

    /// Whether there is nothing left to remember.
    #[must_use]
    pub fn is_forgettable(&self) -> bool {
        self.members.is_empty() && self.responses.is_empty()
    }

    /// About how many bytes of memory it takes, without its members.
    #[must_use]
    pub fn held(&self) -> Held {
        Held { log: self.log.held(), decisions: self.outcomes_held + self.responses.held() }
    }

    /// Whether only what is short is remembered of outcomes from now on: that a
    /// send was accepted, with its place, or why it was refused.
    pub fn set_frugal(&mut self, is_frugal: bool) {
        self.is_frugal = is_frugal;
    }

    /// Has the log forget its oldest events until it takes so many bytes at most.
    /// How many events it forgot: who comes back from before them has a gap.
    pub fn shrink_log(&mut self, most: usize) -> usize {
        self.log.shrink(most)
    }

    /// Whether a call with this key has had a response that is remembered.
    #[must_use]
    pub fn remembers(&self, key: &IdempotencyKey) -> bool {
        self.responses.get(key).is_some()
    }

    /// The next time, on the monotonic clock, at which [`Session::tick`] has
    /// something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let window = self.deadlines.first().map(|(at, _)| *at);
        window.into_iter().chain(self.responses.next_expiry()).min()
    }

    /// Ends the windows that are over and forgets the responses that are old.
    pub fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((at, joined)) = self.deadlines.first().copied() {
            if at > now.monotonic {
                break;
            }
            self.destroy(now, joined, DisconnectReason::NetworkDisconnected, effects);
        }
        self.responses.tick(now.monotonic);
    }

    /// A stream is gone, for a reason other than `leave`: the connection lives
    /// on for its window, or is destroyed when it has none. Ignored when the
    /// stream isn't the connection's newest.
    pub fn detach(&mut self, now: Now, handle: Handle, ending: Ending, effects: &mut Vec<Effect>) {
        let Some(joined) = self.attached(handle) else { return };
        let Some(member) = self.members.get_mut(&joined) else { return };
        // Without a token that is valid there is nothing to come back to.
        let expired = ending == Ending::Refused(Reason::TokenExpired);
        let resumable = !member.window.is_zero() && !expired;
        effects.push(Effect::Release(handle, ending, resumable));
        if resumable {
            let until = now.plus(member.window);
            member.stream = Stream::Detached(until);
            self.deadlines.insert((until, joined));
            self.append(now, Event::Interrupted(handle.connection), effects);
        } else {
            let reason = match ending {
                Ending::SlowConsumer => DisconnectReason::SlowConsumer,
                _ if expired => DisconnectReason::TokenExpired,
                _ => DisconnectReason::NetworkDisconnected,
            };
            self.destroy(now, joined, reason, effects);
        }
    }

    /// The member whose newest stream this is.
    fn attached(&self, handle: Handle) -> Option<Sequence> {
        let joined = *self.index.get(&handle.connection)?;
        let member = self.members.get(&joined)?;
        (member.is_attached() && member.generation == handle.generation).then_some(joined)
    }

    /// Gives an event the next place.
    fn append(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) -> Sequence {
        self.sequence += 1;
        let entry = Arc::new(Entry { sequence: self.sequence, at: now.wall, event });
        self.log.push(&entry, &self.limits);
        effects.push(Effect::Entry(entry));
        self.sequence
    }

    /// Removes a member for good; a stream it still has is the caller's to
    /// release.
    fn destroy(
        &mut self,
        now: Now,
        joined: Sequence,
        reason: DisconnectReason,
        effects: &mut Vec<Effect>,
    ) -> Option<Sequence> {
        let member = self.members.remove(&joined)?;
        self.index.remove(&member.info.id);
        self.outcomes_held -= member.ledger.held();
        self.filtering -= usize::from(member.view.signal_types.is_selective());
        if let Stream::Detached(until) = member.stream {
            self.deadlines.remove(&(until, joined));
        }
        let sequence = self.append(now, Event::Destroyed(member.info.id, reason), effects);
        if self.members.is_empty() {
            self.log = Log::default();
            effects.push(Effect::Ended);
        }
        Some(sequence)
    }
}
