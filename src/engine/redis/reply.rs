//! What scripts say, read.

use std::{
    fmt, str,
    sync::Arc,
    time::{Duration, SystemTime},
};

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use crate::{
    domain::{
        Audience, ConnectionId, ConnectionInfo, DisconnectReason, Ending, Entry, Epoch, Event, Limits, Named, Reason,
        Refusal, Role, SendId, Sequence, SessionId, Signal,
    },
    engine::Change,
    session::{
        Accepted, ConnectionView, Effect, Handle, SendResult, View, none_connected, not_connected, too_fast,
        unknown_send,
    },
};

use super::pack::{pack, unpack};

/// Why a script's effect isn't known, or is none.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The node has no lease: nothing happened.
    Fenced,
    /// Other nodes are to be heard first: nothing happened.
    Wait,
    /// Redis could not be asked, or said no.
    Redis(RedisError),
    /// It is nothing that could be used, until somebody mends it.
    Unfit(String),
    /// What it said is nothing that a script says.
    Nonsense(&'static str),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("this node's lease is over"),
            Self::Wait => f.write_str("another process answers, and not all nodes have been heard"),
            Self::Redis(error) => write!(f, "Redis: {error}"),
            Self::Unfit(why) => write!(f, "this Redis can't be used: {why}"),
            Self::Nonsense(what) => write!(f, "Redis said what it should not: {what}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    /// Whether nothing happened, for sure.
    #[must_use]
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Fenced | Self::Wait | Self::Unfit(_) => true,
            Self::Nonsense(_) => false,
            Self::Redis(error) => match error.kind() {
                // Said instead of beginning. An error of a script that has begun is none
                // of these.
                ErrorKind::Server(kind) => !matches!(kind, ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort),
                ErrorKind::Extension => error.code().is_some_and(|code| REFUSALS.contains(&code)),
                ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => true,
                _ => false,
            },
        }
    }
}

impl Trouble {
    /// Whether it would be the same again, until somebody mends it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let Self::Redis(error) = self else { return false };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot) => true,
            ErrorKind::Extension => error.code().is_some_and(|code| ["OOM", "MISCONF", "NOREPLICAS"].contains(&code)),
            _ => false,
        }
    }
}

/// What Redis says instead of running a script, beside what the client knows.
const REFUSALS: [&str; 5] = ["OOM", "BUSY", "NOAUTH", "MISCONF", "NOREPLICAS"];

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

type Read<T> = Result<T, Trouble>;

fn none<T>(found: Option<T>, what: &'static str) -> Read<T> {
    found.ok_or(Trouble::Nonsense(what))
}

/// What a script brought about.
pub(super) struct Told {
    pub(super) epoch: Epoch,
    pub(super) clock: u64,
    pub(super) effects: Vec<Placed>,
}

/// Values, one after the other.
pub(super) struct Values(std::vec::IntoIter<Value>);

impl Values {
    /// What a script said: in which life of the session, and at which time of the
    /// partition's clock, its effects, and the rest.
    pub(super) fn of(value: Value, view: &View, limits: &Limits) -> Read<(Told, Self)> {
        let mut values = Self::granted(value)?;
        let (epoch, clock) = (values.number()?, values.number()?);
        let effects = values.effects(view, limits)?;
        Ok((Told { epoch, clock, effects }, values))
    }

    /// What it brought about, in its order.
    pub(super) fn effects(&mut self, view: &View, limits: &Limits) -> Read<Vec<Placed>> {
        self.list()?.map(|one| effect(Self::within(one)?, view, limits)).collect()
    }

    /// What a script said, unless it was that the node is fenced.
    pub(super) fn granted(value: Value) -> Read<Self> {
        let mut values = Self::within(value)?;
        match &*values.bytes()? {
            b"FENCED" => Err(Trouble::Fenced),
            b"WAIT" => Err(Trouble::Wait),
            b"OK" => Ok(values),
            _ => Err(Trouble::Nonsense("neither OK nor FENCED")),
        }
    }

    pub(super) fn within(value: Value) -> Read<Self> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(Trouble::Nonsense("no list where there should be one")),
        }
    }

    pub(super) fn list(&mut self) -> Read<std::vec::IntoIter<Value>> {
        Ok(Self::within(none(self.0.next(), "no list")?)?.0)
    }

    pub(super) fn bytes(&mut self) -> Read<Vec<u8>> {
        bytes(none(self.0.next(), "no text")?)
    }

    pub(super) fn text(&mut self) -> Read<String> {
        none(String::from_utf8(self.bytes()?).ok(), "a text that isn't UTF-8")
    }

    pub(super) fn number(&mut self) -> Read<u64> {
        match self.0.next() {
            Some(Value::Int(number)) => none(u64::try_from(number).ok(), "a number below 0"),
            Some(other) => number(&bytes(other)?),
            None => Err(Trouble::Nonsense("no number")),
        }
    }

    fn handle(&mut self) -> Read<Handle> {
        Ok(Handle { connection: connection(&self.bytes()?)?, generation: self.number()? })
    }

    /// A connection as others see it, and the place of its joining.
    pub(super) fn view(value: Value) -> Read<(Sequence, ConnectionView)> {
        let mut values = Self::within(value)?;
        let (id, joined, created_at) = (connection(&values.bytes()?)?, values.number()?, values.number()?);
        let (role, data, interrupted) = (role(&values.bytes()?)?, values.text()?, values.number()? == 1);
        let info = Arc::new(ConnectionInfo { id, created_at: time(created_at), data, role });
        Ok((joined, ConnectionView { info, interrupted }))
    }

    /// The same, with its newest stream, and the node that this is on, if it is on one.
    pub(super) fn seated(value: Value) -> Read<Seated> {
        let (node, generation) = match &value {
            Value::Array(values) => none(values.get(6).cloned().zip(values.get(7).cloned()), "no seat")?,
            _ => return Err(Trouble::Nonsense("no connection")),
        };
        let mut seat = Self(vec![node, generation].into_iter());
        let (joined, view) = Self::view(value)?;
        let (node, generation) = (seat.text()?, seat.number()?);
        Ok(Seated { joined, handle: Handle { connection: view.info.id, generation }, node })
    }

    /// An outcome that was decided before.
    pub(super) fn restated(value: Value, limits: &Limits) -> Read<SendResult> {
        let mut values = Self::within(value)?;
        let send_id = values.number()?;
        Ok(SendResult { send_id, outcome: outcome(&values.bytes()?, send_id, limits)? })
    }

    /// All that is left, as texts.
    pub(super) fn texts(self) -> Read<Vec<String>> {
        self.0.map(|one| none(String::from_utf8(bytes(one)?).ok(), "a text that isn't UTF-8")).collect()
    }

    pub(super) fn next(&mut self) -> Read<Value> {
        none(self.0.next(), "less than there should be")
    }
}

/// Where a connection's stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seated {
    /// The place of its joining.
    pub joined: Sequence,
    /// Its newest stream.
    pub handle: Handle,
    /// The node that has it; empty when none has.
    pub node: String,
}

pub(super) fn bytes(value: Value) -> Read<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        _ => Err(Trouble::Nonsense("no text where there should be one")),
    }
}

pub(super) fn number(text: &[u8]) -> Read<u64> {
    none(str::from_utf8(text).ok().and_then(|text| text.parse().ok()), "no number where there should be one")
}

pub(super) fn time(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}

fn connection(bytes: &[u8]) -> Read<ConnectionId> {
    Ok(ConnectionId::from_bytes(none(bytes.try_into().ok(), "no connection where there should be one")?))
}

fn role(name: &[u8]) -> Read<Role> {
    let roles = [Role::Subscriber, Role::Publisher, Role::Moderator];
    none(roles.into_iter().find(|role| role.name().as_bytes() == name), "an unknown role")
}

/// Why connections are gone, as scripts have it.
const REASONS: [(DisconnectReason, &str); 6] = [
    (DisconnectReason::ClientDisconnected, "client"),
    (DisconnectReason::ForceDisconnected, "forced"),
    (DisconnectReason::NetworkDisconnected, "network"),
    (DisconnectReason::SlowConsumer, "slow"),
    (DisconnectReason::NodeLost, "node"),
    (DisconnectReason::TokenExpired, "expired"),
];

/// For a script.
pub(super) fn reason_name(reason: DisconnectReason) -> &'static str {
    REASONS.iter().find(|(other, _)| *other == reason).map_or("network", |(_, name)| name)
}

/// How streams end, as scripts have it.
pub(super) fn ending_name(ending: Ending) -> String {
    match ending {
        Ending::Left => "left".into(),
        Ending::Broken => "broken".into(),
        Ending::SlowConsumer => "slow".into(),
        Ending::TakenOver => "taken-over".into(),
        Ending::ForceDisconnected => "disconnected".into(),
        Ending::GoingAway => "going-away".into(),
        Ending::Refused(reason) => format!("refused {}", reason.name()),
    }
}

fn ending(name: &[u8]) -> Read<Ending> {
    let found = match name {
        b"left" => Some(Ending::Left),
        b"broken" => Some(Ending::Broken),
        b"slow" => Some(Ending::SlowConsumer),
        b"taken-over" => Some(Ending::TakenOver),
        b"disconnected" => Some(Ending::ForceDisconnected),
        b"going-away" => Some(Ending::GoingAway),
        other => other.strip_prefix(b"refused ").and_then(reason).map(Ending::Refused),
    };
    none(found, "an unknown ending")
}

fn reason(name: &[u8]) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name().as_bytes() == name)
}

/// An event, as the log and the channels have it.
pub(super) fn entry(sequence: Sequence, record: &[u8]) -> Read<Arc<Entry>> {
    let cut = "a record that was cut";
    let (at, parts) = none(record.get(8..).and_then(<[u8]>::split_first_chunk), cut)?;
    let parts = none(unpack(parts), cut)?;
    let [kind, of @ ..] = &parts[..] else { return Err(Trouble::Nonsense("a record without a kind")) };
    let event = event(kind, of)?;
    Ok(Arc::new(Entry { sequence, at: time(u64::from_be_bytes(*at)), event }))
}

fn event(kind: &[u8], of: &[&[u8]]) -> Read<Event> {
    Ok(match (kind, of) {
        (b"signal", [from, audience, kind, data]) => {
            let from = if from.is_empty() { None } else { Some(connection(from)?) };
            let audience = match audience.split_first() {
                Some((b'E', _)) => Audience::Everyone,
                // By its locale Redis may have sorted them otherwise.
                Some((b'O', ids)) => Audience::only(ids.chunks(16).map(connection).collect::<Read<_>>()?),
                _ => return Err(Trouble::Nonsense("an unknown audience")),
            };
            let (kind, data) = (str::from_utf8(kind).ok(), str::from_utf8(data).ok());
            let (kind, data) = none(kind.zip(data), "a signal that isn't UTF-8")?;
            Event::Signal { from, audience, signal: Signal::again(kind, data) }
        }
        (b"new", [id, created, of_role, data]) => {
            let data = none(str::from_utf8(data).ok(), "data that isn't UTF-8")?.to_owned();
            let (id, created_at, role) = (connection(id)?, time(number(created)?), role(of_role)?);
            Event::Created(Arc::new(ConnectionInfo { id, created_at, data, role }))
        }
        (b"gone", [id, why]) => {
            let why = REASONS.iter().find(|(_, name)| name.as_bytes() == *why).map(|(reason, _)| *reason);
            Event::Destroyed(connection(id)?, none(why, "an unknown reason")?)
        }
        (b"cut", [id]) => Event::Interrupted(connection(id)?),
        (b"back", [id]) => Event::Restored(connection(id)?),
        _ => return Err(Trouble::Nonsense("an unknown event")),
    })
}

/// An effect, and the place after which it is to be done; an event's is its own.
pub type Placed = (Sequence, Effect);

fn effect(mut values: Values, view: &View, limits: &Limits) -> Read<Placed> {
    let place = values.number()?;
    let effect = match &*values.bytes()? {
        b"started" => Effect::Started,
        b"ended" => Effect::Ended,
        b"entry" => Effect::Entry(entry(place, &values.bytes()?)?),
        b"attach" => Effect::Attach(values.handle()?, view.clone()),
        b"release" => Effect::Release(values.handle()?, ending(&values.bytes()?)?, values.number()? == 1),
        b"answer" => {
            let (handle, send_id) = (values.handle()?, values.number()?);
            let outcome = outcome(&values.bytes()?, send_id, limits)?;
            Effect::Answer(handle, SendResult { send_id, outcome })
        }
        _ => return Err(Trouble::Nonsense("an unknown effect")),
    };
    Ok((place, effect))
}

/// A name, for a script.
pub(super) fn name(named: &Named) -> Vec<u8> {
    match named {
        Named::Id(id) => [b"I", &id.bytes()[..]].concat(),
        Named::Other(text) => [b"O", text.as_bytes()].concat(),
    }
}

pub(super) fn named(names: &[&[u8]]) -> Read<Vec<Named>> {
    let read = |name: &&[u8]| match name.split_first() {
        Some((b'I', id)) => Ok(Named::Id(connection(id)?)),
        Some((b'O', text)) => Ok(Named::Other(none(str::from_utf8(text).ok(), "a name that isn't UTF-8")?.to_owned())),
        _ => Err(Trouble::Nonsense("a name that is none")),
    };
    names.iter().map(read).collect()
}

/// A refusal that was decided before the script was asked, for the script to keep.
pub(super) fn keep(refusal: &Refusal) -> Vec<u8> {
    let wait = refusal.retry_after.map_or(String::new(), |wait| wait.as_nanos().to_string());
    let field = refusal.field.unwrap_or("");
    debug_assert!(field.is_empty() || FIELDS.contains(&field), "{field} would be lost");
    pack([refusal.reason.name(), &refusal.message, field, &wait].map(str::as_bytes))
}

/// The fields that such a refusal may blame.
const FIELDS: [&str; 4] = ["signal", "signal.data", "signal.type", "to.connection_ids"];

fn kept(bytes: &[u8]) -> Read<Refusal> {
    let parts = none(unpack(bytes), "a refusal that was cut")?;
    let [of, message, field, wait] = parts[..] else { return Err(Trouble::Nonsense("a refusal that is none")) };
    let message = none(str::from_utf8(message).ok(), "a message that isn't UTF-8")?;
    let mut refusal = Refusal::new(none(reason(of), "an unknown reason")?, message);
    refusal.field = FIELDS.into_iter().find(|known| known.as_bytes() == field);
    if !wait.is_empty() {
        refusal.retry_after = Some(Duration::from_nanos(number(wait)?));
    }
    Ok(refusal)
}

fn outcome(bytes: &[u8], send_id: SendId, limits: &Limits) -> Read<Result<Accepted, Refusal>> {
    let parts = none(unpack(bytes), "an outcome that was cut")?;
    Ok(match &parts[..] {
        [b"accepted", sequence, absent @ ..] => {
            Ok(Accepted { sequence: number(sequence)?, not_connected: named(absent)? })
        }
        [b"refused", refusal] => Err(kept(refusal)?),
        [b"wait", nanos] => Err(too_fast(Duration::from_nanos(number(nanos)?), limits)),
        [b"nobody", given] => Err(none_connected(number(given)? as usize)),
        [b"gone"] => Err(not_connected()),
        [b"unknown", last] => Err(unknown_send(send_id, number(last)?)),
        _ => return Err(Trouble::Nonsense("an unknown outcome")),
    })
}

/// Something that somebody wants to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) session: SessionId,
    pub(super) epoch: Epoch,
    pub(super) place: Sequence,
    pub(super) change: Change,
}

/// What a script told those who want to know who comes and goes.
pub(super) fn news(bytes: &[u8], limits: &Limits) -> Read<(u64, Vec<News>)> {
    let parts = none(unpack(bytes), "a message that was cut")?;
    let [name, clock, changes @ ..] = &parts[..] else { return Err(Trouble::Nonsense("an empty message")) };
    let session = session(name, limits)?;
    let news = |change: &&[u8]| {
        let parts = none(unpack(change), "a change that was cut")?;
        let [kind, epoch, place, of @ ..] = &parts[..] else {
            return Err(Trouble::Nonsense("a change without a kind"));
        };
        let (epoch, place, id) = (number(epoch)?, number(place)?, session.clone());
        let change = match (*kind, of) {
            (b"started", [created]) => Change::SessionStarted(id, epoch, time(number(created)?)),
            (b"ended", []) => Change::SessionEnded(id, epoch),
            (b"new" | b"gone", of) => match event(kind, of)? {
                Event::Created(info) => {
                    Change::ConnectionCreated(id, place, ConnectionView { info, interrupted: false })
                }
                Event::Destroyed(connection, why) => Change::ConnectionDestroyed(id, place, connection, why),
                _ => return Err(Trouble::Nonsense("no change")),
            },
            _ => return Err(Trouble::Nonsense("an unknown change")),
        };
        Ok(News { session: session.clone(), epoch, place, change })
    };
    Ok((number(clock)?, changes.iter().map(news).collect::<Read<_>>()?))
}

fn session(name: &[u8], limits: &Limits) -> Read<SessionId> {
    let name = none(str::from_utf8(name).ok(), "a session that isn't text")?;
    SessionId::parse(name, limits, "session_id").map_err(|_| Trouble::Nonsense("no session"))
}

/// What a node is told on its channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Push {
    /// Events of a session, in one of its lives.
    Events(SessionId, Epoch, Vec<Arc<Entry>>),
    /// A stream of this node's is to end.
    Release(SessionId, Handle, Ending),
    /// Nothing but that it came.
    Echo,
}

impl Push {
    /// Reads one, after the partition's clock, as of the script that tells it: 0 where none
    /// does.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(bytes: &[u8], limits: &Limits) -> Result<(u64, Self), Trouble> {
        if bytes.is_empty() {
            return Ok((0, Self::Echo));
        }
        let parts = none(unpack(bytes), "a push that was cut")?;
        let [name, clock, epoch, newest, rest @ ..] = &parts[..] else {
            return Err(Trouble::Nonsense("an empty push"));
        };
        let session = session(name, limits)?;
        let (clock, epoch, newest) = (number(clock)?, number(epoch)?, number(newest)?);
        match rest {
            [what @ (b"taken" | b"thrown" | b"left"), id, generation] if newest == 0 => {
                let handle = Handle { connection: connection(id)?, generation: number(generation)? };
                let ending = match *what {
                    b"taken" => Ending::TakenOver,
                    b"thrown" => Ending::ForceDisconnected,
                    _ => Ending::Left,
                };
                Ok((clock, Self::Release(session, handle, ending)))
            }
            records => {
                let first = none((newest + 1).checked_sub(records.len() as u64), "more events than places")?;
                let entries = (first..).zip(records).map(|(at, record)| entry(at, record)).collect::<Read<_>>()?;
                Ok((clock, Self::Events(session, epoch, entries)))
            }
        }
    }
}
