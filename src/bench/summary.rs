//! Several runs of one work as one: the median of each figure.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::report::{Report, Setting, Unit};

/// One run or several of the same work on the same peer.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The work's name.
    pub work: &'static str,
    /// The peer's name.
    pub peer: String,
    /// Where the peer listened, the last time.
    pub address: SocketAddr,
    /// How the work was set.
    pub settings: Vec<Setting>,
    /// What is counted.
    pub unit: Unit,
    /// How many runs there were.
    pub runs: usize,
    figures: Vec<(&'static str, Option<f64>)>,
}

impl Summary {
    /// The median of each figure by itself; none for no runs.
    #[must_use]
    pub fn of(reports: &[Report]) -> Option<Self> {
        let last = reports.last()?;
        let all: Vec<_> = reports.iter().map(Report::figures).collect();
        let figures = last.figures().into_iter().enumerate().map(|(place, (name, _))| {
            let known: Vec<_> = all.iter().filter_map(|figures| figures[place].1).collect();
            (name, median(known))
        });
        Some(Self {
            work: last.work,
            peer: last.peer.clone(),
            address: last.address,
            settings: last.settings.clone(),
            unit: last.unit,
            runs: reports.len(),
            figures: figures.collect(),
        })
    }

    /// A figure by its name in [`Report::figures`]; none: it isn't known.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(is, _)| *is == name)?.1
    }

    /// All of it, in base units; what isn't known is `null`.
    #[must_use]
    pub fn json(&self) -> Value {
        let settings: Map<_, _> =
            self.settings.iter().map(|(name, value)| ((*name).to_owned(), number(*value))).collect();
        let mut object = json!({
            "work": self.work,
            "peer": self.peer,
            "address": self.address.to_string(),
            "settings": settings,
            "unit": self.unit.name(),
            "runs": self.runs,
        });
        for (name, value) in &self.figures {
            object[*name] = value.map_or(Value::Null, number);
        }
        object
    }
}

/// Whole numbers as such.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 { json!(value as i64) } else { json!(value) }
}

/// The one in the middle; none of nothing.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => Some(values[middle]),
        _ => Some((values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn whole_numbers_are_whole() {
        assert_eq!(number(64.0).to_string(), "64");
        assert_eq!(number(0.25).to_string(), "0.25");
    }
}
