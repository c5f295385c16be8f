//! Which sessions a caller wants to see.

use std::cmp::Ordering;

#[cfg(any(feature = "cli", test))]
use super::snapshot::SessionRow;

/// The most sessions that one answer has.
pub(super) const MOST_SESSIONS: usize = 1_000;
/// How many it has unless told.
const SESSIONS: usize = 20;
/// The longest filter, in bytes: as long as a session's name may be.
const MOST_FILTER: usize = 255;

/// By what sessions are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Sort {
    /// Their events per second.
    #[default]
    Rate,
    /// Their connections, interrupted ones included.
    Connections,
    /// Their interrupted connections.
    Interrupted,
    /// Their newest place.
    Sequence,
    /// How long they have been there.
    Age,
    /// Their names.
    Name,
}

impl Sort {
    pub(crate) const ALL: [Self; 6] =
        [Self::Name, Self::Connections, Self::Interrupted, Self::Rate, Self::Sequence, Self::Age];

    /// As callers call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
            Self::Interrupted => "interrupted",
            Self::Sequence => "sequence",
            Self::Age => "age",
            Self::Name => "name",
        }
    }

    /// What comes first: the most, but of names the first. What is equal goes by name, so
    /// that rows don't change places for nothing.
    pub(crate) fn compare(self, reverse: bool, one: &Key<'_>, other: &Key<'_>) -> Ordering {
        let ordering = match self {
            Self::Rate => other.rate.total_cmp(&one.rate),
            Self::Connections => other.connections.cmp(&one.connections),
            Self::Interrupted => other.interrupted.cmp(&one.interrupted),
            Self::Sequence => other.sequence.cmp(&one.sequence),
            Self::Age => other.age.total_cmp(&one.age),
            Self::Name => one.name.cmp(other.name),
        };
        let ordering = if reverse { ordering.reverse() } else { ordering };
        ordering.then_with(|| one.name.cmp(other.name))
    }
}

/// What sessions are sorted by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) name: &'a str,
    pub(crate) connections: usize,
    pub(crate) interrupted: usize,
    pub(crate) rate: f64,
    pub(crate) sequence: u64,
    pub(crate) age: f64,
}

// A server sorts what it has not yet made rows of.
#[cfg(any(feature = "cli", test))]
impl SessionRow {
    /// What it is sorted by.
    pub(crate) fn key(&self) -> Key<'_> {
        Key {
            name: &self.id,
            connections: self.connected.saturating_add(self.interrupted),
            interrupted: self.interrupted,
            rate: self.events_per_second.unwrap_or(0.0),
            sequence: self.sequence,
            age: self.age_seconds,
        }
    }
}

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Query {
    /// How many sessions at most.
    pub(super) sessions: usize,
    pub(super) sort: Sort,
    /// The last first.
    pub(super) reverse: bool,
    /// What a session's name must have in it, in lower case: case doesn't matter.
    pub(super) filter: String,
}

impl Default for Query {
    fn default() -> Self {
        Self { sessions: SESSIONS, sort: Sort::default(), reverse: false, filter: String::new() }
    }
}

impl Query {
    /// What stands after the question mark of an address.
    ///
    /// # Errors
    /// What to tell the caller: what is wrong, and what would be right.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| format!("{name}: {value:?} is no percent-encoded ASCII text"))?;
            match name {
                "sessions" => {
                    let count = value.parse().ok().filter(|count| *count <= MOST_SESSIONS);
                    query.sessions = count
                        .ok_or_else(|| format!("sessions: {value:?} is no number between 0 and {MOST_SESSIONS}"))?;
                }
                "sort" => {
                    query.sort = Sort::ALL.into_iter().find(|sort| sort.name() == value).ok_or_else(|| {
                        let names = Sort::ALL.map(Sort::name).join(", ");
                        format!("sort: {value:?} is none of {names}")
                    })?;
                }
                "order" => {
                    query.reverse = match value.as_str() {
                        "first" => false,
                        "last" => true,
                        _ => return Err(format!("order: {value:?} is none of first, last")),
                    }
                }
                "filter" if value.len() > MOST_FILTER => {
                    return Err(format!("filter: it has {} bytes; the limit is {MOST_FILTER}", value.len()));
                }
                "filter" => query.filter = value.to_ascii_lowercase(),
                _ => return Err(format!("{name:?} is none of sessions, sort, order, filter")),
            }
        }
        Ok(query)
    }

    /// Whether a session is wanted.
    pub(super) fn admits(&self, id: &str) -> bool {
        let wanted = self.filter.as_bytes();
        wanted.is_empty() || id.as_bytes().windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
    }
}

/// A value of a query, if it is of ASCII.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = String::new();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            byte => byte,
        };
        decoded.push(char::from(byte.is_ascii().then_some(byte)?));
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_says_how_many_of_which_in_which_order() {
        assert_eq!(Query::parse(None).unwrap(), Query::default());
        assert_eq!(Query::parse(Some("")).unwrap(), Query::default());
        let query = Query::parse(Some("sessions=7&sort=age&order=last&filter=Ro%6fm%2F+1")).unwrap();
        assert_eq!(query, Query { sessions: 7, sort: Sort::Age, reverse: true, filter: "room/ 1".into() });
        assert_eq!(Query::parse(Some("sessions=1000")).unwrap().sessions, 1_000);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let long = format!("filter={}", "x".repeat(256));
        for (text, says) in [
            ("sessions=1001", &["sessions", "1001", "between 0 and 1000"][..]),
            ("sessions=-1", &["sessions", "-1"]),
            ("sessions", &["sessions", "\"\""]),
            ("sort=size", &["sort", "size", "connections", "rate"]),
            ("order=up", &["order", "up", "first, last"]),
            ("filter=%zz", &["filter", "%zz"]),
            ("filter=%", &["filter"]),
            ("filter=%C3%A9", &["filter", "ASCII"]),
            (&long, &["filter", "256", "255"]),
            ("page=2", &["page", "sessions, sort, order, filter"]),
        ] {
            let wrong = Query::parse(Some(text)).unwrap_err();
            assert!(says.iter().all(|word| wrong.contains(word)), "{text}: {wrong}");
        }
    }

    #[test]
    fn a_filter_is_a_part_of_the_name_in_any_case() {
        let query = Query { filter: "room".into(), ..Query::default() };
        assert!(query.admits("Big-ROOM-7") && query.admits("room") && !query.admits("roo") && !query.admits(""));
        assert!(Query::default().admits("anything"));
    }

    #[test]
    fn each_order_is_a_total_one() {
        let row = |id: &str, connected, rate| SessionRow {
            id: id.into(),
            connected,
            events_per_second: rate,
            ..SessionRow::default()
        };
        let rows = [row("b", 1, Some(2.0)), row("a", 1, None), row("c", 3, Some(0.5))];
        let sorted = |sort: Sort, reverse| {
            let mut rows = rows.clone();
            rows.sort_by(|one, other| sort.compare(reverse, &one.key(), &other.key()));
            rows.map(|row| row.id).concat()
        };
        assert_eq!(sorted(Sort::Rate, false), "bca");
        assert_eq!(sorted(Sort::Rate, true), "acb");
        assert_eq!(sorted(Sort::Connections, false), "cab");
        assert_eq!(sorted(Sort::Name, false), "abc");
        assert_eq!(sorted(Sort::Name, true), "cba");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_is_answered(text in ".*") {
            let _ = Query::parse(Some(&text));
        }

        #[test]
        fn any_name_that_is_encoded_is_found_by(id in "[!-~]{1,255}") {
            let encoded: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let query = Query::parse(Some(&format!("filter={encoded}"))).unwrap();
            prop_assert!(query.admits(&id));
        }
    }
}
