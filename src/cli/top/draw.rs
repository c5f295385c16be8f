//! Draws what is known. What strangers wrote, names above all, is made harmless first.

use std::time::Instant;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Sparkline, Table, TableState},
};

use crate::{
    cli::output::{harmless, short},
    server::{SessionRow, Sort, State as Readiness},
};

use super::{
    engine, show,
    state::{Node, Pane, Series, State},
};

/// How many servers have a line of their own.
const MOST_NODES: usize = 6;
/// From this width on the figures are four in a row, and the panes below three.
const WIDE: u16 = 80;
const WIDEST: u16 = 120;
/// Below this width the sessions' table leaves columns out.
const NARROW: u16 = 64;
/// The same of the slow readers'.
const NARROW_READERS: u16 = 58;

const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const LOUD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Instant) {
    let area = frame.area();
    let columns = if area.width >= WIDE { 4 } else { 2 };
    let plot = match area.height {
        0..20 => 0,
        20..40 => 1,
        _ => 2,
    };
    let figures = u16::try_from(Series::ALL.len() / columns).unwrap_or(1) * (1 + plot);
    let heads = u16::try_from(state.nodes.len().min(MOST_NODES + 1)).unwrap_or(1);
    let below = (area.height / 4).clamp(3, 12);
    let [head, numbers, sessions, rest, foot] = Layout::vertical([
        Constraint::Length(heads),
        Constraint::Length(figures),
        Constraint::Min(3),
        Constraint::Length(below),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header(state, now)), head);
    draw_figures(frame, state, numbers, columns, plot);
    draw_sessions(frame, state, sessions);
    draw_rest(frame, state, rest);
    frame.render_widget(Paragraph::new(footer(state)), foot);
    if state.is_helping {
        draw_help(frame, area);
    }
}

fn header<'a>(state: &'a State, now: Instant) -> Vec<Line<'a>> {
    let many = state.nodes.len() > 1;
    let line = |(at, node): (usize, &'a Node)| {
        let mut spans = match many {
            true => vec![Span::styled(format!("{} ", at + 1), LOUD)],
            false => vec![Span::styled("signalbox ", LOUD)],
        };
        spans.extend(told(node, now));
        Line::from(spans)
    };
    let mut lines: Vec<_> = state.nodes.iter().enumerate().take(MOST_NODES).map(line).collect();
    if state.nodes.len() > MOST_NODES {
        let away = state.nodes[MOST_NODES..].iter().filter(|node| node.away.is_some()).count();
        lines.push(Line::styled(format!("and {} more, {away} of them away", state.nodes.len() - MOST_NODES), FAINT));
    }
    lines
}

fn told(node: &Node, now: Instant) -> Vec<Span<'_>> {
    if let Some((since, why)) = &node.away {
        let time = show::time(now.saturating_duration_since(*since).as_secs_f64());
        let text = format!("{} is away since {time}: {}; asking again", node.endpoint, harmless(why));
        return vec![Span::styled(text, Style::new().fg(Color::Red).bold())];
    }
    let Some(snapshot) = &node.snapshot else { return vec![format!("asking {} …", node.endpoint).into()] };
    let facts = &snapshot.node;
    let (name, style) = match facts.state {
        Readiness::Ready => ("ready", Style::new().fg(Color::Green)),
        Readiness::Unready => ("not ready", Style::new().fg(Color::Red).bold()),
        Readiness::Draining => ("draining", Style::new().fg(Color::Yellow).bold()),
    };
    let mut text = format!(
        " · {} · up {} · engine {}",
        harmless(&facts.version),
        show::time(facts.uptime_seconds),
        harmless(&snapshot.engine.kind)
    );
    if let Some(name) = &facts.name {
        text.push_str(&format!(" · node {}", harmless(name)));
    }
    if let Some(why) = &facts.why {
        text.push_str(&format!(" · {}", harmless(why)));
    }
    vec![format!("{} ", harmless(&facts.address)).into(), Span::styled(name, style), Span::styled(text, FAINT)]
}

fn draw_figures(frame: &mut Frame<'_>, state: &State, area: Rect, columns: usize, plot: u16) {
    let rows = Layout::vertical(vec![Constraint::Length(1 + plot); Series::ALL.len() / columns]).split(area);
    for (row, series) in rows.iter().zip(Series::ALL.chunks(columns)) {
        let places = Layout::horizontal(vec![Constraint::Fill(1); columns]).spacing(2).split(*row);
        for (place, series) in places.iter().zip(series) {
            let [name, line] = Layout::vertical([Constraint::Length(1), Constraint::Length(plot)]).areas(*place);
            let (label, value) = figure(state, *series);
            let text = Line::from(vec![Span::styled(label, FAINT), " ".into(), Span::styled(value, LOUD)]);
            frame.render_widget(Paragraph::new(text), name);
            let style = Style::new().fg(Color::Cyan);
            frame.render_widget(Sparkline::default().data(points(state, *series, line.width)).style(style), line);
        }
    }
}

/// What it is called, and what it is now.
fn figure(state: &State, series: Series) -> (&'static str, String) {
    let newest = state.history(series).back().copied().flatten();
    match series {
        Series::Sessions => ("sessions", show::number(newest)),
        Series::Connections => ("connections", show::number(newest)),
        Series::Signals => ("signals/s", show::number(newest)),
        Series::Deliveries => ("deliveries/s", show::number(newest)),
        Series::Closes => ("closes/min", show::number(newest)),
        Series::Outboxes => ("waiting", show::number(newest)),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Bytes, not negative.
        Series::Memory => ("memory", newest.map_or("–".to_owned(), |bytes| show::bytes(bytes as u64))),
        Series::Cpu => ("CPU %", show::number(newest)),
    }
}

/// The newest samples that there is room for; a plot has whole numbers only.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // None is negative, and `as` saturates.
fn points(state: &State, series: Series, width: u16) -> Vec<Option<u64>> {
    let history = state.history(series);
    let skipped = history.len().saturating_sub(usize::from(width));
    history.iter().skip(skipped).map(|value| value.map(|value| (value * 100.0) as u64)).collect()
}

fn pane<'a>(state: &State, pane: Pane, title: String) -> Block<'a> {
    let style = if state.pane == pane { LOUD.fg(Color::Cyan) } else { LOUD };
    Block::new().borders(Borders::TOP).border_style(FAINT).title(Span::styled(title + " ", style))
}

fn heads<const N: usize>(names: [&str; N]) -> Row<'static> {
    // Only the first is a text.
    let cells = names.into_iter().enumerate().map(|(at, name)| {
        let line = Line::from(name.to_owned());
        Cell::from(if at == 0 { line } else { line.right_aligned() })
    });
    Row::new(cells.collect::<Vec<_>>()).style(FAINT)
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

fn table(frame: &mut Frame<'_>, state: &State, which: Pane, table: Table<'_>, area: Rect) {
    let is_here = state.pane == which;
    let mut selected = TableState::new();
    selected.select(is_here.then_some(state.places[which as usize]));
    let style = if is_here { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
    frame.render_stateful_widget(table.row_highlight_style(style), area, &mut selected);
}

fn draw_sessions(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let sessions = state.sessions();
    let (matching, all) = state.matching();
    let mut title = format!("Sessions {} of {}", show::size(sessions.len()), show::size(matching));
    if matching < all {
        title.push_str(&format!(" that match, of {}", show::size(all)));
    }
    let order = if state.reverse { ", the last first" } else { "" };
    title.push_str(&format!(" by {}{order}", state.sort.name()));
    if !state.filter.is_empty() {
        title.push_str(&format!(" with \"{}\"", harmless(&state.filter)));
    }
    let columns: &[Sort] = match area.width < NARROW {
        true => &[Sort::Name, Sort::Connections, Sort::Rate, Sort::Age],
        false => &Sort::ALL,
    };
    let heads = columns.iter().enumerate().map(|(at, sort)| {
        let mark = match (*sort == state.sort, state.reverse) {
            (false, _) => "",
            (true, false) => "▾",
            (true, true) => "▴",
        };
        let line = Line::from(format!("{}{mark}", column(*sort)));
        Cell::from(if at == 0 { line } else { line.right_aligned() })
    });
    let heads = Row::new(heads.collect::<Vec<_>>()).style(FAINT);
    let many = state.nodes.len() > 1;
    let rows = sessions.iter().map(|(node, session)| {
        Row::new(columns.iter().map(|sort| cell(*sort, session, many.then_some(*node))).collect::<Vec<_>>())
    });
    let widths = columns.iter().map(|sort| match sort {
        Sort::Name => Constraint::Fill(1),
        Sort::Age => Constraint::Length(8),
        _ => Constraint::Length(12),
    });
    let drawn = Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>()).header(heads);
    table(frame, state, Pane::Sessions, drawn.block(pane(state, Pane::Sessions, title)), area);
}

fn column(sort: Sort) -> &'static str {
    match sort {
        Sort::Name => "SESSION",
        Sort::Connections => "CONNECTIONS",
        Sort::Interrupted => "INTERRUPTED",
        Sort::Rate => "EVENTS/S",
        Sort::Sequence => "SEQUENCE",
        Sort::Age => "AGE",
    }
}

fn cell(sort: Sort, session: &SessionRow, node: Option<usize>) -> Cell<'static> {
    match sort {
        Sort::Name => Cell::from(named(node, &harmless(&session.id))),
        Sort::Connections => right(show::size(session.connected.saturating_add(session.interrupted))),
        Sort::Interrupted => right(show::size(session.interrupted)),
        Sort::Rate => right(show::number(session.events_per_second)),
        Sort::Sequence => right(show::count(session.sequence)),
        Sort::Age => right(show::time(session.age_seconds)),
    }
}

/// With the number of its server, where there are several.
fn named(node: Option<usize>, name: &str) -> String {
    node.map_or_else(|| name.to_owned(), |node| format!("{} {name}", node + 1))
}

fn draw_rest(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let shown: &[Pane] = match (area.width, state.pane) {
        (WIDEST.., _) => &[Pane::Readers, Pane::Closes, Pane::Engine],
        (WIDE.., Pane::Engine) => &[Pane::Readers, Pane::Engine],
        (WIDE.., _) => &[Pane::Readers, Pane::Closes],
        (_, Pane::Closes) => &[Pane::Closes],
        (_, Pane::Engine) => &[Pane::Engine],
        _ => &[Pane::Readers],
    };
    let widths =
        shown.iter().map(|pane| if *pane == Pane::Readers { Constraint::Fill(4) } else { Constraint::Fill(3) });
    let areas = Layout::horizontal(widths).spacing(2).split(area);
    for (pane, area) in shown.iter().zip(areas.iter()) {
        match pane {
            Pane::Closes => draw_closes(frame, state, *area),
            Pane::Engine => draw_engine(frame, state, *area),
            _ => draw_readers(frame, state, *area),
        }
    }
}

fn draw_readers(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let readers = state.readers();
    let many = state.nodes.len() > 1;
    let is_narrow = area.width < NARROW_READERS;
    let rows = readers.iter().map(|(node, reader)| {
        let session = reader.session.as_deref().map_or("(not in yet)".to_owned(), harmless);
        let full = Line::from(format!("{:.0} %", reader.full * 100.0)).right_aligned();
        let full = Cell::from(if reader.full >= 0.5 { full.fg(Color::Red).bold() } else { full });
        let (name, events) = (Cell::from(named(many.then_some(*node), &session)), right(show::size(reader.events)));
        let since = right(show::time(reader.waiting_seconds));
        if is_narrow {
            return Row::new(vec![name, full, events, since]);
        }
        let connection = right(short(reader.connection.as_deref().unwrap_or("–")));
        Row::new(vec![name, connection, full, events, right(show::bytes(reader.bytes as u64)), since])
    });
    let rows: Vec<_> = rows.collect();
    let drawn = if is_narrow {
        let widths = [Constraint::Fill(1), Constraint::Length(6), Constraint::Length(7), Constraint::Length(6)];
        Table::new(rows, widths).header(heads(["SESSION", "FULL", "EVENTS", "FOR"]))
    } else {
        let widths =
            [1, 10, 6, 7, 10, 6].map(|width| if width == 1 { Constraint::Fill(1) } else { Constraint::Length(width) });
        Table::new(rows, widths).header(heads(["SESSION", "CONNECTION", "FULL", "EVENTS", "BYTES", "FOR"]))
    };
    let title = format!("Slow readers {}", show::size(readers.len()));
    table(frame, state, Pane::Readers, drawn.block(pane(state, Pane::Readers, title)), area);
}

fn draw_closes(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let closes = state.closes();
    let rows = closes.iter().map(|(reason, rate, all)| {
        Row::new(vec![Cell::from(harmless(reason)), right(show::number(*rate)), right(show::count(*all))])
    });
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(9)];
    let drawn = Table::new(rows.collect::<Vec<_>>(), widths)
        .header(heads(["REASON", "PER MIN", "IN ALL"]))
        .block(pane(state, Pane::Closes, "Closes".to_owned()));
    table(frame, state, Pane::Closes, drawn, area);
}

fn draw_engine(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let rows = engine::lines(state).into_iter().map(|(name, value)| Row::new(vec![Cell::from(name), right(value)]));
    let widths = [Constraint::Fill(3), Constraint::Fill(1)];
    let drawn =
        Table::new(rows.collect::<Vec<_>>(), widths).block(pane(state, Pane::Engine, "Engine, process".to_owned()));
    table(frame, state, Pane::Engine, drawn, area);
}

fn footer(state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    if state.is_paused {
        spans.push(Span::styled(" PAUSED ", Style::new().add_modifier(Modifier::REVERSED)));
        spans.push(" ".into());
    }
    if state.typing.is_some() {
        spans.push(format!("/{}", harmless(&state.filter)).into());
        spans.push(Span::styled("█", Style::new().add_modifier(Modifier::SLOW_BLINK)));
        spans.push(Span::styled("  enter keeps it, esc doesn't", FAINT));
        return Line::from(spans);
    }
    for (key, what) in [
        ("q", "quit"),
        ("s", "sort"),
        ("r", "reverse"),
        ("/", "filter"),
        ("tab", "pane"),
        ("↑↓", "move"),
        ("p", "pause"),
        ("?", "help"),
    ] {
        spans.push(Span::styled(key, LOUD));
        spans.push(Span::styled(format!(" {what}  "), FAINT));
    }
    Line::from(spans)
}

/// Also in `docs/STATUS.md`.
const HELP: &[(&str, &str)] = &[
    ("s, S", "sort by the next column, the one before"),
    ("1 to 6", "sort by that column; again: the other way"),
    ("r", "the other way"),
    ("/", "only sessions with this in their names"),
    ("esc", "without the filter; or quit"),
    ("tab", "the next pane, which the arrows move in"),
    ("↑ ↓ k j", "a line; page up and down: ten; home, end"),
    ("p", "pause, go on"),
    ("q", "quit"),
];

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let height = u16::try_from(HELP.len()).unwrap_or(9) + 6;
    let place = area.centered(Constraint::Length(60), Constraint::Length(height));
    let mut lines: Vec<_> = HELP
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!(" {key:<9}"), LOUD), (*what).into()]))
        .collect();
    lines.push(Line::default());
    for text in [
        " FULL is what waits for a reader, of what may: at 100 % it",
        " is closed. EVENTS/S is by how much SEQUENCE grew. With",
        " Redis each node tells of those connected to it.",
    ] {
        lines.push(Line::styled(text, FAINT));
    }
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" Keys ")), place);
}

#[cfg(test)]
#[path = "tests/draw.rs"]
mod tests;
