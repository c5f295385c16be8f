//! Who comes and goes, everywhere: what is there, and then the changes.
//!
//! As long as somebody wants to know, every script tells a channel of its partition. The
//! connection hears what came before a listing's answer before it hears that: so what was
//! told by then, and is in the listing, can be left out.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, stream};
use tokio::sync::Notify;

use crate::{
    domain::{Epoch, Reason, Refusal, Sequence, SessionId},
    engine::{Change, Watch, lock},
};

use super::{
    Beat,
    keeper::LEASE,
    keys, listing,
    part::{Attempts, Part, away},
    reply::News,
    wire::Hears,
};

/// How many changes wait for a slow watcher before it is ended.
const WATCH_BUFFER: usize = 10_000;

/// How many sessions are named in one go, and looked at at once.
const PAGE: usize = 100;
const AT_ONCE: usize = 8;

/// What one watcher hears.
#[derive(Default)]
pub(super) struct Ears {
    only: Option<SessionId>,
    heard: Mutex<Heard>,
    more: Notify,
}

#[derive(Default)]
struct Heard {
    told: VecDeque<News>,
    /// Why it hears no more.
    end: Option<Refusal>,
}

impl Ears {
    /// Something changed.
    pub(super) fn hear(&self, told: &[News]) {
        let mut heard = lock(&self.heard);
        for told in told.iter().filter(|told| self.only.as_ref().is_none_or(|only| *only == told.session)) {
            if heard.told.len() == WATCH_BUFFER {
                heard.told.clear();
                let message = format!("changes came faster than they were read; at most {WATCH_BUFFER} wait");
                heard.end = Some(Refusal::new(Reason::SlowConsumer, message));
            }
            if heard.end.is_none() {
                heard.told.push_back(told.clone());
            }
        }
        drop(heard);
        self.more.notify_one();
    }

    /// Something may have changed that nobody heard of.
    pub(super) fn lost(&self) {
        let end = away("changes may have been missed; watch again");
        lock(&self.heard).end.get_or_insert(end);
        self.more.notify_one();
    }

    fn count(&self) -> usize {
        lock(&self.heard).told.len()
    }

    async fn next(&self) -> Result<News, Refusal> {
        loop {
            let more = self.more.notified();
            {
                let mut heard = lock(&self.heard);
                if let Some(told) = heard.told.pop_front() {
                    return Ok(told);
                }
                if let Some(end) = &heard.end {
                    return Err(end.clone());
                }
            }
            more.await;
        }
    }
}

/// A watcher.
struct Watching {
    ears: Arc<Ears>,
    /// What is said next.
    pending: VecDeque<Change>,
    /// Partitions that aren't listed yet, and the name reached in the last of them.
    left: Vec<Arc<Part>>,
    reached: Option<SessionId>,
    /// Where the sessions listed were, until all that was told meanwhile is said.
    listed: HashMap<SessionId, (Epoch, Sequence)>,
    /// How much of what was told may be listed, too.
    overlap: Option<usize>,
}

/// Watches one session, or all.
pub(super) async fn watch(parts: Vec<Arc<Part>>, only: Option<SessionId>) -> Result<Watch, Refusal> {
    let parts: Vec<_> = parts.into_iter().filter(|part| only.as_ref().is_none_or(|only| part.has(only))).collect();
    let ears = Arc::new(Ears { only, ..Ears::default() });
    for part in &parts {
        listen(part, &ears).await?;
    }
    let watching =
        Watching { ears, left: parts, pending: VecDeque::new(), reached: None, listed: HashMap::new(), overlap: None };
    let changes = stream::unfold(Some(watching), |watching| async {
        let mut watching = watching?;
        match watching.next().await {
            Ok(change) => Some((Ok(change), Some(watching))),
            Err(refusal) => Some((Err(refusal), None)),
        }
    });
    Ok(Box::pin(changes))
}

/// Has a partition's scripts tell, and hears them.
async fn listen(part: &Arc<Part>, ears: &Arc<Ears>) -> Result<(), Refusal> {
    let mut attempts = Attempts::new(part);
    loop {
        let live = attempts.next().await?;
        let asked = async {
            let hears = Arc::downgrade(&(Arc::clone(part) as Arc<dyn Hears>));
            live.wire.listen(&keys::watch(part.number), hears).await?;
            // From here on it is told when something may be missed.
            part.is_watched(ears);
            let beat = Beat { lease: LEASE, watched: LEASE, patience: LEASE, ..Beat::default() };
            live.store.beat(&mut live.redis(), part.number, &beat).await
        };
        if attempts.done(&live, live.sound(asked.await), true)?.is_some() {
            return Ok(());
        }
        // That it failed was told the ears, too.
        lock(&ears.heard).end = None;
    }
}

impl Watching {
    async fn next(&mut self) -> Result<Change, Refusal> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Ok(change);
            }
            match self.overlap {
                None => self.list().await?,
                Some(overlap) => {
                    let told = self.ears.next().await?;
                    self.overlap = Some(overlap.saturating_sub(1));
                    if overlap == 0 {
                        self.listed = HashMap::new();
                    }
                    if overlap == 0 || self.is_news(&told) {
                        return Ok(told.change);
                    }
                }
            }
        }
    }

    /// Lists some more, or ends the listing.
    async fn list(&mut self) -> Result<(), Refusal> {
        let Some(part) = self.left.last().cloned() else {
            self.overlap = Some(self.ears.count());
            self.pending.push_back(Change::SnapshotComplete);
            return Ok(());
        };
        let names = match &self.ears.only {
            Some(only) => vec![only.clone()],
            None => listing::names(&part, self.reached.as_ref(), PAGE).await?,
        };
        self.reached = names.last().cloned();
        if names.len() < PAGE {
            self.left.pop();
            self.reached = None;
        }
        let part = &part;
        let mut looks = stream::iter(names)
            .map(|name| async move { (listing::look(part, &name, 0, usize::MAX >> 12).await, name) })
            .buffered(AT_ONCE);
        while let Some((looked, name)) = looks.next().await {
            let Some((facts, connections)) = looked? else { continue };
            self.pending.push_back(Change::SessionStarted(name.clone(), facts.epoch, facts.created_at));
            let created = |(joined, view)| Change::ConnectionCreated(name.clone(), joined, view);
            self.pending.extend(connections.into_iter().map(created));
            self.listed.insert(name, (facts.epoch, facts.sequence));
        }
        Ok(())
    }

    /// Whether what was told while the listing was made isn't in it.
    fn is_news(&mut self, told: &News) -> bool {
        let place = if matches!(told.change, Change::SessionEnded(..)) { Sequence::MAX } else { told.place };
        let at = (told.epoch, place);
        let is_news = match self.listed.get(&told.session) {
            Some(listed) => at > *listed,
            // It began after the listing, or was over before it.
            None => matches!(told.change, Change::SessionStarted(..)),
        };
        if is_news {
            match told.change {
                Change::SessionEnded(..) => self.listed.remove(&told.session),
                _ => self.listed.insert(told.session.clone(), at),
            };
        }
        is_news
    }
}
