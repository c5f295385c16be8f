//! A history cut into stretches: what one connection saw with no gap.

use std::collections::BTreeMap;

use super::violation::{Kind, Violation};
use crate::history::{Entry, History, Members, Place, Record, Thing};

/// A membership that a client had at a place.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) sequence: u64,
    pub(crate) members: Members,
}

/// What one connection saw, complete from one place to another.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) client: usize,
    pub(crate) connection: String,
    pub(crate) epoch: u64,
    /// It is complete after this.
    pub(crate) from: u64,
    /// It is complete up to this; at rest to whatever comes.
    pub(crate) to: u64,
    /// Whether the connection was created at `from`.
    pub(crate) creates: bool,
    pub(crate) saw: BTreeMap<u64, Thing>,
    pub(crate) views: Vec<View>,
}

impl Stretch {
    pub(crate) fn covers(&self, sequence: u64) -> bool {
        self.from < sequence && sequence <= self.to
    }
}

/// Cuts histories, and finds what no history may have.
#[derive(Default)]
pub(super) struct Cutter {
    pub(super) stretches: Vec<Stretch>,
    pub(super) violations: Vec<Violation>,
    pub(super) resumes: usize,
    pub(super) gaps: Gaps,
}

/// The gaps that were reported, by what had happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gaps {
    /// The same connection, and the log didn't reach back.
    pub(crate) short_log: usize,
    /// Another connection in the same epoch.
    pub(crate) connection: usize,
    /// Another epoch.
    pub(crate) epoch: usize,
}

impl Gaps {
    pub(crate) fn all(&self) -> usize {
        self.short_log + self.connection + self.epoch
    }
}

impl Cutter {
    pub(super) fn cut(&mut self, client: usize, history: &History) {
        let mut cut = Cut { of: self, client, name: &history.name, current: None, joined: false, over: false };
        for record in &history.records {
            cut.take(record);
        }
        cut.close();
    }
}

struct Cut<'a> {
    of: &'a mut Cutter,
    client: usize,
    name: &'a str,
    current: Option<Stretch>,
    joined: bool,
    over: bool,
}

impl Cut<'_> {
    fn violation(&mut self, kind: Kind, place: Option<Place>, what: String) {
        let mut violation = Violation::new(kind, format!("{} {what}", self.name)).of(self.client);
        violation.place = place;
        self.of.violations.push(violation);
    }

    fn close(&mut self) {
        self.of.stretches.extend(self.current.take());
    }

    fn open(&mut self, entry: &Entry, creates: bool) {
        self.close();
        self.current = Some(Stretch {
            client: self.client,
            connection: entry.connection.clone(),
            epoch: entry.place.epoch,
            from: entry.place.sequence,
            to: entry.place.sequence,
            creates,
            saw: BTreeMap::new(),
            views: vec![View { sequence: entry.place.sequence, members: entry.members.clone() }],
        });
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Sent { .. } | Record::Decided { .. } | Record::Reconnecting => {}
            _ if self.over => self.violation(Kind::Impossible, None, format!("was over before {record:?}")),
            Record::Joined(entry) => {
                if self.joined {
                    self.violation(Kind::Impossible, Some(entry.place), "joined twice".into());
                }
                self.joined = true;
                self.open(entry, true);
            }
            Record::Disconnected { .. } => {
                self.over = true;
                self.close();
            }
            Record::Reconnected { .. } | Record::Saw { .. } | Record::AtRest { .. } if self.current.is_none() => {
                self.violation(Kind::Impossible, None, format!("hadn't joined before {record:?}"));
            }
            Record::Reconnected { gap: true, entry } => self.came_back_with_a_gap(entry),
            Record::Reconnected { gap: false, entry } => self.resumed(entry),
            Record::Saw { place, thing } => self.saw(*place, thing),
            Record::AtRest { members } => {
                if let Some(current) = &mut self.current {
                    current.to = u64::MAX;
                    current.views.push(View { sequence: u64::MAX, members: members.clone() });
                }
            }
        }
    }

    fn came_back_with_a_gap(&mut self, entry: &Entry) {
        let Some(current) = &self.current else { return };
        let (anew, last) = (current.connection != entry.connection, Place::new(current.epoch, current.to));
        let gaps = &mut self.of.gaps;
        match (current.epoch == entry.place.epoch, anew) {
            (true, false) => gaps.short_log += 1,
            (true, true) => gaps.connection += 1,
            (false, _) => gaps.epoch += 1,
        }
        if entry.place < last || (anew && entry.place == last) {
            let what = format!("came back at {}, though it had been at {last}", entry.place);
            self.violation(Kind::OutOfOrder, Some(entry.place), what);
        }
        self.open(entry, anew);
    }

    fn resumed(&mut self, entry: &Entry) {
        self.of.resumes += 1;
        let Some(current) = &mut self.current else { return };
        if (current.epoch, &current.connection) != (entry.place.epoch, &entry.connection) {
            let (epoch, connection) = (current.epoch, current.connection.clone());
            let what = format!(
                "reported no gap, though {connection} in {epoch} became {} at {}",
                entry.connection, entry.place
            );
            self.violation(Kind::Silence, Some(entry.place), what);
            // Judged on as if it had reported one.
            let anew = connection != entry.connection;
            return self.open(entry, anew);
        }
        if entry.place.sequence < current.to {
            let what = format!("resumed at {}, though it had seen {}", entry.place, current.to);
            return self.violation(Kind::OutOfOrder, Some(entry.place), what);
        }
        current.to = entry.place.sequence;
        current.views.push(View { sequence: entry.place.sequence, members: entry.members.clone() });
    }

    fn saw(&mut self, place: Place, thing: &Thing) {
        let Some(current) = &mut self.current else { return };
        if current.epoch != place.epoch {
            let what = format!("saw {thing} at {place}, and never heard of an end of {}", current.epoch);
            let connection = current.connection.clone();
            self.violation(Kind::Silence, Some(place), what);
            // Judged on from there; whom it sees isn't known.
            let before = Place::new(place.epoch, place.sequence.saturating_sub(1));
            self.open(&Entry { place: before, connection, members: Members::new() }, false);
            let Some(current) = &mut self.current else { return };
            current.views.clear();
            return self.saw(place, thing);
        }
        if place.sequence > current.to {
            current.to = place.sequence;
            current.saw.insert(place.sequence, thing.clone());
        } else if current.saw.get(&place.sequence) == Some(thing) {
            self.violation(Kind::Repeated, Some(place), format!("saw {thing} at {place} twice"));
        } else {
            let after = current.to;
            current.saw.entry(place.sequence).or_insert_with(|| thing.clone());
            self.violation(Kind::OutOfOrder, Some(place), format!("saw {thing} at {place} after {after}"));
        }
    }
}
