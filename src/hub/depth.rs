//! How much waits, and for whom: looked at when somebody asks, at no cost to what
//! happens meanwhile.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use tokio::time::Instant;

use crate::{
    domain::{ConnectionId, SessionId},
    engine::{OutletId, lock},
};

use super::{Bounds, Hub, Outbox};

/// How many streams are taken from the registry under its lock, to be looked at without it.
const AT_ONCE: usize = 1_024;

/// How much waits in a hub's outboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Streams.
    pub streams: usize,
    /// Events, in all.
    pub events: usize,
    /// Bytes, in all.
    pub bytes: usize,
    /// Events in the fullest.
    pub most_events: usize,
}

/// A stream that has left things behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its place; never another's.
    pub outlet: OutletId,
    /// Its session and its connection; none before it is in.
    pub owner: Option<(SessionId, ConnectionId)>,
    /// How many events wait, outcomes of sends included.
    pub events: usize,
    /// How many bytes.
    pub bytes: usize,
    /// How much that is of what may wait for a reader that leaves things behind: at 1 it is
    /// slow. 0 without bounds.
    pub full: f64,
    /// When the stream began.
    pub since: Instant,
}

impl Hub {
    /// How much waits.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.fullest(0).0
    }

    /// How much waits, and the streams for which the most does of those that leave things
    /// behind, at most so many: the fullest first.
    #[must_use]
    pub fn fullest(&self, most: usize) -> (Depth, Vec<Waiting>) {
        let mut depth = Depth::default();
        // The least of them first, to make place for one that has more.
        let mut fullest = BTreeMap::new();
        let mut after = None;
        loop {
            let outboxes = self.outboxes_after(after);
            let Some((last, _)) = outboxes.last() else { break };
            after = Some(*last);
            depth.streams += outboxes.len();
            for (outlet, outbox) in outboxes {
                let (events, bytes) = outbox.waiting();
                depth.events += events;
                depth.bytes += bytes;
                depth.most_events = depth.most_events.max(events);
                // What waits for one that takes all it is given waits for this server.
                if (events, bytes) == (0, 0) || most == 0 || !outbox.is_behind() {
                    continue;
                }
                let full = self.0.bounds.full(events, bytes);
                // No float is an order; of two that are as full, the earlier stream is first.
                fullest.insert((full.to_bits(), bytes, Reverse(outlet)), (outbox, events));
                if fullest.len() > most {
                    fullest.pop_first();
                }
            }
        }
        let waiting = fullest.into_iter().rev().map(|((full, bytes, Reverse(outlet)), (outbox, events))| Waiting {
            outlet,
            owner: outbox.owner(),
            events,
            bytes,
            full: f64::from_bits(full),
            since: outbox.since(),
        });
        (depth, waiting.collect())
    }

    fn outboxes_after(&self, after: Option<OutletId>) -> Vec<(OutletId, Arc<Outbox>)> {
        let registry = lock(&self.0.registry);
        let from = after.map_or(Unbounded, Excluded);
        let outlets = registry.outlets.range((from, Unbounded)).take(AT_ONCE);
        outlets.map(|(outlet, outbox)| (*outlet, Arc::clone(outbox))).collect()
    }
}

impl Bounds {
    /// How much of them that is; not negative, so that its bits are in its order.
    #[allow(clippy::cast_precision_loss)] // A share.
    fn full(&self, events: usize, bytes: usize) -> f64 {
        let share = |waiting: usize, bound: usize| if bound == 0 { 0.0 } else { waiting as f64 / bound as f64 };
        share(events, self.events).max(share(bytes, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use bytes::{BufMut as _, Bytes};

    use super::*;
    use crate::{
        domain::{Audience, Entry, Event, Limits, Signal},
        engine::Node as _,
        hub::{Capacity, Encoding, Outlet},
        session::{Handle, View},
        telemetry::Registry,
    };

    const ENCODING: Encoding = Encoding {
        entry: |_| Bytes::from_static(b"0123456789"),
        append_entry: |_, into| into.put_bytes(0, 10),
        append_outcome: |_, _| {},
    };

    fn session(name: &str) -> SessionId {
        SessionId::parse(name, &Limits::default(), "session_id").expect("an id")
    }

    /// A stream in a session of its own, for which so many events wait.
    fn stream(hub: &Hub, name: u8, events: usize) -> Outlet {
        let outlet = hub.admit(None, Arc::default(), 1).expect("a place");
        let mut room = hub.open_room(&session(&format!("s{name}")));
        let connection = ConnectionId::from_random([name; 16]);
        room.attach(Handle { connection, generation: 1 }, View::default(), outlet.id());
        outlet.outbox().open(Box::new(std::iter::empty()), 0, true);
        let signal = Signal::parse(String::new(), String::new()).expect("a signal");
        let event = Event::Signal { from: None, audience: Audience::Everyone, signal };
        for sequence in 1..=events as u64 {
            let entry = Entry { sequence, at: SystemTime::UNIX_EPOCH, event: event.clone() };
            room.deliver(&entry, &mut Vec::new());
        }
        outlet
    }

    fn hub(limits: &Limits) -> Hub {
        Hub::new(limits, Capacity::default(), ENCODING, Arc::new(Registry::new().metrics()))
    }

    #[test]
    fn the_fullest_come_first_by_name_and_those_for_whom_nothing_waits_not_at_all() {
        let limits = Limits { outbox_events: 100, ..Limits::default() };
        let hub = hub(&limits);
        let _outlets: Vec<_> =
            [(1, 5), (2, 0), (3, 50), (4, 7), (5, 5)].map(|(name, most)| stream(&hub, name, most)).into();
        let (depth, fullest) = hub.fullest(3);
        assert_eq!(depth, Depth { streams: 5, events: 67, bytes: 670, most_events: 50 });
        assert_eq!(depth, hub.depth());
        let seen: Vec<_> = fullest
            .iter()
            .map(|one| (one.owner.as_ref().expect("it is in").0.to_string(), one.events, one.bytes))
            .collect();
        assert_eq!(seen, [("s3".to_owned(), 50, 500), ("s4".to_owned(), 7, 70), ("s1".to_owned(), 5, 50)]);
        assert!((fullest[0].full - 0.5).abs() < 1e-9);
        assert_eq!(fullest[0].owner.as_ref().expect("it is in").1, ConnectionId::from_random([3; 16]));
    }

    #[test]
    fn who_takes_all_it_is_given_is_no_slow_reader_whatever_waits() {
        let hub = hub(&Limits::default());
        let outlets = [stream(&hub, 1, 5), stream(&hub, 2, 7)];
        outlets[1].outbox().set_behind(false);
        let (depth, fullest) = hub.fullest(9);
        assert_eq!((depth.events, fullest.len(), fullest[0].events), (12, 1, 5));
    }

    #[test]
    fn without_bounds_bytes_decide() {
        let limits = Limits { outbox_events: 0, outbox_bytes: 0, ..Limits::default() };
        let hub = hub(&limits);
        let _outlets: Vec<_> = [(1, 5), (2, 9)].map(|(name, most)| stream(&hub, name, most)).into();
        let (_, fullest) = hub.fullest(9);
        assert_eq!(fullest.iter().map(|one| (one.events, one.full)).collect::<Vec<_>>(), [(9, 0.0), (5, 0.0)]);
    }

    #[test]
    fn more_streams_than_are_looked_at_at_once_are_all_looked_at() {
        let hub = hub(&Limits::default());
        let outlets: Vec<_> = (0..AT_ONCE + 10).map(|_| hub.admit(None, Arc::default(), 1).expect("a place")).collect();
        assert_eq!(hub.depth().streams, outlets.len());
    }
}
