//! What was missed, found and told.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;

use crate::{
    domain::{Ending, Reason},
    session::{Command, Farewell, Handle},
};

use super::{
    Counts, Trouble,
    part::{Live, Part},
    slot::Slot,
};

/// How long events that are under way may take before they are read from the log.
const UNDER_WAY: Duration = Duration::from_millis(20);

/// How many sessions are looked at at once.
const AT_ONCE: usize = 32;

/// How streams end that can't be told all there was: their clients resume, and are told by
/// that if the log doesn't reach back.
pub(super) const LOST: Ending = Ending::Refused(Reason::EngineUnavailable);

/// Reads what a session's streams here lack from its log.
pub(super) async fn catch_up(slot: Arc<Slot>) {
    tokio::time::sleep(UNDER_WAY).await;
    'looking: loop {
        let lacks = slot.lacks();
        if lacks.is_empty() {
            break;
        }
        let live = slot.part.when_live().await;
        Counts::add(&slot.part.home.counts.catch_ups);
        for (epoch, after) in lacks {
            match live.heard(live.store.read(&mut live.redis(), &slot.id, epoch, after).await).map(|done| done.answer) {
                Ok(Some(entries)) if !entries.is_empty() => slot.read(epoch, entries),
                Ok(_) => {
                    Counts::add(&slot.part.home.counts.gaps);
                    tracing::info!(session = %slot.id, after, "events are missing that the log has no more; its streams resume");
                    slot.end_all(Some(epoch), LOST);
                    tell_gone(&slot, &live).await;
                }
                Err(trouble) => {
                    slot.part.trouble(&live, &trouble);
                    if trouble.is_final() {
                        // Not at once again: nobody waits for it to be otherwise.
                        break 'looking;
                    }
                }
            }
        }
    }
    slot.has_caught_up();
}

/// Finds out for every session with somebody here what became of it.
pub(super) async fn resync_all(part: Arc<Part>, live: Arc<Live>) {
    futures_util::stream::iter(part.slots())
        .for_each_concurrent(AT_ONCE, |slot| {
            let live = Arc::clone(&live);
            async move { resync(&slot, &live).await }
        })
        .await;
}

/// Finds out what became of a session that events may be missing of, and of its streams
/// here.
pub(super) async fn resync(slot: &Arc<Slot>, live: &Arc<Live>) {
    Counts::add(&slot.part.home.counts.resyncs);
    if let Err(trouble) = try_resync(slot, live).await {
        slot.part.trouble(live, &trouble);
    }
}

async fn try_resync(slot: &Arc<Slot>, live: &Arc<Live>) -> Result<(), Trouble> {
    for (epoch, handles) in slot.streams() {
        let done = live.heard(live.store.settle(&mut live.redis(), &slot.id, &handles).await)?;
        let (newest, are_here) = done.answer;
        if done.epoch != epoch {
            // Another life: what they had may be what nobody else has.
            slot.end_all(Some(epoch), LOST);
            continue;
        }
        slot.heard(epoch, newest);
        for (handle, is_here) in handles.into_iter().zip(are_here) {
            if !is_here {
                slot.end(handle, Farewell { ending: LOST, resumable: true, retry_after: None });
            }
        }
    }
    tell_gone(slot, live).await;
    if slot.doubts() {
        find_strangers(slot, live).await?;
    }
    Ok(())
}

/// Tells Redis of streams that went while it was away.
pub(super) async fn tell_gone(slot: &Arc<Slot>, live: &Arc<Live>) {
    for (handle, ending) in slot.take_gone() {
        if let Err(trouble) = tell_one(slot, live, handle, ending).await {
            slot.part.trouble(live, &trouble);
            slot.gone(handle, ending);
        }
    }
}

/// The same, as soon as Redis can be asked.
pub(super) async fn tell_soon(slot: Arc<Slot>) {
    let live = slot.part.when_live().await;
    tell_gone(&slot, &live).await;
    slot.part.tidy(&slot);
}

async fn tell_one(slot: &Arc<Slot>, live: &Live, handle: Handle, ending: Ending) -> Result<(), Trouble> {
    let (redis, session) = (&mut live.redis(), &slot.id);
    let done = match ending {
        Ending::Left => live.store.send(redis, session, handle, vec![Command::Leave]).await,
        ending => live.store.detach(redis, session, handle, ending).await,
    };
    let done = live.heard(done)?;
    slot.done(done);
    Ok(())
}

/// Lets go those that Redis has on this node, and that nobody here knows of: the answer to
/// a join was lost.
async fn find_strangers(slot: &Arc<Slot>, live: &Arc<Live>) -> Result<(), Trouble> {
    let mut after = 0;
    // Before it is looked: who is brought in later is somebody's to tell.
    slot.is_sure();
    let found = async {
        while let Some(page) = live.store.seated(&mut live.redis(), &slot.id, after).await? {
            let Some(last) = page.last() else { break };
            after = last.joined;
            for seated in page.iter().filter(|seated| seated.node == live.store.node() && !slot.knows(seated.handle)) {
                tell_one(slot, live, seated.handle, Ending::Broken).await?;
            }
        }
        Ok(())
    };
    let found = found.await;
    slot.doubt(found.is_err());
    slot.part.tidy(slot);
    found
}
