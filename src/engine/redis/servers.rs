//! Which process is asked for which partition.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc, time::Duration};

use redis::{Client, RedisResult, Value};
use tokio::{sync::Mutex, time::Instant};

use super::{
    Partitions, RedisSettings, Trouble,
    keys::{self, leases},
    wire::Wire,
};

/// How long it is believed which process has which slot.
const SLOTS_KEPT: Duration = Duration::from_millis(500);

/// How many connections that are over are remembered, of processes that don't answer.
const OVER_KEPT: usize = 64;

/// The processes there are, and the connections to them.
pub(super) struct Servers {
    settings: RedisSettings,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By address; the empty one is the only server, or the sentinels' primary.
    wires: HashMap<String, Arc<Wire>>,
    /// Connections that are over, by process and their number there: what was sent on one may
    /// be on its way still, and must not be done after this node has looked at what was.
    over: Vec<(String, u64)>,
    /// A cluster's, and since when.
    slots: Option<(Instant, Vec<Slots>)>,
}

/// Some of a cluster's slots, and where they are.
struct Slots {
    all: RangeInclusive<u16>,
    host: String,
    port: u16,
}

impl Servers {
    pub(super) fn new(settings: RedisSettings) -> Self {
        Self { settings, known: Mutex::default() }
    }

    /// A connection to the process that has a partition.
    ///
    /// # Errors
    /// `Unfit` when it is none that could ever be used.
    pub(super) async fn wire(&self, partition: u16) -> Result<Arc<Wire>, Trouble> {
        // One at a time: the others find what it made.
        let mut known = self.known.lock().await;
        let any = self.any(&mut known).await?;
        if !any.is_cluster() {
            return Ok(any);
        }
        if known.slots.as_ref().is_none_or(|(since, _)| since.elapsed() > SLOTS_KEPT) {
            known.slots = Some((Instant::now(), slots(&any).await?));
        }
        let slot: u16 =
            redis::cmd("CLUSTER").arg("KEYSLOT").arg(leases(partition)).query_async(&mut any.redis()).await?;
        let all = known.slots.as_ref().map_or(&[][..], |(_, all)| all);
        let found = all.iter().find(|slots| slots.all.contains(&slot));
        let Slots { host, port, .. } = found.ok_or(Trouble::Nonsense("no server has this slot"))?;
        let (host, port) = (host.clone(), *port);
        let client = self.settings.other(host.clone(), port)?;
        open(&mut known, &format!("{host}:{port}"), &client).await
    }

    /// Any process: of a cluster, whichever is there.
    async fn any(&self, known: &mut Known) -> Result<Arc<Wire>, Trouble> {
        let Known { wires, over, .. } = known;
        wires.retain(|_, wire| {
            if wire.is_closed() {
                over.push((wire.run_id().to_owned(), wire.number()));
            }
            !wire.is_closed()
        });
        over.drain(..over.len().saturating_sub(OVER_KEPT));
        if let Some(wire) = known.wires.values().next() {
            return Ok(Arc::clone(wire));
        }
        let mut opened = Err(Trouble::Nonsense("no server is named"));
        for client in self.settings.clients().await? {
            opened = open(known, "", &client).await;
            if opened.is_ok() {
                break;
            }
        }
        opened
    }
}

async fn open(known: &mut Known, address: &str, client: &Client) -> Result<Arc<Wire>, Trouble> {
    if let Some(wire) = known.wires.get(address) {
        return Ok(Arc::clone(wire));
    }
    let wire = Arc::new(Wire::open(client).await?);
    let (here, elsewhere) = known.over.iter().cloned().partition(|(process, _)| process == wire.run_id());
    let here: Vec<(String, u64)> = here;
    wire.end_others(here.into_iter().map(|(_, number)| number)).await?;
    known.over = elsewhere;
    known.wires.insert(address.to_owned(), Arc::clone(&wire));
    Ok(wire)
}

/// Which process has which slots.
async fn slots(wire: &Wire) -> RedisResult<Vec<Slots>> {
    let found: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut wire.redis()).await?;
    let mut slots = Vec::new();
    for range in found {
        let [first, last, primary, ..] = &range[..] else { continue };
        let (first, last): (u16, u16) =
            (redis::from_redis_value(first.clone())?, redis::from_redis_value(last.clone())?);
        let Value::Array(primary) = primary else { continue };
        let [host, port, ..] = &primary[..] else { continue };
        let (host, port): (Option<String>, u16) =
            (redis::from_redis_value(host.clone())?, redis::from_redis_value(port.clone())?);
        // One without a name is the one asked, by the name that it was asked by.
        let host = host.filter(|host| !host.is_empty() && host != "?").unwrap_or_else(|| wire.host().to_owned());
        slots.push(Slots { all: first..=last, host, port });
    }
    Ok(slots)
}

impl RedisSettings {
    /// Whether this Redis will do, for nodes that divide its sessions so: it may not be
    /// there yet, or no more.
    ///
    /// # Errors
    /// What is to be mended before it is of use.
    pub async fn check(&self, partitions: Partitions) -> Result<(), String> {
        let found = match Servers::new(self.clone()).wire(0).await {
            Ok(wire) => same_partitions(&wire, partitions).await,
            Err(trouble) => Err(trouble),
        };
        match found {
            Err(Trouble::Unfit(why)) => Err(why),
            Err(trouble) => {
                tracing::warn!(%trouble, "Redis isn't there yet; nobody can join until it is");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Whether all nodes divide the sessions alike; the first says how.
pub(super) async fn same_partitions(wire: &Wire, partitions: Partitions) -> Result<(), Trouble> {
    let (mut redis, key) = (wire.redis(), keys::partitions());
    redis::cmd("SET").arg(&key).arg(partitions.count()).arg("NX").exec_async(&mut redis).await?;
    let theirs: u16 = redis::cmd("GET").arg(&key).query_async(&mut redis).await?;
    if theirs == partitions.count() {
        return Ok(());
    }
    let ours = partitions.count();
    Err(Trouble::Unfit(format!(
        "the other nodes divide its sessions into {theirs} partitions, and this one into {ours}"
    )))
}
