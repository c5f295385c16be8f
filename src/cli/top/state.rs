//! What is known and how it is shown: no I/O, no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::server::{Reader, SessionRow, Snapshot, Sort};

use super::fetch::{Endpoint, NoSnapshot, Wanted};

/// How many sessions are asked for, of each server.
pub(super) const SESSIONS: usize = 200;
/// How many samples are kept for the plots: more than a terminal is wide.
const SAMPLES: usize = 400;
/// As long as a session's name may be.
const MOST_FILTER: usize = 255;
/// In seconds.
const MINUTE: f64 = 60.0;

/// A server that is looked at.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    /// What it said last.
    pub(super) snapshot: Option<Snapshot>,
    /// What became of its totals in the last interval; none at first, and after a restart.
    pub(super) rates: Option<Rates>,
    /// The closes by reason of the last minute's looks, each with the age of its process:
    /// in one second there are none, or a storm.
    minute: VecDeque<(f64, BTreeMap<String, u64>)>,
    /// Since when it doesn't answer, and why.
    pub(super) away: Option<(Instant, String)>,
}

/// Growth in a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) signals: f64,
    pub(super) deliveries: f64,
    /// CPUs.
    pub(super) cpu: Option<f64>,
    /// Of the engine, a mean; none if nothing was asked of it.
    pub(super) latency: Option<f64>,
}

impl Rates {
    /// From one look at a server to the next; none where the later isn't later: another
    /// process then.
    #[allow(clippy::cast_precision_loss)] // Rates.
    fn between(before: &Snapshot, now: &Snapshot) -> Option<Self> {
        let over = now.node.uptime_seconds - before.node.uptime_seconds;
        if over <= 0.0 {
            return None;
        }
        let grown = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let (totals, earlier) = (&now.totals, &before.totals);
        let answers = now.engine.answers.zip(before.engine.answers);
        Some(Self {
            signals: grown(sum(&totals.signals), sum(&earlier.signals)) / over,
            deliveries: grown(totals.deliveries, earlier.deliveries) / over,
            cpu: now.process.zip(before.process).map(|(now, before)| (now.cpu_seconds - before.cpu_seconds) / over),
            latency: answers.and_then(|(now, before)| {
                let count = grown(now.count, before.count);
                (count > 0.0).then(|| (now.seconds - before.seconds) / count)
            }),
        })
    }
}

fn sum(map: &BTreeMap<String, u64>) -> u64 {
    map.values().fold(0, |all, one| all.saturating_add(*one))
}

impl Node {
    /// How many closes there were in a minute, of all or some; none before the second look.
    #[allow(clippy::cast_precision_loss)] // A rate.
    pub(super) fn closes_per_minute(&self, of: impl Fn(&BTreeMap<String, u64>) -> u64) -> Option<f64> {
        let ((then, before), (now, after)) = (self.minute.front()?, self.minute.back()?);
        (now > then).then(|| of(after).saturating_sub(of(before)) as f64 / (now - then) * MINUTE)
    }

    fn remember(&mut self, snapshot: &Snapshot) {
        let now = snapshot.node.uptime_seconds;
        if self.minute.back().is_some_and(|(then, _)| *then > now) {
            self.minute.clear();
        }
        if self.minute.back().is_none_or(|(then, _)| *then < now) {
            self.minute.push_back((now, snapshot.totals.closes.clone()));
        }
        while self.minute.len() > 2 && self.minute.front().is_some_and(|(then, _)| now - then > MINUTE) {
            self.minute.pop_front();
        }
    }
}

/// A figure that is plotted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    Sessions,
    Connections,
    Signals,
    Deliveries,
    Closes,
    Outboxes,
    Memory,
    Cpu,
}

impl Series {
    pub(super) const ALL: [Self; 8] = [
        Self::Sessions,
        Self::Connections,
        Self::Signals,
        Self::Deliveries,
        Self::Closes,
        Self::Outboxes,
        Self::Memory,
        Self::Cpu,
    ];

    #[allow(clippy::cast_precision_loss)] // Plots.
    fn of(self, node: &Node) -> Option<f64> {
        let snapshot = node.snapshot.as_ref().filter(|_| node.away.is_none())?;
        let rates = node.rates.as_ref();
        match self {
            Self::Sessions => Some(snapshot.totals.sessions as f64),
            Self::Connections => Some(snapshot.totals.connected.saturating_add(snapshot.totals.interrupted) as f64),
            Self::Signals => rates.map(|rates| rates.signals),
            Self::Deliveries => rates.map(|rates| rates.deliveries),
            Self::Closes => node.closes_per_minute(sum),
            Self::Outboxes => Some(snapshot.outboxes.events as f64),
            Self::Memory => Some(snapshot.memory.spent.values().map(|bytes| *bytes as f64).sum()),
            Self::Cpu => rates.and_then(|rates| rates.cpu).map(|cpu| cpu * 100.0),
        }
    }
}

/// What the keys move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Sessions,
    Readers,
    Closes,
    Engine,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Sessions, Self::Readers, Self::Closes, Self::Engine];
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Nothing but to show it.
    Show,
    /// To ask anew.
    Ask,
    /// To end.
    Quit,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) sort: Sort,
    pub(super) reverse: bool,
    pub(super) filter: String,
    /// The filter is being typed; what it was before.
    pub(super) typing: Option<String>,
    pub(super) pane: Pane,
    /// The place in each pane.
    pub(super) places: [usize; Pane::ALL.len()],
    pub(super) is_paused: bool,
    pub(super) is_helping: bool,
    history: [VecDeque<Option<f64>>; Series::ALL.len()],
}

impl State {
    /// Of servers not asked yet.
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        let node = |endpoint| Node { endpoint, snapshot: None, rates: None, minute: VecDeque::new(), away: None };
        Self {
            nodes: endpoints.into_iter().map(node).collect(),
            sort: Sort::default(),
            reverse: false,
            filter: String::new(),
            typing: None,
            pane: Pane::default(),
            places: [0; Pane::ALL.len()],
            is_paused: false,
            is_helping: false,
            history: Default::default(),
        }
    }

    /// What to ask for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted::new(SESSIONS, self.sort.name(), self.reverse, &self.filter)
    }

    /// All were asked; what each said, in their order.
    pub(super) fn heard(&mut self, answers: Vec<Result<Snapshot, NoSnapshot>>, now: Instant) {
        for (node, answer) in self.nodes.iter_mut().zip(answers) {
            match answer {
                Ok(snapshot) => {
                    let before = node.snapshot.as_ref().filter(|_| node.away.is_none());
                    // A look that was good for two answers is no interval.
                    let is_same = before.is_some_and(|before| {
                        before.node.uptime_seconds.to_bits() == snapshot.node.uptime_seconds.to_bits()
                    });
                    if !is_same {
                        node.rates = before.and_then(|before| Rates::between(before, &snapshot));
                    }
                    node.remember(&snapshot);
                    node.away = None;
                    node.snapshot = Some(snapshot);
                }
                Err(NoSnapshot::Later) => {}
                Err(NoSnapshot::Away(why)) => {
                    let since = node.away.take().map_or(now, |(since, _)| since);
                    node.away = Some((since, why));
                    node.rates = None;
                    node.minute.clear();
                }
            }
        }
        for (series, history) in Series::ALL.into_iter().zip(&mut self.history) {
            let values: Vec<f64> = self.nodes.iter().filter_map(|node| series.of(node)).collect();
            history.push_back((!values.is_empty()).then(|| values.iter().sum()));
            if history.len() > SAMPLES {
                history.pop_front();
            }
        }
        self.stay_within();
    }

    /// How a figure came to be what it is, the newest last; none: nobody knew.
    pub(super) fn history(&self, series: Series) -> &VecDeque<Option<f64>> {
        &self.history[series as usize]
    }

    /// The sessions of all, each with the number of its server, in order.
    pub(super) fn sessions(&self) -> Vec<(usize, &SessionRow)> {
        let filter = self.filter.to_lowercase();
        let mut rows: Vec<_> = self
            .answering()
            .flat_map(|(at, snapshot)| snapshot.sessions.rows.iter().map(move |row| (at, row)))
            .filter(|(_, row)| row.id.to_lowercase().contains(&filter))
            .collect();
        rows.sort_by(|one, other| self.sort.compare(self.reverse, &one.1.key(), &other.1.key()));
        rows
    }

    /// How many sessions match in all, and how many there are.
    pub(super) fn matching(&self) -> (usize, usize) {
        let counts = self.answering().map(|(_, snapshot)| (snapshot.sessions.matching, snapshot.sessions.looked_at));
        counts.fold((0, 0), |all, one: (usize, usize)| (one.0.saturating_add(all.0), one.1.saturating_add(all.1)))
    }

    /// The slow readers of all, the fullest first.
    pub(super) fn readers(&self) -> Vec<(usize, &Reader)> {
        let mut readers: Vec<_> = self
            .answering()
            .flat_map(|(at, snapshot)| snapshot.readers.iter().map(move |reader| (at, reader)))
            .collect();
        readers.sort_by(|(_, one), (_, other)| other.full.total_cmp(&one.full).then(other.bytes.cmp(&one.bytes)));
        readers
    }

    /// Closes by reason: in a minute, and in all; the most first.
    pub(super) fn closes(&self) -> Vec<(&str, Option<f64>, u64)> {
        let mut closes: BTreeMap<&str, (Option<f64>, u64)> = BTreeMap::new();
        for node in &self.nodes {
            for (reason, times) in node.snapshot.iter().flat_map(|snapshot| &snapshot.totals.closes) {
                let all = closes.entry(reason).or_default();
                all.1 = all.1.saturating_add(*times);
                if let Some(rate) = node.closes_per_minute(|closes| closes.get(reason).copied().unwrap_or(0)) {
                    all.0 = Some(all.0.unwrap_or(0.0) + rate);
                }
            }
        }
        let mut closes: Vec<_> = closes.into_iter().map(|(reason, (rate, all))| (reason, rate, all)).collect();
        closes.sort_by_key(|(_, _, all)| std::cmp::Reverse(*all));
        closes
    }

    /// Those that answer, each with its number.
    pub(super) fn answering(&self) -> impl Iterator<Item = (usize, &Snapshot)> {
        let answering = self.nodes.iter().enumerate().filter(|(_, node)| node.away.is_none());
        answering.filter_map(|(at, node)| Some((at, node.snapshot.as_ref()?)))
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Show;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Act::Quit } else { Act::Show };
        }
        if self.typing.is_some() {
            return self.types(key.code);
        }
        if self.is_helping {
            self.is_helping = false;
            return if key.code == KeyCode::Char('q') { Act::Quit } else { Act::Show };
        }
        match key.code {
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Esc if self.filter.is_empty() => return Act::Quit,
            KeyCode::Esc => {
                self.filter.clear();
                return self.asks();
            }
            KeyCode::Char('/') => self.typing = Some(self.filter.clone()),
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('s') => return self.sorts(1),
            KeyCode::Char('S') => return self.sorts(Sort::ALL.len() - 1),
            KeyCode::Char('r') => {
                self.reverse = !self.reverse;
                return self.asks();
            }
            KeyCode::Char(digit @ '1'..='6') => {
                let at = digit.to_digit(10).map_or(0, |digit| digit as usize - 1);
                let sort = Sort::ALL[at];
                self.reverse = sort == self.sort && !self.reverse;
                self.sort = sort;
                return self.asks();
            }
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                return if self.is_paused { Act::Show } else { Act::Ask };
            }
            KeyCode::Tab => self.turns(1),
            KeyCode::BackTab => self.turns(Pane::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.moves(1),
            KeyCode::Up | KeyCode::Char('k') => self.moves(-1),
            KeyCode::PageDown => self.moves(10),
            KeyCode::PageUp => self.moves(-10),
            KeyCode::Home | KeyCode::Char('g') => self.moves(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.moves(isize::MAX),
            _ => {}
        }
        Act::Show
    }

    fn types(&mut self, key: KeyCode) -> Act {
        match key {
            KeyCode::Enter => self.typing = None,
            KeyCode::Esc => {
                self.filter = self.typing.take().unwrap_or_default();
                return self.asks();
            }
            KeyCode::Backspace => {
                self.filter.pop();
                return self.asks();
            }
            // Names have no others.
            KeyCode::Char(c) if c.is_ascii_graphic() && self.filter.len() < MOST_FILTER => {
                self.filter.push(c);
                return self.asks();
            }
            _ => {}
        }
        Act::Show
    }

    fn asks(&mut self) -> Act {
        self.places = [0; Pane::ALL.len()];
        Act::Ask
    }

    fn sorts(&mut self, by: usize) -> Act {
        let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
        self.sort = Sort::ALL[(at + by) % Sort::ALL.len()];
        self.reverse = false;
        self.asks()
    }

    fn turns(&mut self, by: usize) {
        self.pane = Pane::ALL[(self.pane as usize + by) % Pane::ALL.len()];
    }

    fn moves(&mut self, by: isize) {
        let place = &mut self.places[self.pane as usize];
        *place = place.saturating_add_signed(by);
        self.stay_within();
    }

    /// What was there may be gone.
    fn stay_within(&mut self) {
        let lengths =
            [self.sessions().len(), self.readers().len(), self.closes().len(), super::engine::lines(self).len()];
        for (place, length) in self.places.iter_mut().zip(lengths) {
            *place = (*place).min(length.saturating_sub(1));
        }
    }
}

#[cfg(test)]
#[path = "tests/state.rs"]
pub(super) mod tests;
