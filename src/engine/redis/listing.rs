//! What there is, in all partitions.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    domain::{Refusal, Sequence, SessionId},
    engine::Page,
    session::{ConnectionView, Facts},
};

use super::part::{Attempts, Part};

type Looked = Option<(Facts, Vec<(Sequence, ConnectionView)>)>;

/// Looks at a session.
pub(super) async fn look(part: &Part, session: &SessionId, after: Sequence, most: usize) -> Result<Looked, Refusal> {
    let mut attempts = Attempts::new(part);
    loop {
        let live = attempts.next().await?;
        let looked = live.sound(live.store.look(&mut live.redis(), session, after, most).await);
        if let Some(looked) = attempts.done(&live, looked, true)? {
            return Ok(looked);
        }
    }
}

/// The names of the sessions of a partition after this one, in their order.
pub(super) async fn names(part: &Part, after: Option<&SessionId>, most: usize) -> Result<Vec<SessionId>, Refusal> {
    let mut attempts = Attempts::new(part);
    loop {
        let live = attempts.next().await?;
        let names = live.sound(live.store.names(&mut live.redis(), part.number, after, most).await);
        if let Some(names) = attempts.done(&live, names, true)? {
            return Ok(names);
        }
    }
}

/// The sessions after this one, in the order of their names.
pub(super) async fn sessions(
    parts: &[Arc<Part>],
    after: Option<SessionId>,
    most: usize,
) -> Result<Page<(SessionId, Facts)>, Refusal> {
    let mut after = after;
    let mut items = Vec::new();
    loop {
        let wanted = most + 1 - items.len();
        let of_parts = parts.iter().map(|part| names(part, after.as_ref(), wanted));
        let mut found = BTreeSet::new();
        for names in futures_util::future::try_join_all(of_parts).await? {
            found.extend(names);
        }
        if found.is_empty() {
            return Ok(Page { items, more: false });
        }
        for name in found.into_iter().take(wanted) {
            let part = parts.iter().find(|part| part.has(&name));
            // One that ended meanwhile is none.
            if let Some(part) = part
                && let Some((facts, _)) = look(part, &name, 0, 0).await?
            {
                if items.len() == most {
                    return Ok(Page { items, more: true });
                }
                items.push((name.clone(), facts));
            }
            after = Some(name);
        }
    }
}
