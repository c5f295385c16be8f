//! Charts as SVG: bars in panels, and lines over a logarithmic axis. On a white
//! ground of their own, so that they read the same on a dark page.

use std::fmt::Write as _;

use super::table::figure;

const WIDTH: f64 = 860.0;
const PANEL: f64 = WIDTH / 2.0;
const ROW: f64 = 22.0;
const HEAD: f64 = 44.0;
const NAMES: f64 = 92.0;
/// For the figure behind a bar.
const FIGURES: f64 = 104.0;

/// Beginning of every chart.
fn begin(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" font-size=\"13\" \
         fill=\"#1f2328\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    )
}

fn text(out: &mut String, x: f64, y: f64, more: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {more}>{words}</text>");
}

#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) color: &'static str,
    pub(crate) value: f64,
    /// From where to where the runs lay.
    pub(crate) between: (f64, f64),
    /// What stands behind the figure.
    pub(crate) note: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) bars: Vec<Bar>,
    /// What bars are cut at, with a gap, so that the short ones can be told
    /// apart; at least one is shorter.
    pub(crate) cut: f64,
}

/// Panels two abreast.
pub(crate) fn bars(title: &str, panels: &[Panel]) -> String {
    let height_of = |row: &[Panel]| {
        let most = row.iter().map(|panel| panel.bars.len()).max().unwrap_or_default();
        HEAD + ROW * most as f64 + 14.0
    };
    let height = panels.chunks(2).map(height_of).sum::<f64>() + 8.0;
    let mut out = begin(height, title);
    let mut top = 4.0;
    for row in panels.chunks(2) {
        for (place, panel) in row.iter().enumerate() {
            bar_panel(&mut out, PANEL * place as f64 + 14.0, top, panel);
        }
        top += height_of(row);
    }
    out.push_str("</svg>\n");
    out
}

fn bar_panel(out: &mut String, left: f64, top: f64, panel: &Panel) {
    text(out, left, top + 18.0, "font-weight=\"bold\"", &panel.title);
    text(out, left, top + 35.0, "font-size=\"11\" fill=\"#59636e\"", &panel.unit);
    let whole = panel.bars.iter().map(|bar| bar.value).filter(|&value| value <= panel.cut);
    let longest = whole.fold(f64::MIN_POSITIVE, f64::max);
    let cut = panel.bars.iter().any(|bar| bar.value > panel.cut);
    // A cut bar is longer than all that aren't.
    let most = if cut { longest * 1.15 } else { longest };
    let room = PANEL - 28.0 - NAMES - FIGURES;
    let scale = |value: f64| (value / most * room).min(room);
    for (place, bar) in panel.bars.iter().enumerate() {
        let y = top + HEAD + ROW * place as f64;
        let from = left + NAMES;
        text(out, from - 6.0, y + 14.0, "text-anchor=\"end\"", bar.name);
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"15\" fill=\"{}\"/>",
            y + 2.0,
            scale(bar.value).max(1.0),
            bar.color
        );
        let (least, most) = bar.between;
        if bar.value > panel.cut {
            let gap = from + room - 16.0;
            let _ = writeln!(
                out,
                "<path d=\"M{gap:.1} {0:.1}l6 -19M{1:.1} {0:.1}l6 -19\" stroke=\"#ffffff\" stroke-width=\"2.5\"/>",
                y + 19.0,
                gap + 6.0
            );
            text(out, from + room + 5.0, y + 14.0, "font-size=\"12\"", &format!("{}{}", figure(bar.value), bar.note));
            continue;
        }
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {y2:.1}H{:.1}\" stroke=\"#1f2328\" stroke-width=\"1.5\"/>",
            from + scale(least),
            from + scale(most),
            y2 = y + 9.5
        );
        let end = from + scale(bar.value.max(most)) + 5.0;
        text(out, end, y + 14.0, "font-size=\"12\"", &format!("{}{}", figure(bar.value), bar.note));
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) color: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Growth {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) across: String,
    pub(crate) lines: Vec<Line>,
}

/// Panels two abreast, each with a logarithmic axis across and one from zero up.
pub(crate) fn lines(title: &str, panels: &[Growth]) -> String {
    const HEIGHT: f64 = 300.0;
    let rows = panels.len().div_ceil(2) as f64;
    let mut out = begin(HEIGHT * rows, title);
    for (place, panel) in panels.iter().enumerate() {
        let (left, top) = (PANEL * (place % 2) as f64 + 14.0, HEIGHT * (place / 2) as f64 + 4.0);
        line_panel(&mut out, left, top, HEIGHT, panel);
    }
    out.push_str("</svg>\n");
    out
}

fn line_panel(out: &mut String, left: f64, top: f64, height: f64, panel: &Growth) {
    text(out, left, top + 18.0, "font-weight=\"bold\"", &panel.title);
    text(out, left, top + 35.0, "font-size=\"11\" fill=\"#59636e\"", &panel.unit);
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let first = points().map(|point| point.0).fold(f64::MAX, f64::min);
    let last = points().map(|point| point.0).fold(first * 10.0, f64::max);
    let step = round_up(points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max) / 4.0);
    let most = step * 4.0;
    let (from, to) = (left + 44.0, left + PANEL - 110.0);
    let (low, high) = (top + height - 46.0, top + HEAD + 6.0);
    let x = |value: f64| from + (value / first).ln() / (last / first).ln() * (to - from);
    let y = |value: f64| low - value / most * (low - high);

    for quarter in 0..=4 {
        let value = step * f64::from(quarter);
        let _ = writeln!(out, "<path d=\"M{from:.1} {0:.1}H{to:.1}\" stroke=\"#d1d9e0\"/>", y(value));
        text(out, from - 6.0, y(value) + 4.0, "text-anchor=\"end\" font-size=\"11\"", &round_figure(value));
    }
    let mut ticks: Vec<f64> = points().map(|point| point.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for (place, &tick) in ticks.iter().enumerate() {
        // Two that stand close share no room for both of their numbers.
        if ticks.get(place + 1).is_none_or(|&next| x(next) - x(tick) > 34.0) {
            text(out, x(tick), low + 16.0, "text-anchor=\"middle\" font-size=\"11\"", &round_figure(tick));
        }
    }
    text(out, (from + to) / 2.0, low + 34.0, "text-anchor=\"middle\" font-size=\"11\" fill=\"#59636e\"", &panel.across);

    // Names stand where their lines end, apart from each other and off the axis.
    let mut ends: Vec<_> =
        panel.lines.iter().filter_map(|line| line.points.last().map(|end| (y(end.1) + 4.0, line))).collect();
    ends.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut highest = low + 15.0;
    for (height, line) in ends {
        highest = height.min(highest - 15.0);
        text(out, to + 8.0, highest, &format!("fill=\"{}\"", line.color), line.name);
    }
    for line in &panel.lines {
        let path: Vec<_> = line.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            out,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            path.join("L"),
            line.color
        );
        for point in &line.points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{}\"/>",
                x(point.0),
                y(point.1),
                line.color
            );
        }
    }
}

/// The next of 1, 2, 2.5 and 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0].map(|digit| digit * power).into_iter().find(|&round| round >= value).unwrap_or(10.0 * power)
}

/// A round number, without zeros that say nothing.
fn round_figure(value: f64) -> String {
    let words = figure(value);
    if words.contains('.') { words.trim_end_matches('0').trim_end_matches('.').to_owned() } else { words }
}
