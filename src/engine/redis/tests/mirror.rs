//! However replies and pushes meet, a mirror does what the session has done.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use proptest::{collection::vec, prelude::*};

use crate::{
    domain::{Audience, ConnectionId, Entry, Event, Sequence, Signal},
    engine::redis::{Deed, Mirror, Placed},
    session::{Effect, Handle, SendResult, View},
};

const EPOCH: u64 = 7;

/// What happens, to one of two nodes.
#[derive(Clone, Debug)]
enum Step {
    /// A script appends so many events; it may attach a stream, and is answered.
    Script { node: usize, events: usize, attaches: bool },
    /// A reply under way arrives, any of them.
    Reply { node: usize, which: usize },
    /// The oldest push arrives, or is lost.
    Push { node: usize, is_lost: bool },
    /// The node looks at the log.
    Look { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0_usize..2;
    prop_oneof![
        4 => (node.clone(), 0_usize..3, prop::bool::weighted(0.3))
            .prop_map(|(node, events, attaches)| Step::Script { node, events, attaches }),
        4 => (node.clone(), any::<usize>()).prop_map(|(node, which)| Step::Reply { node, which }),
        4 => (node.clone(), prop::bool::weighted(0.1)).prop_map(|(node, is_lost)| Step::Push { node, is_lost }),
        1 => node.prop_map(|node| Step::Look { node }),
    ]
}

fn handle(number: u64) -> Handle {
    Handle { connection: ConnectionId::from_bytes(u128::from(number).to_be_bytes()), generation: 1 }
}

fn answer(number: u64) -> Effect {
    Effect::Answer(handle(number), SendResult { send_id: number, outcome: Err(crate::session::not_connected()) })
}

#[derive(Default)]
struct Node {
    mirror: Mirror,
    has_streams: bool,
    replies: Vec<Vec<Placed>>,
    pushes: VecDeque<Vec<Arc<Entry>>>,
    /// What was delivered, by place; and from which place on.
    delivered: Vec<Sequence>,
    /// Streams, and what each was handed.
    streams: BTreeMap<ConnectionId, Vec<Sequence>>,
    answered: Vec<u64>,
}

#[derive(Default)]
struct World {
    log: Vec<Arc<Entry>>,
    nodes: [Node; 2],
    count: u64,
    /// After which place each stream was attached, and each answer was given.
    places: BTreeMap<u64, Sequence>,
}

impl World {
    fn script(&mut self, at: usize, events: usize, attaches: bool) {
        // A node without streams asks for nothing but a join.
        let attaches = attaches || !self.nodes[at].has_streams;
        let mut effects = Vec::new();
        let mut entries = Vec::new();
        for _ in 0..events {
            let sequence = self.log.len() as Sequence + 1;
            let signal = Signal::parse(String::new(), sequence.to_string()).expect("a signal");
            let event = Event::Signal { from: None, audience: Audience::Everyone, signal };
            let entry = Arc::new(Entry { sequence, at: SystemTime::UNIX_EPOCH, event });
            self.log.push(Arc::clone(&entry));
            entries.push(Arc::clone(&entry));
            effects.push((sequence, Effect::Entry(entry)));
        }
        self.count += 1;
        let (number, place) = (self.count, self.log.len() as Sequence);
        self.places.insert(number, place);
        let told = if attaches { Effect::Attach(handle(number), View::default()) } else { answer(number) };
        effects.push((place, told));
        let other = &mut self.nodes[1 - at];
        if other.has_streams && !entries.is_empty() {
            other.pushes.push_back(entries);
        }
        self.nodes[at].has_streams = true;
        self.nodes[at].replies.push(effects);
    }

    fn play(&mut self, step: Step) {
        let mut deeds = Vec::new();
        let at = match step {
            Step::Script { node, events, attaches } => return self.script(node, events, attaches),
            Step::Reply { node, which } => {
                let it = &mut self.nodes[node];
                if it.replies.is_empty() {
                    return;
                }
                let reply = it.replies.remove(which % it.replies.len());
                it.mirror.answered(EPOCH, reply, &mut deeds);
                node
            }
            Step::Push { node, is_lost } => {
                let it = &mut self.nodes[node];
                let Some(push) = it.pushes.pop_front() else { return };
                if !is_lost {
                    it.mirror.pushed(EPOCH, push, &mut deeds);
                }
                node
            }
            Step::Look { node } => {
                let it = &mut self.nodes[node];
                it.mirror.heard(EPOCH, self.log.len() as Sequence);
                if let Some(since) = it.mirror.lacks() {
                    it.mirror.read(self.log[since as usize..].to_vec(), &mut deeds);
                }
                node
            }
        };
        for deed in deeds {
            self.done(at, deed);
        }
    }

    fn done(&mut self, at: usize, deed: Deed) {
        let node = &mut self.nodes[at];
        let last = node.delivered.last().copied();
        let attach = |node: &mut Node, handle: Handle, missed: Vec<Sequence>| {
            assert!(node.streams.insert(handle.connection, missed).is_none(), "attached twice");
        };
        match deed {
            Deed::Do(Effect::Entry(entry)) => {
                assert!(last.is_none_or(|last| last + 1 == entry.sequence), "{} after {last:?}", entry.sequence);
                node.delivered.push(entry.sequence);
                node.streams.values_mut().for_each(|handed| handed.push(entry.sequence));
            }
            Deed::Do(Effect::Answer(handle, result)) => {
                let place = self.places[&result.send_id];
                assert!(last.is_none_or(|last| last >= place), "an outcome before its event");
                assert!(handle.generation == 1 && !node.answered.contains(&result.send_id));
                node.answered.push(result.send_id);
            }
            Deed::Attach(handle, _, missed) => {
                attach(node, handle, missed.iter().map(|entry| entry.sequence).collect());
            }
            Deed::AttachAfter(handle, _, place, delivered) => {
                assert!(last.is_none_or(|last| last == delivered));
                attach(node, handle, (place + 1..=delivered).collect());
            }
            other @ Deed::Do(_) => panic!("{other:?}"),
        }
    }

    fn end(mut self) {
        for node in 0..2 {
            while !self.nodes[node].replies.is_empty() {
                self.play(Step::Reply { node, which: 0 });
            }
            self.play(Step::Look { node });
        }
        let newest = self.log.len() as Sequence;
        for node in &self.nodes {
            assert!(node.mirror.is_at_rest(), "{:?}", node.mirror);
            for (connection, handed) in &node.streams {
                let number = (1..=self.count).find(|number| handle(*number).connection == *connection);
                let place = self.places[&number.expect("a stream")];
                assert_eq!(*handed, (place + 1..=newest).collect::<Vec<_>>(), "a stream from {place} on");
            }
        }
        let told = self.nodes.iter().map(|node| node.streams.len() + node.answered.len()).sum::<usize>();
        assert_eq!(told as u64, self.count, "everything asked was answered");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_stream_gets_everything_after_its_join_once_and_in_order(steps in vec(step(), 1..60)) {
        let mut world = World::default();
        for step in steps {
            world.play(step);
        }
        world.end();
    }
}
