//! Which results are drawn, and how.

use super::{
    results::{Metric, Results, Row},
    servers::Kind,
    svg::{self, Bar, Growth, Line, Panel},
    works::Shape,
};

/// Bars longer than so many times both Signalbox's and NATS's are cut.
const CUT: f64 = 4.0;

fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Signalbox => "#0969da",
        Kind::Floor => "#8c959f",
        Kind::Nats => "#bc4c00",
        Kind::Redis => "#d1242f",
        Kind::Mosquitto => "#8250df",
        Kind::SocketIo => "#1f2328",
        Kind::Centrifugo => "#1a7f37",
    }
}

/// The files of the page: their names and what is in them. A chart that nothing
/// was measured for is not drawn.
pub(crate) fn draw(results: &Results) -> Vec<(&'static str, String)> {
    let cpu = ["fanout-100", "fanout-1000", "single-100", "single-1000", "fanout-8k", "pairs-500", "unary", "join"];
    let memory = ["idle", "idle-shared"];
    let mut files = Vec::new();
    for (file, title, slugs, metric, what) in [
        ("cpu.svg", "Server CPU for the same work", cpu.as_slice(), Metric::Cpu, "server CPU"),
        ("latency.svg", "Latency", &["pairs-500", "pairs-500-half"], Metric::P99, "latency, 99th percentile"),
        ("memory.svg", "Memory of idle members", &memory, Metric::Memory, "server memory"),
    ] {
        let rows = slugs.iter().filter_map(|slug| results.row(slug));
        let panels: Vec<_> = rows.filter_map(|row| panel(results, row, metric, what)).collect();
        if !panels.is_empty() {
            files.push((file, svg::bars(title, &panels)));
        }
    }
    let growth: Vec<_> = [receivers(results), sessions(results)].into_iter().flatten().collect();
    if !growth.is_empty() {
        files.push(("growth.svg", svg::lines("Growth", &growth)));
    }
    files
}

fn panel(results: &Results, row: &Row, metric: Metric, what: &str) -> Option<Panel> {
    let mut bars: Vec<_> = results
        .kinds()
        .filter_map(|kind| {
            let spread = row.spread(kind, metric)?;
            let ratio = (kind != Kind::Nats).then(|| row.ratio(kind, Kind::Nats, metric)).flatten();
            let note = ratio.map_or_else(String::new, |ratio| format!(" ({ratio:.2}×)"));
            let between = (spread.least, spread.most);
            Some(Bar { name: kind.name(), color: color(kind), value: spread.median, between, note })
        })
        .collect();
    bars.sort_by(|one, other| one.value.total_cmp(&other.value));
    let (scale, symbol) = match metric {
        Metric::Memory => ("bytes", format!("per {}", row.job.unit)),
        Metric::P99 => ("µs", String::new()),
        _ => ("µs", format!("per {}", row.job.unit)),
    };
    let unit = format!("{what}, {scale} {symbol}").trim_end().to_owned() + " (× NATS)";
    let shown = [Kind::Signalbox, Kind::Nats].into_iter().filter_map(|kind| row.median(kind, metric));
    let cut = CUT * shown.fold(0.0, f64::max);
    let cut = if bars.iter().any(|bar| bar.value <= cut) { cut } else { f64::MAX };
    (!bars.is_empty()).then(|| Panel { title: row.job.title.to_owned(), unit, bars, cut })
}

fn receivers(results: &Results) -> Option<Growth> {
    let slugs = ["fanout-10", "fanout-100", "fanout-1000", "fanout-10000"];
    growth(
        results,
        &slugs,
        "A session that grows",
        "server CPU, µs per delivery; 256 broadcasts in flight",
        "receivers in one session",
    )
}

fn sessions(results: &Results) -> Option<Growth> {
    let slugs = ["sessions-1", "sessions-100", "sessions-1000", "sessions-10000"];
    growth(
        results,
        &slugs,
        "More sessions",
        "server CPU, µs per delivery; 10,000 signals a second in all",
        "sessions of one member each",
    )
}

fn growth(results: &Results, slugs: &[&str], title: &str, unit: &str, across: &str) -> Option<Growth> {
    let rows: Vec<_> = slugs.iter().filter_map(|slug| results.row(slug)).collect();
    let few = [Kind::Floor, Kind::Signalbox, Kind::Nats];
    let lines: Vec<_> = few
        .into_iter()
        .map(|kind| {
            let point = |row: &&Row| Some((size(row)?, row.median(kind, Metric::Cpu)?));
            Line { name: kind.name(), color: color(kind), points: rows.iter().filter_map(point).collect() }
        })
        .filter(|line| line.points.len() > 1)
        .collect();
    let growth = Growth { title: title.into(), unit: unit.into(), across: across.into(), lines };
    (!growth.lines.is_empty()).then_some(growth)
}

fn size(row: &Row) -> Option<f64> {
    match row.job.shape {
        Shape::Fanout { receivers, .. } => Some(receivers as f64),
        Shape::Sessions { sessions } => Some(sessions as f64),
        _ => None,
    }
}
