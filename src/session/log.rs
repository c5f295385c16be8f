//! The session's newest events, kept for those that come back.
//!
//! Hardly any of them is ever read again, and a busy session has a thousand: a
//! signal is kept as what it says, one behind the other in segments, and not as
//! the allocations that it came in, each of which would be a visit to memory that
//! is long out of the caches, when it is made and again when it is freed. Those
//! that come back share the segments until they were told.

use std::{collections::VecDeque, fmt, mem, sync::Arc, time::SystemTime};

use crate::domain::{Audience, ConnectionId, Entry, Event, Limits, Sequence, Signal};

use super::effect::View;

/// A segment takes no more events, or texts, when it has so many, or bytes. It
/// is freed whole: so many more than the bounds say stay in memory at most.
const SEGMENT_EVENTS: usize = 64;
const SEGMENT_BYTES: usize = 16 * 1_024;

/// An event of a segment.
#[derive(Clone, Debug)]
enum Kept {
    /// The texts of a signal, and those it is for, unless that is everyone, are
    /// the segment's next.
    Signal { at: SystemTime, from: Option<ConnectionId>, to: Option<u16>, kind: u8, data: u16 },
    /// What comes seldom.
    Other(Arc<Entry>),
}

impl Kept {
    /// How many recipients, and how many bytes of text, of its segment it has.
    fn lengths(&self) -> (usize, usize) {
        match self {
            Self::Signal { to, kind, data, .. } => (to.unwrap_or(0).into(), usize::from(*kind) + usize::from(*data)),
            Self::Other(_) => (0, 0),
        }
    }

    /// How many bytes it takes.
    fn size(&self) -> usize {
        let (ids, text) = self.lengths();
        let own = match self {
            Self::Signal { .. } => 0,
            Self::Other(entry) => entry.size(),
        };
        mem::size_of::<Self>() + ids * mem::size_of::<ConnectionId>() + text + own
    }
}

/// Some events that follow each other.
#[derive(Clone, Debug, Default)]
struct Segment {
    kept: Vec<Kept>,
    ids: Vec<ConnectionId>,
    text: String,
    /// How many bytes the events have that are not taken apart.
    others: usize,
}

impl Segment {
    fn is_full(&self) -> bool {
        self.kept.len() >= SEGMENT_EVENTS || self.text.len() + mem::size_of_val(&*self.ids) >= SEGMENT_BYTES
    }

    /// How many bytes of memory it takes.
    fn held(&self) -> usize {
        self.others
            + self.kept.capacity() * mem::size_of::<Kept>()
            + self.ids.capacity() * mem::size_of::<ConnectionId>()
            + self.text.capacity()
    }

    /// Adds an event; how many bytes it takes.
    fn push(&mut self, entry: &Arc<Entry>) -> usize {
        let kept = self.signal(entry).unwrap_or_else(|| Kept::Other(Arc::clone(entry)));
        let size = kept.size();
        if let Kept::Other(entry) = &kept {
            self.others += entry.size();
        }
        self.kept.push(kept);
        size
    }

    /// Takes a signal in, if it is one and of a usual size.
    fn signal(&mut self, entry: &Entry) -> Option<Kept> {
        let Event::Signal { from, audience, signal } = &entry.event else { return None };
        let (kind, data) = (signal.kind().as_str(), signal.data());
        let to = match audience {
            Audience::Everyone => None,
            Audience::Only(ids) => Some(u16::try_from(ids.len()).ok()?),
        };
        let kept = Kept::Signal {
            at: entry.at,
            from: *from,
            to,
            kind: u8::try_from(kind.len()).ok()?,
            data: u16::try_from(data.len()).ok()?,
        };
        if let Audience::Only(ids) = audience {
            self.ids.extend_from_slice(ids);
        }
        self.text.push_str(kind);
        self.text.push_str(data);
        Some(kept)
    }
}

/// A place in a segment.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    event: usize,
    id: usize,
    text: usize,
}

impl Place {
    /// Goes past the event that is here.
    fn pass(&mut self, kept: &Kept) {
        let (ids, text) = kept.lengths();
        self.event += 1;
        self.id += ids;
        self.text += text;
    }

    /// The event that is here, as it was.
    fn read(&self, segment: &Segment, kept: &Kept, sequence: Sequence) -> Arc<Entry> {
        match kept {
            Kept::Other(entry) => Arc::clone(entry),
            Kept::Signal { at, from, to, kind, .. } => {
                let (ids, text) = kept.lengths();
                let (kind, data) = segment.text[self.text..][..text].split_at((*kind).into());
                let audience = match to {
                    None => Audience::Everyone,
                    Some(_) => Audience::Only(segment.ids[self.id..][..ids].to_vec()),
                };
                let signal = Signal::again(kind, data);
                Arc::new(Entry { sequence, at: *at, event: Event::Signal { from: *from, audience, signal } })
            }
        }
    }
}

/// A bounded tail of the session's order, without holes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    segments: VecDeque<Arc<Segment>>,
    /// Where its oldest event is in the first segment.
    begin: Place,
    events: usize,
    bytes: usize,
    /// How many bytes of memory its segments take, what is forgotten of the first
    /// included.
    held: usize,
}

impl Log {
    /// Adds the next event and forgets the oldest beyond the bounds.
    pub(super) fn push(&mut self, entry: &Arc<Entry>, limits: &Limits) {
        // One that somebody who came back shares stays as it is.
        let open = self.segments.back_mut().and_then(Arc::get_mut).filter(|last| !last.is_full());
        self.bytes += match open {
            Some(last) => {
                let before = last.held();
                let size = last.push(entry);
                self.held += last.held() - before;
                size
            }
            None => {
                let mut next = Segment::default();
                let size = next.push(entry);
                self.held += next.held();
                self.segments.push_back(Arc::new(next));
                size
            }
        };
        self.events += 1;
        while limits.exceeds(self.events, limits.log_events) || limits.exceeds(self.bytes, limits.log_bytes) {
            if !self.pop() {
                break;
            }
        }
    }

    /// Forgets the oldest. Whether there was one.
    fn pop(&mut self) -> bool {
        let Some(first) = self.segments.front() else { return false };
        let Some(oldest) = first.kept.get(self.begin.event) else { return false };
        self.begin.pass(oldest);
        self.bytes -= oldest.size();
        self.events -= 1;
        if self.begin.event == first.kept.len() {
            self.held -= first.held();
            self.segments.pop_front();
            self.begin = Place::default();
        }
        true
    }

    /// How many bytes of memory it takes.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Forgets the oldest until it takes so many bytes of memory at most. How
    /// many events were forgotten.
    pub(super) fn shrink(&mut self, most: usize) -> usize {
        let before = self.events;
        while self.held > most && self.pop() {}
        before - self.events
    }

    /// Everything after `sequence` that `view` entitles the connection `me` to, if
    /// the log reaches back to it. `newest` is the session's newest sequence.
    pub(super) fn after(&self, sequence: Sequence, newest: Sequence, view: &View, me: ConnectionId) -> Option<Missed> {
        let missing = usize::try_from(newest.checked_sub(sequence)?).ok()?;
        let mut before = self.events.checked_sub(missing)?;
        let mut begin = self.begin;
        let mut segments = self.segments.iter();
        while let Some(first) = segments.clone().next() {
            let rest = &first.kept[begin.event..];
            rest.iter().take(before).for_each(|kept| begin.pass(kept));
            if before < rest.len() {
                break;
            }
            before -= rest.len();
            begin = Place::default();
            segments.next();
        }
        Some(Missed { segments: segments.cloned().collect(), begin, sequence, entitled: Some((view.clone(), me)) })
    }

    /// How many events and bytes it holds.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.events, self.bytes)
    }
}

/// The events that a client missed and is entitled to, in their order.
///
/// It shares the session's log until it is dropped, and finds out one by one
/// which they are.
#[derive(Clone, Default)]
pub struct Missed {
    segments: VecDeque<Arc<Segment>>,
    begin: Place,
    /// The place before the first.
    sequence: Sequence,
    /// By what, and who; all, when nothing says so.
    entitled: Option<(View, ConnectionId)>,
}

impl Missed {
    /// The events.
    pub fn iter(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.clone().into_iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// How many there are; looks at each.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// How many bytes of memory it takes, or keeps from being freed.
    #[must_use]
    pub fn held(&self) -> usize {
        self.segments.iter().map(|segment| segment.held()).sum()
    }
}

impl Iterator for IntoIter {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        let Missed { segments, begin, sequence, entitled } = &mut self.0;
        loop {
            let segment = segments.front()?;
            let Some(kept) = segment.kept.get(begin.event) else {
                segments.pop_front();
                *begin = Place::default();
                continue;
            };
            *sequence += 1;
            let entry = begin.read(segment, kept, *sequence);
            begin.pass(kept);
            if entitled.as_ref().is_none_or(|(view, me)| view.admits(&entry, *me)) {
                return Some(entry);
            }
        }
    }
}

/// What a client missed, one by one: a segment is let go of when it was read.
pub struct IntoIter(Missed);

impl IntoIterator for Missed {
    type Item = Arc<Entry>;
    type IntoIter = IntoIter;

    fn into_iter(self) -> IntoIter {
        IntoIter(self)
    }
}

/// Of events that are all for the client, of an engine that keeps no such log.
impl FromIterator<Arc<Entry>> for Missed {
    fn from_iter<I: IntoIterator<Item = Arc<Entry>>>(entries: I) -> Self {
        let kept = entries.into_iter().map(Kept::Other).collect();
        let segment = Segment { kept, ..Segment::default() };
        Self { segments: [Arc::new(segment)].into(), ..Self::default() }
    }
}

impl PartialEq for Missed {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Missed {}

impl fmt::Debug for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const ME: u8 = 1;

    fn id(name: u8) -> ConnectionId {
        ConnectionId::from_random([name; 16])
    }

    fn filled(count: u64, limits: &Limits) -> Log {
        let mut log = Log::default();
        for sequence in 1..=count {
            let event = Event::Interrupted(id(0));
            log.push(&Arc::new(Entry { sequence, at: SystemTime::UNIX_EPOCH, event }), limits);
        }
        log
    }

    fn all_after(log: &Log, sequence: Sequence, newest: Sequence) -> Option<Missed> {
        log.after(sequence, newest, &View::default(), id(ME))
    }

    fn after(log: &Log, sequence: Sequence, newest: Sequence) -> Option<Vec<Sequence>> {
        all_after(log, sequence, newest).map(|entries| entries.iter().map(|entry| entry.sequence).collect())
    }

    #[test]
    fn it_reaches_back_as_far_as_its_bound() {
        let log = filled(10, &Limits { log_events: 3, ..Limits::default() });
        assert_eq!(after(&log, 7, 10), Some(vec![8, 9, 10]));
        assert_eq!(after(&log, 10, 10), Some(vec![]));
        assert_eq!(after(&log, 6, 10), None);
        assert_eq!(after(&log, 11, 10), None);
    }

    #[test]
    fn it_is_bounded_by_bytes_too() {
        let one = filled(1, &Limits::default()).size().1;
        let log = filled(10, &Limits { log_bytes: one * 4, ..Limits::default() });
        assert_eq!(log.size(), (4, one * 4));
    }

    #[test]
    fn a_log_too_small_for_one_event_is_empty_and_honest() {
        let log = filled(2, &Limits { log_bytes: 1, ..Limits::default() });
        assert_eq!(log.size(), (0, 0));
        assert_eq!(after(&log, 1, 2), None);
        assert_eq!(after(&log, 2, 2), Some(vec![]));
    }

    #[test]
    fn it_shrinks_to_what_it_may_have_and_is_honest() {
        let mut log = filled(1_000, &Limits::default());
        let most = log.held() / 2;
        assert_eq!(log.shrink(usize::MAX), 0);
        let forgotten = log.shrink(most);
        assert!(log.held() <= most && log.held() > most / 2, "{} of {most}", log.held());
        assert_eq!(log.size().0, 1_000 - forgotten);
        assert_eq!(after(&log, forgotten as Sequence - 1, 1_000), None);
        assert_eq!(after(&log, 999, 1_000), Some(vec![1_000]));
        log.shrink(0);
        assert_eq!((log.held(), log.size()), (0, (0, 0)));
        assert_eq!(after(&log, 999, 1_000), None);
        assert_eq!(after(&log, 1_000, 1_000), Some(vec![]));
    }

    #[test]
    fn zero_is_no_bound() {
        let log = filled(5_000, &Limits { log_events: 0, log_bytes: 0, ..Limits::default() });
        assert_eq!(log.size().0, 5_000);
    }

    #[test]
    fn what_it_forgets_it_frees_but_for_a_segment() {
        let log = filled(5_000, &Limits { log_events: 100, ..Limits::default() });
        let kept: usize = log.segments.iter().map(|segment| segment.kept.len()).sum();
        assert!((100..100 + SEGMENT_EVENTS).contains(&kept), "{kept}");
    }

    #[test]
    fn who_came_back_is_told_what_was_there_then() {
        let mut log = filled(100, &Limits::default());
        let missed = all_after(&log, 90, 100).unwrap();
        let limits = Limits { log_events: 2, ..Limits::default() };
        for sequence in 101..=300 {
            let event = Event::Restored(id(0));
            log.push(&Arc::new(Entry { sequence, at: SystemTime::UNIX_EPOCH, event }), &limits);
        }
        assert_eq!(missed.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), (91..=100).collect::<Vec<_>>());
        assert_eq!((missed.len(), missed.is_empty()), (10, false));
        assert_eq!(missed.iter().collect::<Missed>(), missed);
    }

    fn events() -> impl Strategy<Value = Event> {
        let audience = prop_oneof![
            Just(Audience::Everyone),
            prop::collection::vec(0_u8..4, 0..4).prop_map(|to| Audience::only(to.into_iter().map(id).collect())),
        ];
        let signal = ("[a-z]{0,128}", prop_oneof![".{0,80}", Just("\u{e9}".repeat(4_096))])
            .prop_map(|(kind, data)| Signal::parse(kind, data).expect("a signal"));
        prop_oneof![
            (prop::option::of(0_u8..4), audience, signal).prop_map(|(from, audience, signal)| Event::Signal {
                from: from.map(id),
                audience,
                signal
            }),
            (0_u8..4).prop_map(|name| Event::Interrupted(id(name))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_pushed(
            events in prop::collection::vec(events(), 1..300),
            bound in 1_usize..200,
            behind in 0_usize..250,
            suppress_own_signals in any::<bool>(),
        ) {
            let limits = Limits { log_events: bound, log_bytes: 100_000, ..Limits::default() };
            let at = |sequence| SystemTime::UNIX_EPOCH + Duration::from_millis(sequence);
            let entries: Vec<_> = (1..)
                .zip(events)
                .map(|(sequence, event)| Arc::new(Entry { sequence, at: at(sequence), event }))
                .collect();
            let mut log = Log::default();
            entries.iter().for_each(|entry| log.push(entry, &limits));
            let (held, bytes) = log.size();
            prop_assert!(held <= bound && bytes <= 100_000);
            prop_assert_eq!(log.held(), log.segments.iter().map(|segment| segment.held()).sum::<usize>());
            prop_assert!(log.held() <= 2 * (bytes + 16 * SEGMENT_BYTES), "{} for {bytes}", log.held());
            let newest = entries.len() as Sequence;
            let view = View { suppress_own_signals, ..View::default() };
            let since = newest.saturating_sub(behind as Sequence);
            let missed = log.after(since, newest, &view, id(ME));
            if entries.len() - since as usize > held {
                prop_assert_eq!(missed, None);
            } else {
                let expected: Missed =
                    entries[since as usize..].iter().filter(|entry| view.admits(entry, id(ME))).cloned().collect();
                prop_assert_eq!(missed, Some(expected));
            }
        }
    }
}
