use std::time::Duration;

use super::*;
use crate::{
    domain::MEMORY_STEP as STEP,
    hub::{Next, Reading},
};

use crate::hub::chain::{Cause, Chain};

/// An outbox, its reading side, and the chain that it follows.
struct Bed {
    outbox: Arc<Outbox>,
    reading: Reading,
    chain: Chain,
    feed: Arc<Feed>,
    budget: Arc<Budget>,
}

impl Bed {
    fn closed(events: usize, bytes: usize, unresolved: usize) -> Self {
        Self::within(&Arc::default(), Bounds { events, bytes, unresolved })
    }

    fn within(budget: &Arc<Budget>, bounds: Bounds) -> Self {
        let outbox = Arc::new(Outbox::new(bounds, budget, Arc::default(), 1));
        let (chain, feed) = (Chain::new(budget), Arc::<Feed>::default());
        let me = ConnectionId::from_random([1; 16]);
        outbox.follow(Following { at: chain.end(), feed: feed.clone(), me, suppress_own_signals: true });
        Self { reading: Reading::new(Arc::clone(&outbox)), outbox, chain, feed, budget: Arc::clone(budget) }
    }

    fn new(events: usize, bytes: usize, unresolved: usize) -> Self {
        let bed = Self::closed(events, bytes, unresolved);
        bed.outbox.open(Box::new(std::iter::empty()), 0, true);
        bed
    }

    fn broadcast_of(&mut self, text: &'static str, from: Option<ConnectionId>) -> bool {
        let before = self.chain.carried();
        self.chain.append(frame(text), 1, Box::default(), Cause { from, about: None });
        let after = self.chain.carried();
        self.feed.events.store(after.events, Ordering::Release);
        self.feed.bytes.store(after.bytes, Ordering::Release);
        self.feed.latest.store(after.events, Ordering::Release);
        self.outbox.appended(before, after, self.budget.share(), 0)
    }

    fn broadcast(&mut self, text: &'static str) -> bool {
        self.broadcast_of(text, None)
    }

    fn push(&mut self, text: &'static str) -> bool {
        self.outbox.push(frame(text), self.chain.carried())
    }

    fn outcome(&mut self, text: &'static str) -> bool {
        let carried = self.chain.carried();
        self.outbox.push_outcomes(frame(text), 1, carried, carried.events)
    }

    fn taken(&mut self) -> Vec<Bytes> {
        std::iter::from_fn(|| match self.reading.take() {
            Next::Frames(frames) => Some(frames),
            _ => None,
        })
        .collect()
    }

    fn ending(&mut self) -> Option<Ending> {
        match self.reading.take() {
            Next::End(goodbye) => Some(goodbye.farewell.ending),
            _ => None,
        }
    }
}

fn frame(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn farewell(ending: Ending) -> Farewell {
    Farewell { ending, resumable: true, retry_after: None }
}

#[test]
fn the_preamble_goes_before_what_came_in_meanwhile() {
    let mut bed = Bed::closed(10, 100, 10);
    assert!(bed.push("event") && bed.broadcast("another"));
    assert_eq!(bed.reading.take(), Next::NotOpen);
    bed.outbox.open(Box::new([frame("joined"), frame("page")].into_iter()), 0, false);
    assert_eq!(bed.taken(), ["joined", "page", "event", "another"]);
}

#[test]
fn broadcasts_and_its_own_come_out_in_one_order() {
    let mut bed = Bed::new(0, 0, 0);
    let order = ["0", "1", "2", "3", "4", "5", "6", "7"];
    for (at, text) in order.iter().enumerate() {
        assert!(match at % 3 {
            0 => bed.broadcast(text),
            1 => bed.push(text),
            _ => bed.outcome(text),
        });
    }
    assert_eq!(bed.taken(), order);
}

#[test]
fn an_outcome_may_come_between_the_events_of_a_block() {
    let mut bed = Bed::new(0, 0, 0);
    let before = bed.chain.carried();
    for after in [0, 1, 3] {
        assert!(bed.outbox.push_outcomes(frame("ok"), 1, before, after));
    }
    bed.chain.append(frame("abbccc"), 3, Box::new([1, 3, 6]), Cause::default());
    assert!(bed.outbox.appended(before, bed.chain.carried(), usize::MAX, 0));
    assert_eq!(bed.taken(), ["ok", "a", "ok", "bbccc", "ok"]);
    assert!(bed.broadcast("d"));
    assert_eq!(bed.taken(), ["d"]);
}

#[test]
fn its_own_signals_are_passed_over() {
    let mut bed = Bed::new(2, 0, 0);
    let me = ConnectionId::from_random([1; 16]);
    assert!(bed.broadcast("theirs") && bed.broadcast_of("mine", Some(me)));
    assert_eq!(bed.taken(), ["theirs"]);
    assert!(bed.broadcast("a") && bed.broadcast("b"), "what was passed over waits no more");
}

#[test]
fn who_overflows_while_it_joins_is_told_that_it_is_in_first() {
    let mut bed = Bed::closed(1, 0, 0);
    assert!(bed.broadcast("a") && !bed.broadcast("b"));
    bed.outbox.release(farewell(Ending::SlowConsumer));
    assert_eq!(bed.reading.take(), Next::NotOpen);
    bed.outbox.open(Box::new([frame("joined")].into_iter()), 0, true);
    assert_eq!(bed.taken(), ["joined"]);
    assert_eq!(bed.ending(), Some(Ending::SlowConsumer));
}

#[test]
fn one_event_too_many_overflows() {
    type Add = fn(&mut Bed, &'static str) -> bool;
    let ways: [(Add, Add); 4] = [
        (Bed::push, Bed::push),
        (Bed::broadcast, Bed::broadcast),
        (Bed::push, Bed::broadcast),
        (Bed::broadcast, Bed::push),
    ];
    for (one, other) in ways {
        let mut bed = Bed::new(2, 0, 0);
        assert!(one(&mut bed, "a") && other(&mut bed, "b"));
        assert!(!one(&mut bed, "c"));
        assert!(other(&mut bed, "d"), "an overflow is told once");
        bed.outbox.release(farewell(Ending::SlowConsumer));
        assert_eq!(bed.taken(), Vec::<Bytes>::new());
        assert_eq!(bed.ending(), Some(Ending::SlowConsumer));
    }
}

#[test]
fn nothing_comes_after_an_overflow_however_late_the_end() {
    for ending in [Ending::SlowConsumer, Ending::GoingAway] {
        let mut bed = Bed::new(2, 0, 0);
        assert!(bed.broadcast("a") && bed.push("b") && !bed.push("c"));
        assert!(bed.broadcast("d"));
        assert_eq!(bed.reading.take(), Next::NotOpen, "b is gone: neither a place beyond it nor an event");
        assert!(!bed.reading.is_empty());
        bed.outbox.release(farewell(ending));
        assert_eq!(bed.ending(), Some(ending));
    }
}

#[test]
fn one_byte_too_many_overflows() {
    let mut bed = Bed::new(0, 4, 0);
    assert!(bed.push("ab") && bed.broadcast("cd"));
    assert_eq!(bed.taken(), ["ab", "cd"]);
    bed.outbox.set_behind(true);
    assert!(bed.broadcast("abcd") && !bed.push("e"));
}

#[test]
fn outcomes_wait_beside_a_full_queue_but_not_for_ever() {
    let mut bed = Bed::new(1, 0, 2);
    assert!(bed.push("event"));
    for _ in 0..4 {
        assert!(bed.outcome("outcome"));
    }
    assert!(!bed.outcome("outcome"));
}

#[test]
fn a_send_is_unresolved_until_its_outcome_is_taken() {
    let mut bed = Bed::new(0, 0, 1);
    assert_eq!(bed.outbox.begin_send(), Ok(()));
    assert_eq!(bed.outbox.begin_send(), Err(2));
    assert!(bed.outcome("1") && bed.outcome("2"));
    assert_eq!(bed.outbox.begin_send(), Err(3));
    assert_eq!(bed.taken().len(), 2);
    assert!(bed.outcome("3"));
    assert_eq!(bed.taken().len(), 1);
    assert_eq!(bed.outbox.begin_send(), Ok(()));
}

#[test]
fn what_waits_goes_before_a_goodbye_unless_it_would_come_twice() {
    for (why, waits) in [(Ending::ForceDisconnected, 2), (Ending::GoingAway, 2), (Ending::TakenOver, 0)] {
        for settles in [false, true] {
            let mut bed = Bed::new(0, 0, 0);
            assert!(bed.push("event") && bed.broadcast("event"));
            assert_eq!(bed.reading.take(), Next::Frames(frame("event")));
            assert!(bed.push("event"));
            bed.outbox.release(farewell(why));
            let held = bed.chain.end();
            assert!(bed.broadcast("later"));
            let later = Arc::downgrade(&bed.chain.end());
            if settles {
                bed.reading.settle();
                // The test itself holds on to two ends.
                bed.chain = Chain::new(&bed.budget);
                drop(held);
                assert!(later.upgrade().is_none(), "the chain is let go");
            }
            assert_eq!(bed.taken().len(), waits, "{why:?}");
            assert_eq!(bed.ending(), Some(why));
        }
    }
}

#[test]
fn the_first_ending_stands() {
    let mut bed = Bed::new(0, 0, 0);
    bed.outbox.end(Ending::GoingAway, Some(Duration::from_secs(1)), None);
    bed.outbox.release(farewell(Ending::Left));
    assert_eq!(bed.ending(), Some(Ending::GoingAway));
}

#[test]
fn idle_tells_the_place_that_the_stream_is_complete_to() {
    let mut bed = Bed::new(0, 0, 0);
    assert_eq!(bed.reading.take(), Next::Idle(0));
    assert!(bed.broadcast("1"));
    assert_eq!(bed.taken().len(), 1);
    assert_eq!(bed.reading.take(), Next::Idle(1));
}

#[test]
fn what_waits_is_counted() {
    let mut bed = Bed::new(0, 0, 0);
    assert!(bed.push("own") && bed.broadcast("shared") && bed.outcome("ok"));
    assert_eq!(bed.outbox.waiting(), (3, 11));
    bed.taken();
    assert_eq!(bed.outbox.waiting(), (0, 0));
}

#[test]
fn what_waits_for_the_server_itself_is_no_reason_to_close() {
    let mut bed = Bed::new(2, 0, 0);
    bed.outbox.set_behind(false);
    assert!((0..16).all(|_| bed.broadcast("a")), "eight times as much may wait to be sent");
    assert!(!bed.broadcast("b"));

    let mut bed = Bed::new(2, 0, 0);
    bed.outbox.set_behind(false);
    assert!((0..5).all(|_| bed.push("a")));
    bed.outbox.set_behind(true);
    assert!(!bed.push("b"), "its reader was given it and left it");
}

#[test]
fn what_waits_is_counted_until_it_is_taken() {
    let budget = Arc::new(Budget::new(1_000 * STEP));
    let mut bed = Bed::within(&budget, Bounds { events: 0, bytes: 0, unresolved: 0 });
    let kibibyte = Box::leak("k".repeat(1_024).into_boxed_str());
    bed.outbox.open(Box::new([frame("joined")].into_iter()), 10 * STEP, true);
    assert_eq!(budget.spent(Spent::Waiting), 10 * STEP);
    for _ in 0..8 {
        assert!(bed.push(kibibyte));
    }
    assert_eq!(budget.spent(Spent::Waiting), 12 * STEP);
    assert!(bed.broadcast(kibibyte));
    let all = budget.spent(Spent::Waiting);
    assert!(all > 12 * STEP, "{all}");
    assert_eq!(bed.taken().len(), 10);
    // The last block is the chain's until there is a next.
    assert_eq!(budget.spent(Spent::Waiting), all - 12 * STEP);
    drop(bed);
    assert_eq!(budget.spent(Spent::Waiting), 0);
}

#[test]
fn who_has_more_than_its_share_waiting_overflows_when_memory_is_short() {
    let budget = Arc::new(Budget::new(8 * STEP));
    (0..2).for_each(|_| budget.enter());
    let kibibyte = Box::leak("k".repeat(1_024).into_boxed_str());
    let open = |times: usize| {
        let mut bed = Bed::within(&budget, Bounds { events: 0, bytes: 0, unresolved: 0 });
        bed.outbox.open(Box::new(std::iter::empty()), 0, true);
        (0..times).for_each(|_| assert!(bed.push(kibibyte)));
        bed
    };
    let (mut small, mut large) = (open(4), open(12));
    assert!(small.push(kibibyte) && large.push(kibibyte), "all together have half of it waiting, and no more");
    assert!(large.push("x"), "and that, too, isn't over its share before it is counted");
    let more = Charge::of(&budget, Spent::Waiting, STEP);
    assert!(small.push(kibibyte));
    assert!(!large.push("x"));
    assert!(small.push(kibibyte), "there is place again");
    drop((more, small, large));
    assert_eq!(budget.spent(Spent::Waiting), 0);
}
