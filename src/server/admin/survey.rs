//! Looks at all there is, for whoever asks, at a price that doesn't depend on who asks how
//! often for what: at most a tenth of one CPU, on a thread that serves nobody.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
    time::Instant,
};

use crate::{
    domain::SessionId,
    engine::{OutletId, Sight},
    hub::Waiting,
};

use super::{
    query::{Key, Query},
    snapshot::{Reader, SessionRow, Sessions, Snapshot},
};

/// A look is good for so long, and for so many times what it cost. A little less than the
/// second in which everybody asks again.
const LEAST_REST: Duration = Duration::from_millis(900);
const REST_TIMES: u32 = 10;

/// How many questions one look answers; the same question is one.
const MOST_ANSWERS: usize = 16;

/// A look is no measure for a rate any more after this, nor kept.
const KEPT: Duration = Duration::from_secs(60);

/// How many of the fullest outboxes are told.
pub(super) const READERS: usize = 20;

/// The looks. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::server) struct Survey(Arc<Mutex<Kept>>);

/// What is kept from look to look.
#[derive(Default)]
struct Kept {
    look: Option<Look>,
    /// Since when each look has found something waiting for a stream.
    waiting: HashMap<OutletId, Instant>,
}

/// All that was seen at one moment.
struct Look {
    at: Instant,
    /// What it cost, its answers included.
    cost: Duration,
    /// By name.
    rows: Vec<Row>,
    /// All but the sessions.
    rest: Snapshot,
    answers: HashMap<Query, Bytes>,
}

struct Row {
    id: SessionId,
    sight: Sight,
    rate: Option<f64>,
    age: f64,
}

/// What a look finds.
pub(super) struct Found {
    /// The moment, on the clock of [`Sight::created_at`].
    pub(super) wall: SystemTime,
    /// The sessions, in no order.
    pub(super) sessions: Vec<(SessionId, Sight)>,
    /// The fullest outboxes.
    pub(super) readers: Vec<Waiting>,
    /// All the rest.
    pub(super) rest: Snapshot,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Too many different questions; come back after this many seconds.
    TooMany(u64),
    /// A bug ended it.
    Panicked,
}

impl Survey {
    /// The answer to a question, in JSON: from a look that is still good, or from a new one.
    pub(super) async fn answer(
        &self,
        query: Query,
        find: impl FnOnce() -> Found + Send + 'static,
    ) -> Result<Bytes, NoAnswer> {
        let mut kept = Arc::clone(&self.0).lock_owned().await;
        let is_good = kept.look.as_ref().is_some_and(|look| look.at.elapsed() < look.rest());
        if is_good && let Some(look) = &mut kept.look {
            if let Some(answer) = look.answers.get(&query) {
                return Ok(answer.clone());
            }
            if look.answers.len() >= MOST_ANSWERS {
                let left = look.rest().saturating_sub(look.at.elapsed());
                return Err(NoAnswer::TooMany(left.as_secs() + 1));
            }
        }
        // Whoever asked may be gone meanwhile: what was begun is done all the same, and
        // nobody begins it again.
        let answering = spawn_blocking(move || {
            if !is_good {
                look(&mut kept, find);
            }
            OwnedMutexGuard::map(kept, |kept| &mut kept.look).as_mut().map(|look| look.answer(query))
        });
        answering.await.ok().flatten().ok_or(NoAnswer::Panicked)
    }

    /// Lets go of what nobody has asked for in a while.
    pub(super) fn forget(&self) {
        // Who holds it asks.
        let Ok(mut kept) = self.0.try_lock() else { return };
        if kept.look.as_ref().is_some_and(|look| look.at.elapsed() > KEPT) {
            *kept = Kept::default();
        }
    }
}

/// Looks anew.
fn look(kept: &mut Kept, find: impl FnOnce() -> Found) {
    let at = Instant::now();
    let Found { wall, mut sessions, readers, mut rest } = find();
    sessions.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let before = kept.look.take().filter(|look| at.duration_since(look.at) <= KEPT);
    let over = before.as_ref().map(|look| at.duration_since(look.at).as_secs_f64());
    let mut before = before.map(|look| look.rows).unwrap_or_default().into_iter().peekable();
    let rows = sessions.into_iter().map(|(id, sight)| {
        // Both are by name.
        while before.next_if(|row| row.id < id).is_some() {}
        let earlier = before.next_if(|row| row.id == id).map(|row| row.sight);
        Row { rate: over.map(|over| rate(earlier, &sight, over)), age: age(wall, sight.created_at), id, sight }
    });
    let rows: Vec<_> = rows.collect();
    kept.waiting.retain(|outlet, _| readers.iter().any(|reader| reader.outlet == *outlet));
    rest.readers = readers.into_iter().map(|reader| shown(reader, at, &mut kept.waiting)).collect();
    let cost = at.elapsed();
    rest.sessions = Sessions {
        looked_at: rows.len(),
        took_seconds: cost.as_secs_f64(),
        rates_over_seconds: over,
        ..Sessions::default()
    };
    kept.look = Some(Look { at, cost, rows, rest, answers: HashMap::new() });
}

/// Of a session that wasn't there, or has begun anew, all its events are new.
#[allow(clippy::cast_precision_loss)] // A rate.
fn rate(earlier: Option<Sight>, now: &Sight, over: f64) -> f64 {
    let from = earlier.filter(|earlier| earlier.epoch == now.epoch).map_or(0, |earlier| earlier.sequence);
    now.sequence.saturating_sub(from) as f64 / over
}

fn age(now: SystemTime, since: SystemTime) -> f64 {
    // A clock may have been set back.
    now.duration_since(since).unwrap_or_default().as_secs_f64()
}

fn shown(reader: Waiting, now: Instant, waiting: &mut HashMap<OutletId, Instant>) -> Reader {
    let since = *waiting.entry(reader.outlet).or_insert(now);
    let (session, connection) =
        reader.owner.map(|(session, connection)| (session.to_string(), connection.to_string())).unzip();
    Reader {
        session,
        connection,
        events: reader.events,
        bytes: reader.bytes,
        full: reader.full,
        waiting_seconds: now.duration_since(since).as_secs_f64(),
        age_seconds: now.duration_since(reader.since).as_secs_f64(),
    }
}

impl Look {
    /// How long it is good.
    fn rest(&self) -> Duration {
        LEAST_REST.max(self.cost * REST_TIMES)
    }

    fn answer(&mut self, query: Query) -> Bytes {
        let began = Instant::now();
        let mut rows: Vec<_> = self.rows.iter().filter(|row| query.admits(row.id.as_str())).collect();
        let mut snapshot = self.rest.clone();
        snapshot.sessions.matching = rows.len();
        let first = |one: &&Row, other: &&Row| query.sort.compare(query.reverse, &one.key(), &other.key());
        if query.sessions < rows.len() {
            rows.select_nth_unstable_by(query.sessions, first);
            rows.truncate(query.sessions);
        }
        rows.sort_unstable_by(first);
        snapshot.sessions.rows = rows.into_iter().map(Row::shown).collect();
        // Nothing in it can't be written: its keys are texts.
        let answer = Bytes::from(serde_json::to_vec(&snapshot).unwrap_or_default());
        self.answers.insert(query, answer.clone());
        self.cost += began.elapsed();
        answer
    }
}

impl Row {
    fn key(&self) -> Key<'_> {
        Key {
            name: self.id.as_str(),
            connections: self.sight.connected + self.sight.interrupted,
            interrupted: self.sight.interrupted,
            rate: self.rate.unwrap_or(0.0),
            sequence: self.sight.sequence,
            age: self.age,
        }
    }

    fn shown(&self) -> SessionRow {
        let Sight { connected, interrupted, epoch, sequence, .. } = self.sight;
        SessionRow {
            id: self.id.to_string(),
            connected,
            interrupted,
            epoch,
            sequence,
            events_per_second: self.rate,
            age_seconds: self.age,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::domain::Limits;

    fn session(name: &str, epoch: u64, sequence: u64) -> (SessionId, Sight) {
        let id = SessionId::parse(name, &Limits::default(), "session_id").expect("an id");
        (id, Sight { connected: 1, interrupted: 0, epoch, sequence, created_at: SystemTime::UNIX_EPOCH })
    }

    fn found(sessions: Vec<(SessionId, Sight)>, readers: Vec<Waiting>) -> Found {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        Found { wall, sessions, readers, rest: Snapshot::default() }
    }

    fn waiting(outlet: u64) -> Waiting {
        Waiting { outlet: OutletId(outlet), owner: None, events: 1, bytes: 2, full: 0.1, since: Instant::now() }
    }

    async fn ask(survey: &Survey, query: &str, found: Found) -> Snapshot {
        let query = Query::parse(Some(query)).expect("a query");
        let answer = survey.answer(query, move || found).await.expect("an answer");
        serde_json::from_slice(&answer).expect("JSON")
    }

    fn rates(snapshot: &Snapshot) -> Vec<(&str, Option<f64>)> {
        snapshot.sessions.rows.iter().map(|row| (row.id.as_str(), row.events_per_second)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_what_came_since_the_look_before() {
        let survey = Survey::default();
        let first = found(vec![session("b", 1, 10), session("a", 1, 5), session("gone", 1, 1)], vec![]);
        let seen = ask(&survey, "sort=name", first).await;
        assert_eq!(rates(&seen), [("a", None), ("b", None), ("gone", None)]);
        assert_eq!((seen.sessions.rates_over_seconds, seen.sessions.rows[0].age_seconds), (None, 5.0));
        tokio::time::advance(Duration::from_secs(2)).await;
        let then = found(vec![session("a", 1, 9), session("anew", 1, 6), session("b", 2, 4)], vec![]);
        let seen = ask(&survey, "sort=name", then).await;
        assert_eq!(rates(&seen), [("a", Some(2.0)), ("anew", Some(3.0)), ("b", Some(2.0))]);
        assert_eq!(seen.sessions.rates_over_seconds, Some(2.0));
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        let seen = ask(&survey, "sort=name", found(vec![session("a", 1, 10)], vec![])).await;
        assert_eq!(rates(&seen), [("a", None)], "that is too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn rows_are_the_first_of_those_that_match() {
        let survey = Survey::default();
        let sessions = (0..50).map(|number| session(&format!("s{number:02}"), 1, number)).collect();
        let seen = ask(&survey, "sessions=3&sort=sequence&filter=S1", found(sessions, vec![])).await;
        assert_eq!(rates(&seen).iter().map(|row| row.0).collect::<Vec<_>>(), ["s19", "s18", "s17"]);
        assert_eq!((seen.sessions.matching, seen.sessions.looked_at), (10, 50));
        let seen = ask(&survey, "sessions=2&sort=sequence&order=last", found(vec![], vec![])).await;
        assert_eq!(rates(&seen).iter().map(|row| row.0).collect::<Vec<_>>(), ["s00", "s01"]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_whatever_there_is_one_look_a_second() {
        let survey = Survey::default();
        let looks = Arc::new(AtomicUsize::new(0));
        let ask = |filter: usize| {
            let (survey, looks) = (survey.clone(), Arc::clone(&looks));
            async move {
                let query = Query::parse(Some(&format!("filter={filter}"))).expect("a query");
                let find = move || {
                    looks.fetch_add(1, Ordering::SeqCst);
                    found(vec![], vec![])
                };
                survey.answer(query, find).await
            }
        };
        for filter in 0..MOST_ANSWERS {
            ask(filter).await.expect("an answer");
        }
        assert_eq!(ask(MOST_ANSWERS).await, Err(NoAnswer::TooMany(1)));
        ask(3).await.expect("that was asked before");
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        tokio::time::advance(LEAST_REST).await;
        ask(MOST_ANSWERS).await.expect("a new look");
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_as_long_as_every_look_finds_something_for_it() {
        let survey = Survey::default();
        let one = waiting(1);
        for (at, (outlets, expected)) in
            [(vec![1, 2], [0.0, 0.0]), (vec![1], [1.0, -1.0]), (vec![1, 2], [2.0, 0.0])].into_iter().enumerate()
        {
            let readers = outlets.iter().map(|outlet| Waiting { outlet: OutletId(*outlet), ..one.clone() }).collect();
            let seen = ask(&survey, "", found(vec![], readers)).await;
            let shown: Vec<_> = seen.readers.iter().map(|reader| reader.waiting_seconds).collect();
            assert_eq!(shown, expected[..outlets.len()], "at {at} s");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_nobody_asks_for_any_more_is_let_go() {
        let survey = Survey::default();
        ask(&survey, "", found(vec![session("a", 1, 1)], vec![waiting(1)])).await;
        survey.forget();
        assert!(survey.0.lock().await.look.is_some());
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        survey.forget();
        let kept = survey.0.lock().await;
        assert!(kept.look.is_none() && kept.waiting.is_empty());
    }

    #[tokio::test]
    async fn a_bug_in_looking_is_told_and_the_next_look_is_made() {
        let survey = Survey::default();
        let broken = survey.answer(Query::default(), || panic!("a bug")).await;
        assert_eq!(broken, Err(NoAnswer::Panicked));
        ask(&survey, "", found(vec![], vec![])).await;
    }
}
