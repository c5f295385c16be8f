use std::time::Duration;

use super::*;
use crate::server::State as Readiness;

fn endpoint(text: &str) -> Endpoint {
    text.parse().expect("an endpoint")
}

/// A snapshot at this age of its process, with these closes, and sessions with these rates.
pub(in crate::cli::top) fn snapshot(uptime: f64, closes: &[(&str, u64)], sessions: &[(&str, f64)]) -> Snapshot {
    let mut snapshot = Snapshot { version: crate::server::VERSION, ..Snapshot::default() };
    snapshot.node.state = Readiness::Ready;
    snapshot.node.uptime_seconds = uptime;
    snapshot.totals.closes = closes.iter().map(|(reason, times)| ((*reason).to_owned(), *times)).collect();
    snapshot.sessions.rows = sessions
        .iter()
        .map(|(id, rate)| SessionRow { id: (*id).to_owned(), events_per_second: Some(*rate), ..SessionRow::default() })
        .collect();
    snapshot.sessions.matching = sessions.len();
    snapshot.sessions.looked_at = sessions.len();
    snapshot
}

fn state(count: usize) -> State {
    State::new((0..count).map(|at| endpoint(&format!("127.0.0.1:{}", 9_464 + at))).collect())
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn press(state: &mut State, keys: &str) -> Act {
    keys.chars().map(|c| state.key(key(KeyCode::Char(c)))).last().expect("a key")
}

fn names(state: &State) -> Vec<&str> {
    state.sessions().into_iter().map(|(_, row)| row.id.as_str()).collect()
}

#[test]
fn rates_are_between_two_looks_at_one_process() {
    let mut state = state(1);
    let now = Instant::now();
    let with = |uptime, signals, closes| {
        let mut snapshot = snapshot(uptime, &[("LEFT", closes)], &[]);
        snapshot.totals.signals = [("client".to_owned(), signals)].into();
        Ok(snapshot)
    };
    state.heard(vec![with(10.0, 100, 1)], now);
    assert_eq!(state.nodes[0].rates, None);
    state.heard(vec![with(12.0, 300, 4)], now);
    let rates = state.nodes[0].rates.clone().expect("rates");
    assert_eq!(rates.signals, 100.0);
    assert_eq!(state.closes(), [("LEFT", Some(90.0), 4)]);
    // The same look once more is no interval, and too many questions are no loss.
    state.heard(vec![with(12.0, 300, 4)], now);
    state.heard(vec![Err(NoSnapshot::Later)], now);
    assert_eq!(state.nodes[0].rates, Some(rates));
    // Another process.
    state.heard(vec![with(0.5, 7, 0)], now);
    assert_eq!(state.nodes[0].rates, None);
    state.heard(vec![with(1.5, 8, 0)], now);
    assert_eq!(state.nodes[0].rates.as_ref().map(|rates| rates.signals), Some(1.0));
    let series: Vec<_> = state.history(Series::Signals).iter().copied().collect();
    assert_eq!(series, [None, Some(100.0), Some(100.0), Some(100.0), None, Some(1.0)]);
}

#[test]
fn closes_are_those_of_the_last_minute() {
    let mut state = state(1);
    for second in 0..200_u32 {
        // One a second, but for the last minute: one each two.
        let closes = if second < 140 { second } else { 140 + (second - 140) / 2 };
        state.heard(vec![Ok(snapshot(second.into(), &[("LEFT", closes.into())], &[]))], Instant::now());
        if second == 100 {
            assert_eq!(state.closes(), [("LEFT", Some(60.0), 100)]);
        }
    }
    let [(_, Some(rate), 169)] = state.closes()[..] else { panic!("{:?}", state.closes()) };
    assert!((29.0..31.0).contains(&rate), "{rate}");
    assert_eq!(state.history(Series::Closes).back(), Some(&Some(rate)));
}

#[test]
fn who_is_away_is_away_since_the_first_time_and_what_it_said_is_not_shown() {
    let mut state = state(1);
    let now = Instant::now();
    let away = || vec![Err(NoSnapshot::Away("connection refused".to_owned()))];
    state.heard(vec![Ok(snapshot(1.0, &[], &[("s", 1.0)]))], now);
    state.heard(away(), now + Duration::from_secs(1));
    state.heard(away(), now + Duration::from_secs(2));
    let since = state.nodes[0].away.as_ref().map(|(since, _)| *since);
    assert_eq!(since, Some(now + Duration::from_secs(1)));
    assert_eq!(names(&state), [""; 0]);
    assert_eq!(state.history(Series::Sessions).back(), Some(&None));
    state.heard(vec![Ok(snapshot(9.0, &[], &[("s", 1.0)]))], now + Duration::from_secs(3));
    assert_eq!((names(&state), &state.nodes[0].away, &state.nodes[0].rates), (vec!["s"], &None, &None));
}

#[test]
fn several_servers_are_one_view() {
    let mut state = state(3);
    let one = snapshot(1.0, &[("LEFT", 1)], &[("b", 2.0), ("a", 1.0)]);
    let mut other = snapshot(1.0, &[("LEFT", 2), ("BROKEN", 9)], &[("b", 3.0)]);
    other.totals.sessions = 4;
    other.readers = vec![Reader { full: 0.5, ..Reader::default() }, Reader { full: 0.1, ..Reader::default() }];
    state.heard(vec![Ok(one), Ok(other), Err(NoSnapshot::Away("gone".into()))], Instant::now());
    let rows: Vec<_> = state.sessions().into_iter().map(|(at, row)| (at, row.id.as_str())).collect();
    assert_eq!(rows, [(1, "b"), (0, "b"), (0, "a")]);
    assert_eq!(state.matching(), (3, 3));
    assert_eq!(state.closes(), [("BROKEN", None, 9), ("LEFT", None, 3)]);
    assert_eq!(state.history(Series::Sessions).back(), Some(&Some(4.0)));
    assert_eq!(state.readers().iter().map(|(at, reader)| (*at, reader.full)).collect::<Vec<_>>(), [(1, 0.5), (1, 0.1)]);
}

#[test]
fn keys_sort_and_turn_the_order_round() {
    let mut state = state(1);
    let mut given = snapshot(1.0, &[], &[("b", 2.0), ("a", 1.0), ("c", 3.0)]);
    given.sessions.rows[1].sequence = 9;
    state.heard(vec![Ok(given)], Instant::now());
    assert_eq!((names(&state), state.sort), (vec!["c", "b", "a"], Sort::Rate));
    assert_eq!(press(&mut state, "r"), Act::Ask);
    assert_eq!(names(&state), ["a", "b", "c"]);
    assert_eq!((press(&mut state, "s"), state.sort, state.reverse), (Act::Ask, Sort::Sequence, false));
    assert_eq!(names(&state), ["a", "b", "c"]);
    assert_eq!((press(&mut state, "S"), state.sort), (Act::Ask, Sort::Rate));
    assert_eq!((press(&mut state, "1"), names(&state)), (Act::Ask, vec!["a", "b", "c"]));
    assert_eq!((press(&mut state, "1"), names(&state)), (Act::Ask, vec!["c", "b", "a"]));
    // Round and round.
    press(&mut state, "ssssss");
    assert_eq!((state.sort, state.reverse), (Sort::Name, false));
    assert_eq!(state.wanted(), Wanted::new(SESSIONS, "name", false, ""));
}

#[test]
fn a_filter_counts_while_it_is_typed_and_can_be_taken_back() {
    let mut state = state(1);
    state.heard(vec![Ok(snapshot(1.0, &[], &[("room-1", 2.0), ("Room-2", 1.0), ("hall", 0.0)]))], Instant::now());
    assert_eq!(press(&mut state, "/"), Act::Show);
    assert_eq!(press(&mut state, "ROOM"), Act::Ask);
    assert_eq!(names(&state), ["room-1", "Room-2"]);
    // Keys are letters now; what no name has is left out.
    press(&mut state, "-q é");
    assert_eq!(state.filter, "ROOM-q");
    assert_eq!(state.key(key(KeyCode::Backspace)), Act::Ask);
    assert_eq!(state.key(key(KeyCode::Enter)), Act::Show);
    assert_eq!(names(&state), ["room-1", "Room-2"]);
    assert_eq!(state.wanted(), Wanted::new(SESSIONS, "rate", false, "ROOM-"));
    press(&mut state, "/2");
    assert_eq!(names(&state), ["Room-2"]);
    assert_eq!(state.key(key(KeyCode::Esc)), Act::Ask);
    assert_eq!(state.filter, "ROOM-");
    assert_eq!(state.key(key(KeyCode::Esc)), Act::Ask);
    assert_eq!(state.filter, "");
    assert_eq!(state.key(key(KeyCode::Esc)), Act::Quit);
    press(&mut state, "/");
    press(&mut state, &"x".repeat(300));
    assert_eq!(state.filter.len(), 255);
}

#[test]
fn arrows_stay_within_what_there_is_also_when_it_becomes_less() {
    let mut state = state(1);
    let sessions: Vec<_> = (0..30).map(|number| (format!("s{number}"), f64::from(number))).collect();
    let sessions: Vec<_> = sessions.iter().map(|(id, rate)| (id.as_str(), *rate)).collect();
    state.heard(vec![Ok(snapshot(1.0, &[], &sessions))], Instant::now());
    for (code, place) in [
        (KeyCode::Up, 0),
        (KeyCode::Down, 1),
        (KeyCode::PageDown, 11),
        (KeyCode::End, 29),
        (KeyCode::Down, 29),
        (KeyCode::PageUp, 19),
        (KeyCode::Home, 0),
        (KeyCode::End, 29),
    ] {
        assert_eq!(state.key(key(code)), Act::Show);
        assert_eq!(state.places[0], place, "{code:?}");
    }
    state.heard(vec![Ok(snapshot(2.0, &[], &sessions[..3]))], Instant::now());
    assert_eq!(state.places[0], 2);
    state.heard(vec![Ok(snapshot(3.0, &[], &[]))], Instant::now());
    assert_eq!(state.places[0], 0);
    // Each pane has a place of its own.
    state.key(key(KeyCode::Tab));
    assert_eq!(state.pane, Pane::Readers);
    state.key(key(KeyCode::BackTab));
    state.key(key(KeyCode::BackTab));
    assert_eq!(state.pane, Pane::Engine);
    state.key(key(KeyCode::End));
    assert!(state.places[Pane::Engine as usize] > 0);
}

#[test]
fn pausing_helping_and_quitting() {
    let mut state = state(1);
    assert_eq!((press(&mut state, "p"), state.is_paused), (Act::Show, true));
    assert_eq!((press(&mut state, "p"), state.is_paused), (Act::Ask, false));
    press(&mut state, "?");
    assert!(state.is_helping);
    assert_eq!((press(&mut state, "x"), state.is_helping), (Act::Show, false));
    assert_eq!(press(&mut state, "q"), Act::Quit);
    assert_eq!(press(&mut state, "?q"), Act::Quit);
    for held in ['c', 'd'] {
        let event = KeyEvent::new(KeyCode::Char(held), KeyModifiers::CONTROL);
        press(&mut state, "/");
        assert_eq!(state.key(event), Act::Quit, "while a filter is typed, too");
        state.typing = None;
    }
    let released = KeyEvent { kind: KeyEventKind::Release, ..key(KeyCode::Char('q')) };
    assert_eq!(state.key(released), Act::Show);
}
