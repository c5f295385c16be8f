//! The results as a page of Markdown.

use std::fmt::Write as _;

use super::{
    goals,
    results::{Metric, Results, Row},
    servers::Kind,
    works::Shape,
};

/// Three digits that matter, and thousands apart.
pub(crate) fn figure(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let mut apart = String::new();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place) % 3 == 0 {
                apart.push(',');
            }
            apart.push(digit);
        }
        return apart;
    }
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), figure)
}

/// What a row is judged by.
fn headline(row: &Row) -> Metric {
    match row.job.shape {
        Shape::Idle { .. } => Metric::Memory,
        _ => Metric::Cpu,
    }
}

pub(crate) fn page(results: &Results) -> String {
    let mut page = String::new();
    let _ = write!(
        page,
        "# How it compares\n\n\
         Written by `benches/compare`. Runs of each work: {}, the peers taking turns; figures are medians. \
         [README.md](README.md) says what each peer was made to do.\n\n\
         {}. Taken on {}.\n\n",
        results.runs, results.machine, results.taken
    );
    for program in &results.programs {
        let _ = writeln!(page, "- {}: {}", program.kind.name(), program.version);
    }
    if let Some(busy) = &results.busy {
        let _ = writeln!(page, "- beware: {busy}");
    }
    for absent in &results.absent {
        let _ = writeln!(page, "- left out: {absent}");
    }
    goals_table(results, &mut page);
    overview(results, &mut page);
    for row in &results.rows {
        details(results, row, &mut page);
    }
    page
}

fn goals_table(results: &Results, page: &mut String) {
    let verdicts = goals::judge(results);
    if verdicts.is_empty() {
        return;
    }
    page.push_str("\n## Goals\n\n| goal | measured | |\n|---|---:|---|\n");
    for verdict in verdicts {
        let met = if verdict.met { "met" } else { "**missed**" };
        let _ = writeln!(page, "| {} | {} | {met} |", verdict.goal, figure(verdict.value));
    }
}

/// Every peer's headline for every work, and Signalbox's ratios.
fn overview(results: &Results, page: &mut String) {
    page.push_str(
        "\n## Overview\n\nServer CPU per unit of work in µs, or memory per idle member in bytes. \
         The last two columns are Signalbox's, as the median of the ratios within each round.\n\n| work | per |",
    );
    for kind in results.kinds() {
        let _ = write!(page, " {} |", kind.name());
    }
    page.push_str(" ÷ NATS | ÷ floor |\n|---|---|");
    page.push_str(&"---:|".repeat(results.kinds().count() + 2));
    page.push('\n');
    for row in &results.rows {
        let metric = headline(row);
        let _ = write!(page, "| {} | {} |", row.job.title, row.job.unit);
        for kind in results.kinds() {
            let _ = write!(page, " {} |", or_dash(row.median(kind, metric)));
        }
        for other in [Kind::Nats, Kind::Floor] {
            let _ = write!(page, " {} |", or_dash(row.ratio(Kind::Signalbox, other, metric)));
        }
        page.push('\n');
    }
}

/// One work: each peer's figures, and how far its runs lay apart.
fn details(results: &Results, row: &Row, page: &mut String) {
    let metric = headline(row);
    let memory = metric == Metric::Memory;
    let per = if memory { "bytes" } else { "CPU, µs" };
    let _ = write!(
        page,
        "\n### {}\n\n`--only {}`\n\n| peer | {per} per {} | least–most | ÷ NATS | ÷ floor |",
        row.job.title, row.job.slug, row.job.unit
    );
    let columns: &[(Metric, &str)] = if memory {
        &[]
    } else {
        &[(Metric::Rate, "per second"), (Metric::P50, "p50, µs"), (Metric::P99, "p99, µs")]
    };
    for (_, title) in columns {
        let _ = write!(page, " {title} |");
    }
    page.push_str("\n|---|");
    page.push_str(&"---:|".repeat(4 + columns.len()));
    page.push('\n');
    for kind in results.kinds().filter(|&kind| row.job.is_for(kind)) {
        let spread = row.spread(kind, metric);
        let apart = spread.map_or_else(|| "–".into(), |of| format!("{}–{}", figure(of.least), figure(of.most)));
        let _ = write!(page, "| {} | {} | {apart} |", kind.name(), or_dash(spread.map(|of| of.median)));
        for other in [Kind::Nats, Kind::Floor] {
            let _ = write!(page, " {} |", or_dash(row.ratio(kind, other, metric)));
        }
        for (metric, _) in columns {
            let _ = write!(page, " {} |", or_dash(row.median(kind, *metric)));
        }
        page.push('\n');
    }
}
