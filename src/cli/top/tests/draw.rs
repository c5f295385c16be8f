use std::time::Duration;

use proptest::prelude::*;
use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    cli::top::{
        fetch::NoSnapshot,
        plain,
        state::{Act, tests::snapshot},
    },
    server::{Reader, Snapshot},
};

fn full() -> Snapshot {
    let mut all = snapshot(3_725.0, &[("LEFT", 12), ("SLOW_CONSUMER", 3)], &[("standup", 12.5), ("call-7", 3.0)]);
    all.node.address = "127.0.0.1:50051".into();
    all.node.version = "0.1.0".into();
    all.engine.kind = "memory".into();
    all.totals.sessions = 1_234;
    all.totals.connected = 2_000;
    all.totals.interrupted = 5;
    all.sessions.matching = 1_234;
    all.sessions.looked_at = 1_234;
    all.sessions.rows[0].connected = 40;
    all.sessions.rows[0].sequence = 99_000;
    all.sessions.rows[0].age_seconds = 61.0;
    all.memory.spent = [("logs".to_owned(), 3 << 20)].into();
    all.readers = vec![Reader {
        session: Some("standup".into()),
        connection: Some("3597ef28-83b1-49df-a9c1-b331aeb9aa75".into()),
        events: 700,
        bytes: 4_096,
        full: 0.68,
        waiting_seconds: 9.0,
        ..Reader::default()
    }];
    all
}

fn state(count: usize) -> State {
    let endpoint = |at: usize| format!("127.0.0.1:{}", 9_464 + at).parse().expect("an endpoint");
    State::new((0..count).map(endpoint).collect())
}

fn screen(state: &State, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, state, Instant::now())).expect("drawn");
    let cells = terminal.backend().buffer().content();
    cells.chunks(usize::from(width)).map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
}

/// The first line with each of these in it, in this order.
#[track_caller]
fn has(screen: &[String], words: &[&str]) {
    let has = |line: &String| {
        let mut rest = line.as_str();
        words.iter().all(|word| rest.split_once(word).map(|(_, after)| rest = after).is_some())
    };
    assert!(screen.iter().any(has), "{words:?} is in no line of\n{}", screen.join("\n"));
}

#[test]
fn all_of_it_is_on_a_screen_of_the_usual_size() {
    let mut state = state(1);
    state.heard(vec![Ok(full())], Instant::now());
    let mut later = full();
    later.node.uptime_seconds += 2.0;
    later.totals.deliveries = 10_000;
    later.totals.closes.insert("LEFT".into(), 14);
    state.heard(vec![Ok(later)], Instant::now());
    for (width, height) in [(80, 24), (100, 30), (160, 50)] {
        let seen = screen(&state, width, height);
        has(&seen, &["signalbox 127.0.0.1:50051 ready", "0.1.0", "up 1h02m", "engine memory"]);
        has(&seen, &["sessions 1,234", "connections 2,005", "signals/s 0", "deliveries/s 5,000"]);
        has(&seen, &["closes/min 60", "waiting 0", "memory 3.0 MiB"]);
        has(&seen, &["Sessions 2 of 1,234 by rate"]);
        has(&seen, &["SESSION", "CONNECTIONS", "INTERRUPTED", "EVENTS/S▾", "SEQUENCE", "AGE"]);
        has(&seen, &["standup", "40", "0", "12.5", "99,000", "1m01s"]);
        has(&seen, &["standup", "68 %", "700", "9s"]);
        has(&seen, &["LEFT", "60", "14"]);
        has(&seen, &["q quit", "s sort", "/ filter", "? help"]);
    }
    has(&screen(&state, 160, 50), &["standup", "3597ef28", "68 %", "700", "4.0 KiB", "9s"]);
    has(&screen(&state, 160, 50), &["Slow readers 1", "Closes", "Engine, process"]);
}

#[test]
fn what_is_chosen_shows() {
    let mut state = state(1);
    state.heard(vec![Ok(full())], Instant::now());
    let press = |state: &mut State, keys: &str| {
        for c in keys.chars() {
            let key = ratatui::crossterm::event::KeyEvent::from(ratatui::crossterm::event::KeyCode::Char(c));
            assert_ne!(state.key(key), Act::Quit);
        }
    };
    press(&mut state, "1r/call");
    let seen = screen(&state, 90, 24);
    has(&seen, &["by name, the last first with \"call\""]);
    has(&seen, &["SESSION▴"]);
    has(&seen, &["/call█", "enter keeps it"]);
    assert!(!seen.iter().any(|line| line.contains("99,000")), "{seen:#?}");
    state.typing = None;
    press(&mut state, "p");
    has(&screen(&state, 90, 24), &["PAUSED", "q quit"]);
    press(&mut state, "?");
    has(&screen(&state, 90, 24), &["1 to 6", "sort by that column"]);
}

#[test]
fn who_is_away_is_said_with_the_reason_and_for_how_long() {
    let mut state = state(2);
    let away = || Err(NoSnapshot::Away("connection refused".into()));
    let began = Instant::now().checked_sub(Duration::from_secs(75)).expect("a machine that runs for a minute");
    state.heard(vec![Ok(full()), away()], began);
    state.heard(vec![Ok(full()), away()], Instant::now());
    let seen = screen(&state, 100, 30);
    has(&seen, &["1 127.0.0.1:50051 ready"]);
    has(&seen, &["2 127.0.0.1:9465 is away since 1m15s: connection refused; asking again"]);
    has(&seen, &["1 standup"]);
    assert!(plain::text(&state).contains("127.0.0.1:9465 is away: connection refused"));
}

#[test]
fn plain_text_tells_the_same() {
    let mut state = state(1);
    state.heard(vec![Ok(full())], Instant::now());
    let text = plain::text(&state);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    has(&lines, &["127.0.0.1:50051", "signalbox 0.1.0", "ready", "up 1h02m", "engine memory"]);
    has(&lines, &["sessions 1,234", "connections 2,005", "signals/s –"]);
    has(&lines, &["standup", "40", "12.5", "99000", "1m01s"]);
    has(&lines, &["and 1,232 more"]);
    has(&lines, &["standup", "3597ef28-83b1-49df-a9c1-b331aeb9aa75", "68%", "700"]);
    has(&lines, &["SLOW_CONSUMER", "3"]);
}

/// Everything that others choose, or could if the server were not the one it says it is.
fn hostile(text: &str) -> Snapshot {
    let mut all = snapshot(1.0, &[(text, 1)], &[(text, f64::NAN), (text, f64::INFINITY)]);
    all.node.address = text.into();
    all.node.version = text.into();
    all.node.name = Some(text.into());
    all.node.why = Some(text.into());
    all.engine.kind = text.into();
    all.engine.figures = [(text.to_owned(), -1.0)].into();
    all.totals.cap_hits = [(text.to_owned(), u64::MAX)].into();
    all.totals.panics = u64::MAX;
    all.memory.spent = [(text.to_owned(), 7)].into();
    all.totals.closes.insert("more".into(), u64::MAX);
    all.totals.connected = usize::MAX;
    all.totals.interrupted = usize::MAX;
    all.sessions.matching = usize::MAX;
    all.sessions.rows[0].connected = usize::MAX;
    all.sessions.rows[0].interrupted = usize::MAX;
    all.sessions.rows[0].sequence = u64::MAX;
    all.sessions.rows[0].age_seconds = f64::MAX;
    all.readers =
        vec![Reader { session: Some(text.into()), connection: Some(text.into()), full: f64::NAN, ..Reader::default() }];
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_name_reaches_the_terminal_as_anything_but_text(
        text in prop_oneof![".*", "[!-~]{1,255}", "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}]{0,20}"],
        width in 0_u16..140,
        height in 0_u16..50,
    ) {
        let mut state = state(2);
        state.heard(vec![Ok(hostile(&text)), Ok(hostile(&text))], Instant::now());
        let mut later = hostile(&text);
        later.node.uptime_seconds = f64::MIN_POSITIVE + 1.0;
        state.heard(vec![Ok(later), Err(NoSnapshot::Away(text.clone()))], Instant::now());
        let harmful = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        for pane in Pane::ALL {
            state.pane = pane;
            prop_assert!(!screen(&state, width.max(1), height.max(1)).concat().contains(harmful));
        }
        prop_assert!(!plain::text(&state).contains(|c| c != '\n' && harmful(c)));
    }
}
