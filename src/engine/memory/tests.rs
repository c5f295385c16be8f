//! What the engine keeps, within the node's budget.

use super::*;
use crate::{
    clock::SystemClock,
    domain::{ConnectionId, Entry, IdempotencyKey, MEMORY_STEP as STEP, ResumeToken, Role, Signal},
    session::{Outcome, Resume, SendResult, View},
};

/// A node that delivers nothing.
struct Silent(Arc<Budget>);

struct Nobody;

impl Node for Silent {
    fn open_room(&self, _: &SessionId) -> Box<dyn Room> {
        Box::new(Nobody)
    }

    fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.0)
    }
}

impl Room for Nobody {
    fn attach(&mut self, _: Handle, _: View, _: OutletId) {}
    fn release(&mut self, _: Handle, _: Farewell) {}
    fn abandon(&mut self, _: Farewell) {}
    fn deliver(&mut self, entry: &Entry, _: &mut Vec<Handle>) {
        if matches!(&entry.event, Event::Signal { signal, .. } if signal.data() == "a bug") {
            panic!("a bug");
        }
    }
    fn answer(&mut self, _: Handle, _: &SendResult, _: &mut Vec<Handle>) {}
}

fn bed(limit: usize) -> (MemoryEngine, Arc<Budget>) {
    let budget = Arc::new(Budget::new(limit));
    let limits = Limits { log_events: 0, log_bytes: 0, ..Limits::default() };
    let node = Arc::new(Silent(Arc::clone(&budget)));
    (MemoryEngine::new(Arc::new(limits), Arc::new(SystemClock::new()), node), budget)
}

fn id(name: &str) -> SessionId {
    SessionId::parse(name, &Limits::default(), "session_id").expect("an id")
}

fn join(name: u8, resume: Option<Resume>) -> Join {
    Join {
        data: String::new(),
        role: Role::Publisher,
        window: Duration::from_secs(60),
        view: View::default(),
        resume,
        fresh_id: ConnectionId::from_random([name; 16]),
        fresh_token: ResumeToken::from_random([name; 32]),
    }
}

async fn fill(engine: &MemoryEngine, session: &str, signals: usize, key: Option<&str>) -> Result<(), Refusal> {
    for number in 0..signals {
        let signal = Signal::parse(String::new(), "x".repeat(1_000)).expect("a signal");
        let key = key.map(|key| IdempotencyKey::parse(&format!("{key}{number}")).expect("a key").expect("one"));
        engine.send_from_server(id(session), ServerSend { signal, to: None, key }).await?;
    }
    Ok(())
}

fn resume(joined: &Joined, last_sequence: Sequence) -> Resume {
    let admission = &joined.admission;
    Resume {
        connection: Some(admission.handle.connection),
        token: admission.token.clone(),
        epoch: admission.epoch,
        last_sequence,
        last_result_send_id: 0,
    }
}

#[tokio::test]
async fn logs_make_place_and_those_that_come_back_are_told_of_the_gap() {
    let limit = 64 * STEP;
    let (engine, budget) = bed(limit);
    let joined = engine.join(id("s"), OutletId(1), join(1, None)).await.expect("a place");
    fill(&engine, "s", 1_000, None).await.expect("all of them");
    let kept = budget.spent(Spent::Logs);
    assert!((limit / 2..=limit).contains(&kept), "{kept} of {limit}");
    assert!(budget.relieved(Relief::Events) > 500, "{}", budget.relieved(Relief::Events));

    let members = Charge::of(&budget, Spent::Streams, limit / 4 * 3 + 1);
    let refusal = engine.join(id("t"), OutletId(2), join(2, None)).await.err().expect("a refusal");
    assert_eq!((refusal.reason, budget.relieved(Relief::Joins)), (Reason::ServerFull, 1));
    assert!(refusal.message.contains(&(limit / 4 * 3).to_string()) && refusal.retry_after.is_some(), "{refusal:?}");
    engine.relieve();
    assert!(budget.excess() == 0 && budget.spent(Spent::Logs) > 0, "{budget:?}");
    drop(members);

    for (since, outcome) in [(1_000, Outcome::Resumed), (1, Outcome::ResumedWithGap)] {
        let again = engine.join(id("s"), OutletId(3), join(3, Some(resume(&joined, since)))).await.expect("a member");
        assert_eq!(again.admission.outcome, outcome, "since {since}");
    }
}

#[tokio::test]
async fn a_log_at_the_budget_takes_place_from_none_but_itself_until_all_are_levelled() {
    let limit = 256 * STEP;
    let (engine, budget) = bed(limit);
    for (name, session) in [(1, "small"), (2, "large"), (3, "late")] {
        engine.join(id(session), OutletId(name.into()), join(name, None)).await.expect("a place");
    }
    fill(&engine, "small", 40, None).await.expect("all of them");
    let small = budget.spent(Spent::Logs);
    fill(&engine, "large", 2_000, None).await.expect("all of them");
    fill(&engine, "late", 200, None).await.expect("all of them");
    let held = |name: &str| lock(&engine.0.find(&id(name)).expect("a session").state).session.held().log;
    assert!(held("late") < 20 * STEP, "{}", held("late"));
    assert!(budget.spent(Spent::Logs) <= limit);
    for _ in 0..40 {
        engine.relieve();
        fill(&engine, "late", 20, None).await.expect("all of them");
    }
    assert!(held("small") / STEP * STEP == small, "who has little keeps it: {} of {small}", held("small"));
    assert!(held("late") > 80 * STEP, "the newcomer has its part: {} of {limit}", held("late"));
    assert!(budget.spent(Spent::Logs) <= limit);
}

#[tokio::test]
async fn keyed_calls_are_refused_when_no_more_responses_can_be_remembered() {
    let (engine, budget) = bed(256 * STEP);
    engine.join(id("s"), OutletId(1), join(1, None)).await.expect("a place");
    fill(&engine, "s", 10, Some("first")).await.expect("all of them");
    let refusal = fill(&engine, "s", 10_000, Some("many")).await.expect_err("too many");
    assert_eq!((refusal.reason, refusal.field), (Reason::ServerFull, Some("idempotency_key")));
    assert!(budget.spent(Spent::Decisions) < 256 * STEP / 2);
    assert_eq!(budget.relieved(Relief::Calls), 1);
    fill(&engine, "s", 10, Some("first")).await.expect("what is remembered is repeated");
    fill(&engine, "s", 10, None).await.expect("no key, nothing to remember");
}

#[tokio::test]
async fn a_panic_ends_its_session_and_nothing_else() {
    let (engine, budget) = bed(0);
    for (name, session) in [(1, "broken"), (2, "broken"), (3, "whole")] {
        engine.join(id(session), OutletId(name.into()), join(name, None)).await.expect("a place");
        fill(&engine, session, 20, Some("key")).await.expect("all of them");
    }
    let kept = budget.spent(Spent::Logs);
    let epoch = engine.session(id("broken")).await.expect("a session").epoch;
    let bug = || async {
        let signal = Signal::parse(String::new(), "a bug".into()).expect("a signal");
        engine.send_from_server(id("broken"), ServerSend { signal, to: None, key: None }).await
    };
    let panicked = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(bug())).await;
    assert!(panicked.is_err());
    let gone = engine.session(id("broken")).await.expect_err("it is gone");
    assert_eq!(gone.reason, Reason::SessionNotFound);
    assert_eq!(engine.stats(), Stats { sessions: 1, attached: 1, detached: 0 });
    assert!(budget.spent(Spent::Logs) < kept);
    fill(&engine, "whole", 5, None).await.expect("the other goes on");
    let joined = engine.join(id("broken"), OutletId(4), join(4, None)).await.expect("a place in its next life");
    assert!(joined.admission.epoch > epoch);
    assert_eq!((joined.admission.sequence, joined.admission.snapshot.len()), (1, 1));
}
