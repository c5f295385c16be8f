//! The streams of this node: their outboxes, fan-out, slow readers and drain.
//!
//! Layer 3: an engine decides and the hub delivers; it knows neither gRPC nor
//! protobuf (how events are encoded is handed to it).

mod bell;
mod chain;
mod depth;
mod drain;
mod outbox;
mod reading;
mod room;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::{
    domain::{Budget, Ending, Entry, Limits, MEMORY_STEP, Reason, Refusal, Relief, SessionId},
    engine::{Node, OutletId, Room, lock},
    session::SendResult,
    telemetry::{Cap, Metrics},
};

pub use bell::{Bell, Bits};
pub use depth::{Depth, Waiting};
pub use outbox::{Bounds, Goodbye, Outbox, Preamble};
pub use reading::{Next, Reading};

/// How the hub's node turns what happens into the bytes that streams carry.
#[derive(Clone, Copy)]
pub struct Encoding {
    /// An event.
    pub entry: fn(&Entry) -> Bytes,
    /// Appends an event: several make one block.
    pub append_entry: fn(&Entry, &mut BytesMut),
    /// Appends the outcome of a send.
    pub append_outcome: fn(&SendResult, &mut BytesMut),
}

/// How many streams a node takes; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// In all.
    pub streams: usize,
    /// From one IP address.
    pub streams_per_address: usize,
}

/// The streams of this node. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    capacity: Capacity,
    bounds: Bounds,
    encoding: Encoding,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    registry: Mutex<Registry>,
    /// How many streams there are, for those that wait for none.
    streams: watch::Sender<usize>,
    /// Nothing new is taken; set under the registry's lock.
    going_away: AtomicBool,
    draining: watch::Sender<bool>,
    /// Every stream has been told to end: there is nobody to deliver to.
    quiet: AtomicBool,
}

#[derive(Default)]
struct Registry {
    next: u64,
    /// Ordered, so that a drain ends them in the order they came.
    outlets: BTreeMap<OutletId, Arc<Outbox>>,
    by_address: HashMap<IpAddr, usize>,
}

impl Hub {
    /// A hub without streams.
    #[must_use]
    pub fn new(limits: &Limits, capacity: Capacity, encoding: Encoding, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            capacity,
            bounds: Bounds::from(limits),
            encoding,
            metrics,
            budget: Arc::new(Budget::new(limits.memory_for_signals)),
            registry: Mutex::default(),
            streams: watch::Sender::new(0),
            going_away: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            quiet: AtomicBool::new(false),
        }))
    }

    /// Takes a stream in, whose reading side hears this bit of this bell. Its
    /// place is given back when the [`Outlet`] is dropped.
    ///
    /// # Errors
    /// `SERVER_FULL`; `GOING_AWAY` while draining.
    pub fn admit(&self, address: Option<IpAddr>, bell: Arc<Bell>, bit: Bits) -> Result<Outlet, Refusal> {
        let capacity = self.0.capacity;
        let mut registry = lock(&self.0.registry);
        self.takes(registry.next, registry.outlets.len())?;
        let full = |cap: Cap, count: usize, most: usize, whose: &str| {
            let message = format!("{whose} has {count} streams; the limit is {most}, given one more");
            self.0.metrics.caps.hit(cap, &message);
            Err(Refusal::new(Reason::ServerFull, message).retry_after(Duration::from_secs(1)))
        };
        let count = registry.outlets.len();
        if capacity.streams != 0 && count >= capacity.streams {
            return full(Cap::Streams, count, capacity.streams, "the server");
        }
        if let Some(address) = address {
            let count = registry.by_address.entry(address).or_default();
            if capacity.streams_per_address != 0 && *count >= capacity.streams_per_address {
                return full(Cap::StreamsPerAddress, *count, capacity.streams_per_address, "your address");
            }
            *count += 1;
        }
        registry.next += 1;
        let id = OutletId(registry.next);
        let outbox = Arc::new(Outbox::new(self.0.bounds, &self.0.budget, bell, bit));
        self.0.budget.enter();
        registry.outlets.insert(id, Arc::clone(&outbox));
        drop(registry);
        self.0.streams.send_modify(|streams| *streams += 1);
        Ok(Outlet { id, address, outbox, hub: Arc::clone(&self.0) })
    }

    /// Makes place when too much waits: the readers that have the most waiting are
    /// closed as slow. To be called now and then, for those that nothing more is
    /// sent to, and that therefore never overflow.
    pub fn relieve(&self) {
        let mut excess = self.0.budget.too_much_waits();
        if excess == 0 {
            return;
        }
        let outboxes: Vec<_> = lock(&self.0.registry).outlets.values().cloned().collect();
        let mut fullest: Vec<_> = outboxes.iter().map(|outbox| (outbox.waiting().1, outbox)).collect();
        fullest.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        let closed = fullest.iter().take_while(|(bytes, outbox)| {
            let goes_on = excess > 0 && *bytes > MEMORY_STEP;
            if goes_on {
                outbox.end(Ending::SlowConsumer, None, None);
                excess = excess.saturating_sub(*bytes);
            }
            goes_on
        });
        self.0.budget.relieve(Relief::Readers, closed.count());
    }

    /// What may be spent on signals here.
    #[must_use]
    pub fn memory(&self) -> &Arc<Budget> {
        &self.0.budget
    }

    /// What counts what happens here.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }
}

impl Node for Hub {
    fn open_room(&self, session: &SessionId) -> Box<dyn Room> {
        Box::new(room::HubRoom::new(Arc::clone(&self.0), session.clone()))
    }

    fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.0.budget)
    }
}

impl Inner {
    fn outbox(&self, outlet: OutletId) -> Option<Arc<Outbox>> {
        lock(&self.registry).outlets.get(&outlet).cloned()
    }
}

/// One stream's place in the hub; dropping it gives the place back.
pub struct Outlet {
    id: OutletId,
    address: Option<IpAddr>,
    outbox: Arc<Outbox>,
    hub: Arc<Inner>,
}

impl Outlet {
    /// The name that engines know it by.
    #[must_use]
    pub fn id(&self) -> OutletId {
        self.id
    }

    /// What waits for the client.
    #[must_use]
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Counts how the stream ended.
    pub fn closed(&self, ending: Ending) {
        self.hub.metrics.closed(ending);
        if ending == Ending::SlowConsumer {
            let Bounds { events, bytes, .. } = self.hub.bounds;
            let what = format_args!(
                "a reader is closed: more than {events} events or {bytes} bytes waited for it, or more than its share \
                 of the memory for signals, or it took nothing for too long"
            );
            self.hub.metrics.caps.hit(Cap::Reader, what);
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut registry = lock(&self.hub.registry);
        registry.outlets.remove(&self.id);
        self.hub.budget.leave();
        if let Some(address) = self.address
            && let Some(count) = registry.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                registry.by_address.remove(&address);
            }
        }
        drop(registry);
        self.hub.streams.send_modify(|streams| *streams -= 1);
    }
}
