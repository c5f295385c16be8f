//! The transitions of sessions, as calls.

use std::sync::Arc;

use redis::{ScriptInvocation, Value, aio::ConnectionLike};

use crate::{
    domain::{DisconnectReason, Ending, Epoch, Limits, Named, Reason, Refusal, Sequence, SessionId},
    session::{
        Admission, ConnectionView, Facts, Handle, Join, KEYS_KEPT_FOR, OUTCOMES_KEPT, Outcome, ServerAccepted,
        ServerSend, View, full, nobody_there, none_connected, not_connected, too_much_data,
    },
};

use super::{
    keys::{Keys, Partitions},
    pack::unpack,
    reply::{self, Placed, Told, Trouble, Values},
    scripts,
};

/// What came of a transition, and what it brought about, in its order.
#[derive(Debug)]
pub struct Done<T> {
    /// What is answered.
    pub answer: T,
    /// The session's life.
    pub epoch: Epoch,
    /// The partition's clock, where something was brought about: it counts, and never goes
    /// back.
    pub clock: u64,
    /// What is to be done by this node, each after the event in its place. Events went to
    /// the others, too.
    pub effects: Vec<Placed>,
}

/// A node's way to the sessions in Redis.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) node: String,
    pub(super) limits: Arc<Limits>,
    pub(super) partitions: Partitions,
    /// The time in microseconds, instead of the server's: tests have their own.
    pub(super) now: Option<u64>,
}

pub(super) type Call<T> = Result<T, Trouble>;

impl Store {
    /// Of a node with this name, which has a lease in every partition.
    #[must_use]
    pub fn new(node: String, limits: Arc<Limits>, partitions: Partitions) -> Self {
        Self { node, limits, partitions, now: None }
    }

    /// The same at a time of its own.
    #[cfg(test)]
    pub(super) fn at(&self, now: u64) -> Self {
        Self { now: Some(now), ..self.clone() }
    }

    /// Lets a stream in, anew or by a resume. When it begins the session, this is its
    /// epoch; unless told, one above all that were given.
    ///
    /// # Errors
    /// When it isn't known whether that happened.
    pub async fn join(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        epoch: Option<Epoch>,
        join: Join,
    ) -> Call<Done<Result<Admission, Refusal>>> {
        let keys = Keys::of(session, self.partitions);
        let resume = join.resume.as_ref().and_then(|resume| Some((resume.connection?, resume)));
        let mut call = self.call(&scripts::JOIN, &keys.first(), session);
        call.key(&keys.more()[..]);
        call.key(keys.outcomes(&resume.map_or(join.fresh_id, |(connection, _)| connection)));
        call.arg(epoch.map_or(String::new(), |epoch| epoch.to_string()))
            .arg(&join.fresh_id.bytes()[..])
            .arg(&join.fresh_token.hash().bytes()[..]);
        let window = join.window.min(self.limits.max_resume_window);
        call.arg(join.role.name()).arg(&join.data).arg(window.as_micros() as u64);
        call.arg(u8::from(join.view.suppress_connection_events)).arg(u8::from(join.view.suppress_own_signals));
        call.arg(self.limits.max_connection_data_bytes).arg(self.limits.max_connections_per_session);
        match &resume {
            Some((connection, resume)) => {
                call.arg(&connection.bytes()[..]).arg(&resume.token.hash().bytes()[..]);
                call.arg(resume.epoch).arg(resume.last_sequence).arg(resume.last_result_send_id);
            }
            None => {
                call.arg("").arg("").arg(0).arg(0).arg(0);
            }
        }
        for kind in join.view.signal_types.iter() {
            call.arg(kind);
        }
        let (Told { epoch, clock, effects }, mut values) = self.ask(call, redis, &join.view).await?;
        let outcome = match &*values.bytes()? {
            b"too-large" => {
                return Ok(Done { answer: Err(too_much_data(join.data.len(), &self.limits)), epoch, clock, effects });
            }
            b"full" => {
                return Ok(Done { answer: Err(full(values.number()? as usize, &self.limits)), epoch, clock, effects });
            }
            b"new" => Outcome::New,
            b"resumed" => Outcome::Resumed,
            b"gap" => Outcome::ResumedWithGap,
            _ => return Err(Trouble::Nonsense("an unknown answer to a join")),
        };
        let (_, me) = Values::view(values.next()?)?;
        let handle = Handle { connection: me.info.id, generation: values.number()? };
        let (_, sequence, last_send_id) = (values.number()?, values.number()?, values.number()?);
        let mut restated = values.list()?;
        // Some more are there.
        for _ in OUTCOMES_KEPT..restated.len() {
            restated.next();
        }
        let restated = restated.map(|one| Values::restated(one, &self.limits)).collect::<Call<_>>()?;
        let snapshot = values.list()?.map(|one| Ok(Values::view(one)?.1)).collect::<Call<_>>()?;
        let mut missed = Vec::new();
        for (at, record) in (sequence + 1..).zip(values.list()?) {
            let entry = reply::entry(at, &reply::bytes(record)?)?;
            if join.view.admits(&entry, handle.connection) {
                missed.push(entry);
            }
        }
        let token = match join.resume {
            Some(resume) if outcome != Outcome::New => resume.token,
            _ => join.fresh_token,
        };
        let admission = Admission {
            handle,
            outcome,
            info: me.info,
            snapshot,
            epoch,
            sequence,
            token,
            window,
            last_send_id,
            restated,
            missed: missed.into_iter().collect(),
        };
        Ok(Done { answer: Ok(admission), epoch, clock, effects })
    }

    /// A stream is gone, for a reason other than a leave.
    ///
    /// # Errors
    /// When it isn't known whether that is known now.
    pub async fn detach(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        handle: Handle,
        ending: Ending,
    ) -> Call<Done<()>> {
        let keys = Keys::of(session, self.partitions);
        let expired = ending == Ending::Refused(Reason::TokenExpired);
        let reason = match ending {
            Ending::SlowConsumer => DisconnectReason::SlowConsumer,
            _ if expired => DisconnectReason::TokenExpired,
            _ => DisconnectReason::NetworkDisconnected,
        };
        let mut call = self.call(&scripts::DETACH, &keys.first(), session);
        call.key(&keys.more()[..]);
        call.key(keys.outcomes(&handle.connection));
        call.arg(&handle.connection.bytes()[..]).arg(handle.generation).arg(reply::ending_name(ending));
        call.arg(u8::from(!expired)).arg(reply::reason_name(reason));
        let (Told { epoch, clock, effects }, _) = self.ask(call, redis, &View::default()).await?;
        Ok(Done { answer: (), epoch, clock, effects })
    }

    /// Takes a signal from a backend.
    ///
    /// # Errors
    /// When it isn't known whether that happened.
    pub async fn send_from_server(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        send: ServerSend,
    ) -> Call<Done<Result<ServerAccepted, Refusal>>> {
        let keys = Keys::of(session, self.partitions);
        let mut call = self.call(&scripts::SIGNAL, &keys.first(), session);
        call.key(keys.order());
        if let Some(key) = &send.key {
            call.key(keys.response(key));
        }
        call.arg(u8::from(send.key.is_some())).arg(KEYS_KEPT_FOR.as_micros() as u64);
        call.arg(send.signal.kind().as_str()).arg(send.signal.data());
        names(&mut call, send.to.as_ref().map(|to| to.named()));
        let (Told { epoch, clock, effects }, mut values) = self.ask(call, redis, &View::default()).await?;
        let answer = match &*values.bytes()? {
            b"nobody-there" => Err(nobody_there()),
            b"nobody" => Err(none_connected(values.number()? as usize)),
            b"accepted" | b"repeated" => {
                let response = values.bytes()?;
                let parts = unpack(&response).unwrap_or_default();
                let [sequence, count, absent @ ..] = &parts[..] else {
                    return Err(Trouble::Nonsense("a response that was cut"));
                };
                let (sequence, recipient_count) = (reply::number(sequence)?, reply::number(count)? as usize);
                Ok(ServerAccepted { sequence, not_connected: reply::named(absent)?, recipient_count })
            }
            _ => return Err(Trouble::Nonsense("an unknown answer to a signal")),
        };
        Ok(Done { answer, epoch, clock, effects })
    }

    /// Disconnects a connection for a backend.
    ///
    /// # Errors
    /// When it isn't known whether that happened.
    pub async fn disconnect(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        named: &Named,
    ) -> Call<Done<Result<Sequence, Refusal>>> {
        let keys = Keys::of(session, self.partitions);
        let mut call = self.call(&scripts::DISCONNECT, &keys.first(), session);
        call.key(&keys.more()[..]);
        if let Named::Id(id) = named {
            call.key(keys.outcomes(id));
        }
        call.arg(reply::name(named));
        let (Told { epoch, clock, effects }, mut values) = self.ask(call, redis, &View::default()).await?;
        let answer = match &*values.bytes()? {
            b"nobody-there" => Err(nobody_there()),
            b"gone" => Err(not_connected()),
            b"accepted" => Ok(values.number()?),
            _ => return Err(Trouble::Nonsense("an unknown answer to a disconnect")),
        };
        Ok(Done { answer, epoch, clock, effects })
    }

    /// Looks at a session, and at those of its connections that joined after a place, so
    /// many at the most. None: nobody is in it.
    ///
    /// # Errors
    /// When it can't be looked at.
    pub async fn look(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        after: Sequence,
        most: usize,
    ) -> Call<Option<(Facts, Vec<(Sequence, ConnectionView)>)>> {
        let Some((facts, listed)) = self.listed(redis, session, after, most).await? else { return Ok(None) };
        Ok(Some((facts, listed.map(Values::view).collect::<Call<_>>()?)))
    }

    pub(super) async fn listed(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        after: Sequence,
        most: usize,
    ) -> Call<Option<(Facts, std::vec::IntoIter<Value>)>> {
        let keys = Keys::of(session, self.partitions);
        let mut call = self.call(&scripts::LOOK, &keys.first(), session);
        call.key(&keys.more()[..2]);
        call.arg(after).arg(most);
        let (Told { epoch, .. }, mut values) = self.ask(call, redis, &View::default()).await?;
        if values.bytes()? == b"nobody-there" {
            return Ok(None);
        }
        let (connections, interrupted) = (values.number()? as usize, values.number()? as usize);
        let sequence = values.number()?;
        let facts = Facts { connections, interrupted, epoch, sequence, created_at: reply::time(values.number()?) };
        Ok(Some((facts, values.list()?)))
    }

    /// A call of a script, with what all are given.
    pub(super) fn call<'s>(
        &self,
        script: &'s redis::Script,
        keys: &[String],
        session: &SessionId,
    ) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        call.key(keys);
        call.arg(&self.node).arg(self.now.map_or(String::new(), |now| now.to_string())).arg(session.as_str());
        call.arg(self.limits.log_events).arg(self.limits.log_bytes);
        call
    }

    pub(super) async fn ask(
        &self,
        call: ScriptInvocation<'_>,
        redis: &mut impl ConnectionLike,
        view: &View,
    ) -> Call<(Told, Values)> {
        Values::of(call.invoke_async(redis).await?, view, &self.limits)
    }
}

/// How many names, -1 for everyone, and the names.
pub(super) fn names(call: &mut ScriptInvocation<'_>, names: Option<&[Named]>) {
    match names {
        None => {
            call.arg(-1);
        }
        Some(names) => {
            call.arg(names.len());
            for named in names {
                call.arg(reply::name(named));
            }
        }
    }
}
