//! What has been counted, read from where it is shown: counters can't be asked.

use std::collections::BTreeMap;

/// The counters of a page in Prometheus' text format, each by its one label's value.
pub(super) struct Counted<'a>(&'a str);

impl<'a> Counted<'a> {
    /// What stands on this page.
    pub(super) fn new(page: &'a str) -> Self {
        Self(page)
    }

    /// A counter's values by their label's; only those that are not 0.
    pub(super) fn by_label(&self, name: &str) -> BTreeMap<String, u64> {
        let values = self.values(name).filter_map(|(labels, value)| {
            let label = labels.strip_prefix('{')?.strip_suffix("\"}")?.split_once("=\"")?.1;
            Some((label.to_owned(), value))
        });
        values.filter(|(_, value)| *value > 0).collect()
    }

    /// A counter's value, without labels.
    pub(super) fn value(&self, name: &str) -> u64 {
        self.values(name).find_map(|(labels, value)| labels.is_empty().then_some(value)).unwrap_or(0)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            // Another's name may begin with this one.
            let is_its = labels.is_empty() || labels.starts_with('{');
            is_its.then(|| Some((labels, value.parse().ok()?))).flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Ending, Reason},
        telemetry::{Registry, SignalSource},
    };

    #[test]
    fn counters_are_read_as_they_are_shown() {
        let registry = Registry::new();
        let metrics = registry.metrics();
        metrics.signals(SignalSource::Server, 3);
        metrics.deliveries.increment(70);
        metrics.refused(Reason::RateLimited);
        metrics.closed(Ending::Left);
        metrics.closed(Ending::Left);
        let page = registry.render();
        let counted = Counted::new(&page);
        assert_eq!(counted.by_label("signalbox_signals_total"), [("server".to_owned(), 3)].into());
        assert_eq!(counted.by_label("signalbox_refusals_total"), [("RATE_LIMITED".to_owned(), 1)].into());
        assert_eq!(counted.by_label("signalbox_closes_total"), [("LEFT".to_owned(), 2)].into());
        assert_eq!(counted.value("signalbox_deliveries_total"), 70);
        assert_eq!(counted.value("signalbox_deliveries"), 0);
        assert_eq!(counted.value("signalbox_nothing_total"), 0);
    }
}
