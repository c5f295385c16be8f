//! A bench's figures for people.

use std::fmt::Write as _;

use crate::bench::{Summary, Unit};

use super::Place;

/// A CPU that is used more than this is what bounds the rate.
const BUSY: f64 = 0.95;
/// A load that is late by more than this part of what it measures measures itself.
const LATE: f64 = 0.5;

/// The figures, in lines, the last without an end.
pub(super) fn table(summary: &Summary, place: Place) -> String {
    let figure = |name: &str| summary.figure(name);
    let mut table = heading(summary, place);
    let mut row = |name: &str, text: String| {
        let _ = write!(table, "\n{name:<22}{text}");
    };

    let (one, many) = (summary.unit.name(), summary.unit.names());
    match summary.unit {
        Unit::Member => row(many, shown(figure("units"), 1.0, 0)),
        _ => row(&format!("{many} per second"), shown(figure("units_per_second"), 1.0, 0)),
    }
    if summary.unit == Unit::Delivery {
        row("signals per second", shown(figure("sends_per_second"), 1.0, 0));
    }
    row("measured", format!("{} {many} in {} s", shown(figure("units"), 1.0, 0), shown(figure("seconds"), 1.0, 2)));

    if figure("members_reached").is_some() {
        row("still there", format!("{}, whom a signal at the end reached", shown(figure("members_reached"), 1.0, 0)));
    }

    if figure("latency_p50_ns").is_some() {
        row("latency in ms", ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>11}")).concat());
        // Where both are known the loop was closed.
        let closed = figure("corrected_p50_ns").is_some();
        row(if closed { "  as measured" } else { "  from when due" }, latencies(summary, "latency"));
        if closed {
            row("  omissions corrected", latencies(summary, "corrected"));
        }
    }

    if figure("p99_ratio").is_some() {
        hostile(summary, &mut row);
    }

    match figure("server_cpu_ns") {
        None => row("server", "on another machine, or somebody else's: its CPU and memory can't be read".to_owned()),
        Some(_) => {
            let each = shown(figure("server_cpu_ns_per_unit"), 1e-3, 3);
            let share = shown(figure("server_cpu_share"), 100.0, 1);
            row(
                "server CPU",
                match summary.unit {
                    Unit::Member => format!("{share} % of one CPU"),
                    _ => format!("{each} us per {one}, {share} % of one CPU"),
                },
            );
            let (rss, before) = (figure("server_rss_bytes"), figure("server_rss_before_bytes"));
            let mut memory = format!("{} MB, before {} MB", shown(rss, 1e-6, 1), shown(before, 1e-6, 1));
            if summary.unit == Unit::Member {
                let _ = write!(memory, ": {} KB per member", shown(figure("server_rss_bytes_per_unit"), 1e-3, 2));
            }
            row("server memory", memory);
        }
    }
    let share = shown(figure("client_cpu_share"), 100.0, 1);
    row("client CPU", format!("{share} % of one CPU"));
    if figure("client_cpu_share").is_some_and(|share| share > BUSY)
        && figure("server_cpu_share").is_none_or(|share| share < BUSY)
    {
        row("", "the client was the bottleneck: the rate says little of the server".to_owned());
    }
    table
}

/// What bad clients did to good ones, and what became of them.
fn hostile(summary: &Summary, row: &mut impl FnMut(&str, String)) {
    let figure = |name: &str| summary.figure(name);
    let count = |name: &str| shown(figure(name), 1.0, 0);
    row("latency in ms", ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>11}")).concat());
    row("  without bad clients", latencies(summary, "without_bad"));
    row("  without, again", latencies(summary, "again"));
    row("  with bad clients", latencies(summary, "with_bad"));
    let three = |what: &str| {
        let of = |kind: &str| shown(figure(&format!("{kind}_{what}_p99_ns")), 1e-6, 3);
        format!("{} without, {} again, {} with", of("without_bad"), of("again"), of("with_bad"))
    };
    row("  p99 of a tenth of 1 s", format!(" {}, in the middle of all", three("tenth")));
    row("  load late by, p99", format!(" {}, the same way", three("late")));
    let cells = |of: [String; 3]| of.map(|cell| format!("{cell:>17}")).concat();
    let ratio = |name: String| shown(figure(&name), 1.0, 2);
    let ratios = |of: &str| {
        let (least, most) = (ratio(format!("{of}_least")), ratio(format!("{of}_most")));
        cells(["_of_tenths", "", "_of_all"].map(|way| ratio(format!("{of}{way}"))))
            + &format!("   (rounds: {least} to {most})")
    };
    let late = |kind: &str| {
        let of = |what: &str| figure(&format!("{kind}_{what}_p99_ns")).unwrap_or(0.0);
        of("late") > LATE * of("tenth")
    };
    if ["without_bad", "again", "with_bad"].into_iter().any(late) {
        row("", "the load itself was late: the machine was busy otherwise, and the ratios say little".to_owned());
    }
    row("p99 over p99 without", cells(["of tenths of 1 s", "of the rounds", "of all together"].map(str::to_owned)));
    row("  with bad clients", ratios("p99_ratio"));
    row("  without, again", ratios("noise_ratio"));
    row("good deliveries", format!("{} lost, {} twice", count("good_lost"), count("good_twice")));
    row(
        "flooders",
        format!("{} signals: {} refused, {} taken", count("floods"), count("floods_refused"), count("floods_taken")),
    );
    row("oversize senders", format!("{} ended", count("oversize_ended")));
    row("slow readers", format!("{} ended, {} kept in bounds", count("slow_ended"), count("slow_kept")));
    row("bad clients", format!("{} joins, {} ended otherwise", count("bad_joins"), count("bad_other")));
    let share = |name: &str| format!("{} % of one CPU", shown(figure(name), 100.0, 1));
    row("measuring thread", share("measuring_cpu_share"));
    row("server CPU without", share("without_bad_server_cpu_share"));
}

fn heading(summary: &Summary, place: Place) -> String {
    let place = match place {
        Place::Ours => "started for this",
        Place::Here => "on this machine",
        Place::Elsewhere => "not on this machine, or somebody else's",
    };
    let runs = if summary.runs > 1 { format!(", medians of {} runs", summary.runs) } else { String::new() };
    let settings: Vec<_> = summary
        .settings
        .iter()
        .map(|(name, value)| format!("{} {}", name.replace('_', " "), grouped(*value, 0)))
        .collect();
    let (work, peer, address) = (summary.work, &summary.peer, summary.address);
    format!("{work}: {peer} at {address}, {place}{runs}\n{}\n", settings.join(", "))
}

fn latencies(summary: &Summary, of: &str) -> String {
    let columns = ["p50", "p90", "p99", "p99_9", "max"];
    columns.map(|name| format!("{:>11}", shown(summary.figure(&format!("{of}_{name}_ns")), 1e-6, 3))).concat()
}

/// A figure in other units; `-` when it isn't known.
fn shown(figure: Option<f64>, times: f64, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| grouped(figure * times, digits))
}

/// A number with commas between the thousands.
fn grouped(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, fraction) = text.find('.').map_or((text.as_str(), ""), |point| text.split_at(point));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(0.0, 0), "0");
        assert_eq!(grouped(999.96, 1), "1,000.0");
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(-1_234.5, 2), "-1,234.50");
        assert_eq!(shown(None, 1.0, 0), "-");
    }
}
