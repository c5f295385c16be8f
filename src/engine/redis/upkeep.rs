//! What keeps sessions in order that nobody asks anything of: leases, windows, nodes that
//! are dead, and what a node that was cut off has missed.

use std::{sync::Arc, time::Duration};

use redis::{FromRedisValue as _, Value, aio::ConnectionLike};

use crate::{
    domain::{ConnectionId, Entry, Epoch, Sequence, SessionId},
    session::{Effect, Handle, View},
};

use super::{
    keys::{self, Keys, leases, streams},
    reply::{self, Seated, Told, Values},
    scripts,
    store::{Call, Done, Store},
};

/// How many connections are looked at in one go.
const PAGE: usize = 1_000;

/// An entry of a log: its id and its fields.
type Logged = (String, Vec<Value>);

/// How a node renews its lease in a partition.
#[derive(Clone, Debug, Default)]
pub struct Beat {
    /// For how long.
    pub lease: Duration,
    /// Begins anew: which server process is asked, by its `run_id`.
    pub anew: Option<String>,
    /// The node's name before, whose streams it will take over, and how long that is
    /// spared.
    pub before: Option<(String, Duration)>,
    /// For how long somebody wants to know who comes and goes.
    pub watched: Duration,
    /// How long nodes are waited for whose lease is over.
    pub patience: Duration,
    /// The highest clock that this node was told.
    pub clock: u64,
}

/// What a partition is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Until when there is a lease, in microseconds by the server.
    pub until: u64,
    /// When the first window is over, in the same; none when none is open.
    pub due: Option<u64>,
    /// Since when nothing that was told is lost.
    pub era: Epoch,
    /// Whether it began now: the sessions that were there are no more.
    pub is_new_era: bool,
    /// Nodes whose lease is over for too long.
    pub dead: Vec<String>,
}

impl Store {
    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Ends the windows of a session that are over.
    ///
    /// # Errors
    /// When it isn't known whether they have ended.
    pub async fn reap(&self, redis: &mut impl ConnectionLike, session: &SessionId) -> Call<Done<()>> {
        let keys = Keys::of(session, self.partitions);
        let mut call = self.call(&scripts::REAP, &keys.first(), session);
        call.key(&keys.more()[..]);
        let (Told { epoch, clock, effects }, _) = self.ask(call, redis, &View::default()).await?;
        Ok(Done { answer: (), epoch, clock, effects })
    }

    /// Renews this node's lease in a partition, or takes one.
    ///
    /// # Errors
    /// `Fenced` when it is over: the node must begin anew, under a new name.
    pub async fn beat(&self, redis: &mut impl ConnectionLike, partition: u16, beat: &Beat) -> Call<Pulse> {
        let mut call = scripts::BEAT.prepare_invoke();
        call.key(leases(partition)).key(keys::due(partition)).key(keys::server(partition));
        call.key(keys::channel(partition, &self.node)).key(keys::clock(partition));
        call.arg(&self.node).arg(self.now.map_or(String::new(), |now| now.to_string()));
        call.arg(beat.lease.as_micros() as u64).arg(u8::from(beat.anew.is_some()));
        call.arg(beat.anew.as_deref().unwrap_or(""));
        let (before, spared) = beat.before.clone().unwrap_or_default();
        call.arg(spared.as_micros() as u64).arg(before);
        call.arg(beat.watched.as_micros() as u64).arg(beat.patience.as_micros() as u64).arg(beat.clock);
        let mut values = Values::granted(call.invoke_async(redis).await?)?;
        let (until, due, era) = (values.number()?, values.number()?, values.number()?);
        let (due, is_new_era) = (Some(due).filter(|due| *due > 0), values.number()? == 1);
        Ok(Pulse { until, due, era, is_new_era, dead: values.texts()? })
    }

    /// Gives up a lease, of this node or of one that is dead.
    ///
    /// # Errors
    /// When it isn't known whether it is given up.
    pub async fn forget(&self, redis: &mut impl ConnectionLike, partition: u16, node: &str) -> Call<()> {
        Ok(redis::cmd("ZREM").arg(leases(partition)).arg(node).exec_async(redis).await?)
    }

    /// Removes what is left of a session of an era that is over.
    ///
    /// # Errors
    /// When it isn't known whether it is removed.
    pub async fn sweep(&self, redis: &mut impl ConnectionLike, session: &SessionId, era: Epoch) -> Call<()> {
        let keys = Keys::of(session, self.partitions);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("HGET").arg(keys.session()).arg("s");
        pipe.cmd("ZRANGE").arg(keys.order()).arg(0).arg(-1);
        let (session_is, members): (Option<Vec<u8>>, Vec<Vec<u8>>) = pipe.query_async(redis).await?;
        if position(session_is)?.is_none_or(|(epoch, _)| epoch >= era) {
            return Ok(());
        }
        self.reap(redis, session).await?;
        let ids = members.iter().filter_map(|id| Some(ConnectionId::from_bytes(id[..].try_into().ok()?)));
        let outcomes: Vec<_> = ids.map(|id| keys.outcomes(&id)).collect();
        for outcomes in outcomes.chunks(PAGE) {
            redis::cmd("UNLINK").arg(outcomes).exec_async(redis).await?;
        }
        Ok(())
    }

    /// Some sessions with a window that is over.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn due(&self, redis: &mut impl ConnectionLike, partition: u16, most: usize) -> Call<Vec<SessionId>> {
        // By the server's clock, as the windows are.
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(redis).await?;
        let mut list = redis::cmd("ZRANGEBYSCORE");
        list.arg(keys::due(partition)).arg("-inf").arg(seconds * 1_000_000 + micros).arg("LIMIT").arg(0).arg(most);
        let found: Vec<String> = list.query_async(redis).await?;
        Ok(found.iter().filter_map(|name| SessionId::parse(name, &self.limits, "session_id").ok()).collect())
    }

    /// The sessions of one partition that a node has streams of, so many at the most.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn sessions_on(
        &self,
        redis: &mut impl ConnectionLike,
        partition: u16,
        node: &str,
        most: usize,
    ) -> Call<Vec<SessionId>> {
        let mut list = redis::cmd("ZRANGE");
        // Names are visible ASCII, so nothing of this node's is above.
        list.arg(streams(partition)).arg(format!("[{node}\n")).arg(format!("[{node}\n\x7f")).arg("BYLEX");
        list.arg("LIMIT").arg(0).arg(most);
        let found: Vec<String> = list.query_async(redis).await?;
        let session = |place: &String| {
            let name = place.strip_prefix(node)?.strip_prefix('\n')?;
            SessionId::parse(name, &self.limits, "session_id").ok()
        };
        Ok(found.iter().filter_map(session).collect())
    }

    /// The names of the sessions of a partition after this one, in their order.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn names(
        &self,
        redis: &mut impl ConnectionLike,
        partition: u16,
        after: Option<&SessionId>,
        most: usize,
    ) -> Call<Vec<SessionId>> {
        let mut list = redis::cmd("ZRANGE");
        list.arg(keys::index(partition)).arg(after.map_or_else(|| "-".to_owned(), |after| format!("({after}")));
        list.arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(most);
        let found: Vec<String> = list.query_async(redis).await?;
        Ok(found.iter().filter_map(|name| SessionId::parse(name, &self.limits, "session_id").ok()).collect())
    }

    /// Where the connections of a session have their streams, those that joined after a
    /// place; a page. None: nobody is in it.
    ///
    /// # Errors
    /// When they can't be listed.
    pub async fn seated(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        after: Sequence,
    ) -> Call<Option<Vec<Seated>>> {
        let Some((_, listed)) = self.listed(redis, session, after, PAGE).await? else { return Ok(None) };
        Ok(Some(listed.map(Values::seated).collect::<Call<_>>()?))
    }

    /// A node is dead: its streams in a session are gone. How many they were.
    ///
    /// # Errors
    /// When it isn't known whether all of them are.
    pub async fn lose(&self, redis: &mut impl ConnectionLike, session: &SessionId, dead: &str) -> Call<Done<usize>> {
        let (keys, mut after) = (Keys::of(session, self.partitions), 0);
        let mut all = Done { answer: 0, epoch: 0, clock: 0, effects: Vec::new() };
        while let Some(listed) = self.seated(redis, session, after).await? {
            let Some(newest) = listed.last() else { break };
            after = newest.joined;
            for seated in listed.into_iter().filter(|seated| seated.node == dead) {
                let connection = seated.handle.connection;
                let mut call = self.call(&scripts::LOST, &keys.first(), session);
                call.key(&keys.more()[..]);
                call.key(keys.outcomes(&connection)).arg(&connection.bytes()[..]).arg(dead);
                let (Told { epoch, clock, effects }, _) = self.ask(call, redis, &View::default()).await?;
                (all.epoch, all.clock) = (epoch, all.clock.max(clock));
                all.answer += usize::from(!effects.is_empty());
                // The stream was another node's to release.
                all.effects.extend(effects.into_iter().filter(|(_, effect)| !matches!(effect, Effect::Release(..))));
            }
        }
        Ok(all)
    }

    /// Which of these streams are still their connections', and on this node from here on,
    /// and where the session is.
    ///
    /// # Errors
    /// When it isn't known.
    pub async fn settle(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        streams: &[Handle],
    ) -> Call<Done<(Sequence, Vec<bool>)>> {
        let keys = Keys::of(session, self.partitions);
        let mut call = self.call(&scripts::SETTLE, &keys.first(), session);
        call.key(&keys.more()[..]);
        for handle in streams {
            call.arg(&handle.connection.bytes()[..]).arg(handle.generation);
        }
        let (Told { epoch, clock, effects }, mut values) = self.ask(call, redis, &View::default()).await?;
        let sequence = values.number()?;
        let places = values.list()?.map(|place| Ok(u8::from_redis_value(place).map_err(redis::RedisError::from)? == 1));
        Ok(Done { answer: (sequence, places.collect::<Call<_>>()?), epoch, clock, effects })
    }

    /// Some events after a place, in one life of a session; none that follow one that is
    /// missing. None: that life is over.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn read(
        &self,
        redis: &mut impl ConnectionLike,
        session: &SessionId,
        life: Epoch,
        after: Sequence,
    ) -> Call<Done<Option<Vec<Arc<Entry>>>>> {
        let keys = Keys::of(session, self.partitions);
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("HGET").arg(keys.session()).arg("s");
        pipe.cmd("XRANGE").arg(keys.log()).arg(format!("({after}-0")).arg("+").arg("COUNT").arg(PAGE);
        pipe.cmd("GET").arg(&keys.first()[1]);
        let (session_is, found, clock): (Option<Vec<u8>>, Vec<Logged>, Option<u64>) = pipe.query_async(redis).await?;
        let done = |answer| Done { answer, epoch: life, clock: clock.unwrap_or(0), effects: Vec::new() };
        if position(session_is)?.is_none_or(|(epoch, _)| epoch != life) {
            return Ok(done(None));
        }
        let mut entries = Vec::new();
        for (at, (id, mut fields)) in (after + 1..).zip(found) {
            let place = id.split_once('-').and_then(|(place, _)| place.parse().ok());
            if place != Some(at) {
                break;
            }
            let record = fields.pop().ok_or(reply::Trouble::Nonsense("an event without a record"))?;
            entries.push(reply::entry(at, &reply::bytes(record)?)?);
        }
        Ok(done(Some(entries)))
    }

    /// Where sessions are: life and newest place; none of those that are no more.
    ///
    /// # Errors
    /// When that can't be read.
    pub async fn positions(
        &self,
        redis: &mut impl ConnectionLike,
        sessions: &[SessionId],
    ) -> Call<Vec<Option<(Epoch, Sequence)>>> {
        let mut pipe = redis::pipe();
        for session in sessions {
            pipe.cmd("HGET").arg(Keys::of(session, self.partitions).session()).arg("s");
        }
        let found: Vec<Option<Vec<u8>>> = pipe.query_async(redis).await?;
        found.into_iter().map(position).collect()
    }
}

/// Life and newest place, in what a session is: see `scripts/common/session.lua`.
fn position(session: Option<Vec<u8>>) -> Call<Option<(Epoch, Sequence)>> {
    let Some(session) = session else { return Ok(None) };
    match session.as_chunks::<8>().0 {
        [epoch, sequence, ..] => Ok(Some((u64::from_be_bytes(*epoch), u64::from_be_bytes(*sequence)))),
        _ => Err(reply::Trouble::Nonsense("a session that was cut")),
    }
}
