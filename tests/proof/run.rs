//! One run: a storm of faults over members that send all along, then calm, then
//! rest, then the verdict.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::client::{Client, ConnectError};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    backend::{self, Office},
    checker::{self, Verdict},
    cluster::{Cluster, Manner},
    engines::Blow,
    faults::{self, Played},
    history::{Evidence, Outcome, Record, Rest, State},
    member,
    proxy::Proxy,
    stage::{Scene, Stage, Status, fence, pause},
};

/// How long everything may take that comes after the storm.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) seed: u64,
    pub(crate) members: usize,
    pub(crate) storm: Duration,
    /// The longest time from one end of a server to the next.
    pub(crate) restarts_within: Duration,
    /// What may happen to what nodes share, instead.
    pub(crate) blows: &'a [Blow],
    /// Nothing but servers that are drained, one after the other, as in an upgrade:
    /// the network is well, and everybody may be away for seconds.
    pub(crate) rolling: bool,
}

/// What came of a run.
pub(crate) struct Ran {
    pub(crate) evidence: Evidence,
    pub(crate) verdict: Verdict,
    pub(crate) played: Played,
    /// Between nodes and what they share.
    pub(crate) played_behind: Played,
    pub(crate) connections: u64,
    pub(crate) kills: u64,
    pub(crate) drains: u64,
    pub(crate) suspensions: u64,
    pub(crate) blows: BTreeMap<Blow, u64>,
}

/// How often servers, and what they share, were struck.
#[derive(Default)]
struct Struck {
    kills: u64,
    drains: u64,
    suspensions: u64,
    blows: BTreeMap<Blow, u64>,
}

/// The proxies of a run, past which there is no way to a server.
struct Proxies {
    faulty: Proxy,
    clean: Proxy,
}

impl Proxies {
    fn lead_to(&self, cluster: &impl Cluster, without: Option<usize>) {
        let up = cluster.addresses().into_iter().enumerate().filter(|(node, _)| Some(*node) != without);
        let up: Vec<_> = up.map(|(_, address)| address).collect();
        self.faulty.lead_to(up.clone());
        self.clean.lead_to(up);
    }
}

pub(crate) async fn run(plan: Plan<'_>, cluster: &mut impl Cluster) -> Ran {
    let addresses = cluster.addresses();
    let (seed, plan_rolling) = (plan.seed, plan.rolling);
    let proxies = Proxies {
        faulty: Proxy::start(
            move |connection| match plan_rolling {
                true => faults::Plan::default(),
                false => faults::Plan::of(seed, connection),
            },
            addresses.clone(),
        )
        .await
        .expect("a port"),
        clean: Proxy::start(|_| faults::Plan::default(), addresses).await.expect("a port"),
    };
    let [faulty, clean] = [&proxies.faulty, &proxies.clean].map(|proxy| format!("http://{}", proxy.address()));
    let office = Office::at(clean.clone()).expect("an address");
    let clients = (client(&faulty).expect("a client"), client(&clean).expect("a client"));
    let stage = Arc::new(Stage::new(plan.seed, plan.rolling, clients.0, clients.1));

    let backend = tokio::spawn(backend::push(Arc::clone(&stage), office.clone(), faulty));
    let members: Vec<_> =
        (0..plan.members).map(|number| tokio::spawn(member::live(Arc::clone(&stage), number))).collect();
    let Struck { kills, drains, suspensions, blows } = storm(plan, cluster, &proxies).await;
    proxies.faulty.calm_down();
    cluster.calm_down();
    stage.calm.cancel();
    backend.await.expect("the backend");

    let rest = timeout(PATIENCE, come_to_rest(&stage, &office)).await;
    let there = (office.session().await, office.members().await);
    let rest = rest.map_err(|_| format!("not at rest within {PATIENCE:?}: {:?}; {there:?}", *stage.statuses.borrow()));
    if rest.is_ok() {
        for member in members {
            timeout(PATIENCE, member).await.expect("a member that leaves").expect("a member");
        }
    }
    let evidence = Evidence { histories: stage.histories(), rest };
    let verdict = checker::check(&evidence);
    let (played, connections) = (proxies.faulty.played(), proxies.faulty.connections());
    let played_behind = cluster.played();
    Ran { evidence, verdict, played, played_behind, connections, kills, drains, suspensions, blows }
}

/// Quick to notice and quick to come back, so that faults turn over fast.
fn client(url: &str) -> Result<Client, ConnectError> {
    Client::builder()
        .endpoint(url)
        .back_off(Duration::from_millis(3), Duration::from_millis(100))
        .connect_timeout(Duration::from_millis(1_500))
        .give_up_after(Duration::from_secs(20))
        .build()
}

/// Servers end, now and then, and come back.
async fn storm(plan: Plan<'_>, cluster: &mut impl Cluster, proxies: &Proxies) -> Struck {
    let mut dice = StdRng::seed_from_u64(plan.seed ^ 0x5707_1234);
    let over = Instant::now() + plan.storm;
    let mut struck = Struck::default();
    loop {
        let most = plan.restarts_within.as_millis() as u64;
        let next = Instant::now() + Duration::from_millis(dice.random_range(most / 3..=most));
        // However long that takes: every node twice.
        let is_enough = !plan.rolling || struck.drains as usize >= 2 * cluster.addresses().len();
        tokio::time::sleep_until(if is_enough { next.min(over) } else { next }).await;
        if next >= over && is_enough {
            return struck;
        }
        if !plan.blows.is_empty() && dice.random_bool(0.6) {
            let blow = plan.blows[dice.random_range(0..plan.blows.len())];
            let time = pause(&mut dice, blow.at_most().as_millis() as u64);
            *struck.blows.entry(blow).or_default() += 1;
            cluster.strike(blow, time).await;
            continue;
        }
        if plan.rolling {
            let node = struck.drains as usize % cluster.addresses().len();
            proxies.lead_to(cluster, Some(node));
            cluster.stop(node, Manner::Drained).await;
            cluster.start(node).await;
            proxies.lead_to(cluster, None);
            struck.drains += 1;
            continue;
        }
        let node = dice.random_range(0..cluster.addresses().len());
        let manner = cluster.manners()[dice.random_range(0..cluster.manners().len())];
        match manner {
            Manner::Killed => struck.kills += 1,
            Manner::Drained => struck.drains += 1,
            Manner::Suspended => struck.suspensions += 1,
        }
        if manner != Manner::Drained {
            proxies.lead_to(cluster, Some(node));
        }
        cluster.stop(node, manner).await;
        proxies.lead_to(cluster, Some(node));
        sleep(pause(&mut dice, if manner == Manner::Suspended { 10_000 } else { 300 })).await;
        cluster.start(node).await;
        proxies.lead_to(cluster, None);
    }
}

/// Waits until everyone has seen the same, and all of it.
///
/// A signal from the server is the fence: nobody takes an event after it. If
/// nothing took a place after it until all had seen it, the server's list is
/// of that place, too; else there is another fence.
async fn come_to_rest(stage: &Stage, office: &Office) -> Rest {
    let recorder = stage.recorder("the fences".into());
    everyone(stage, |status| matches!(status, Status::Settled | Status::Gone)).await;
    for number in 1.. {
        let tag = fence(number);
        let (epoch, members) = all_connected(stage, office).await;
        recorder.record(Record::Sent { tag: tag.clone(), to: None });
        let told = office.tell(&tag).await;
        let sequence = told.as_ref().ok().map(|told| told.sequence);
        let outcome = match told {
            Ok(told) => Outcome::Accepted { epoch: Some(epoch), sequence: told.sequence, not_connected: Vec::new() },
            Err(_) => Outcome::Unknown,
        };
        recorder.record(Record::Decided { tag, outcome });
        if members > 0 && sequence.is_some() {
            everyone(stage, |status| matches!(status, Status::Gone) || *status == Status::Fenced(number)).await;
        }
        let before = office.session().await;
        let listed = office.members().await;
        let after = office.session().await;
        let stands = |session: Option<_>| session.map(|session: signalbox::proto::Session| session.sequence);
        if let Some(members) = listed
            && stands(before) == sequence
            && stands(after) == sequence
        {
            stage.scene.send_replace(Scene::Rest);
            return Rest { epoch, members };
        }
        stage.scene.send_replace(Scene::UpTo(number + 1));
    }
    unreachable!("there is always another number")
}

/// Waits until all members are so far.
async fn everyone(stage: &Stage, is: impl Fn(&Status) -> bool) {
    let mut statuses = stage.statuses.subscribe();
    // The stage is there as long as this.
    let _ = statuses.wait_for(|all| all.values().all(&is)).await;
}

/// Waits until exactly the members are there, and all of them connected: ghosts
/// and those that were lost have their windows. Tells the epoch and how many.
async fn all_connected(stage: &Stage, office: &Office) -> (u64, usize) {
    loop {
        let session = office.session().await;
        let there = office.members().await.unwrap_or_default();
        let live = stage.statuses.borrow().values().filter(|status| **status != Status::Gone).count();
        let connected = there.len() == live && there.values().all(|state| *state == State::Connected);
        if let Some(session) = session.filter(|_| connected) {
            return (session.epoch, live);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
