//! `signalbox top`: what a server does, as it does it.
//!
//! State and drawing know nothing of terminals and sockets; this file has both.

mod draw;
mod engine;
mod fetch;
mod plain;
mod show;
mod state;

use std::{
    io::{self, IsTerminal as _},
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep_until,
};

use crate::server::Snapshot;

use super::{failure::Failure, output};
use fetch::{Endpoint, NoSnapshot, Wanted, fetch};
use state::{Act, State};

/// After a key that changes what is asked for: there may be more of them.
const SOON: Duration = Duration::from_millis(100);

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Keys: s sorts by the next column, r the other way, / filters by name, tab and the arrows move, \
    p pauses, ? tells the rest, q quits.\n\n\
    Without a terminal it is --once."
)]
pub(super) struct TopArgs {
    /// A server's admin port, as http://HOST:PORT; several times: all of them in one view
    #[arg(
        long,
        env = "SIGNALBOX_ADMIN",
        value_name = "URL",
        default_value = "http://127.0.0.1:9464",
        value_delimiter = ','
    )]
    admin: Vec<Endpoint>,

    /// How often to look, from 200ms to 1h
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Print what there is, as text, and end
    #[arg(long)]
    once: bool,

    /// Print what /status.json says, an object on a line for each server, and end
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|_| "not a duration, as 500ms, 30s, 2m".to_owned())?;
    let is_good = (Duration::from_millis(200)..=Duration::from_secs(3_600)).contains(&interval);
    if is_good { Ok(interval) } else { Err("must be between 200ms and 1h".to_owned()) }
}

pub(super) async fn run(args: TopArgs) -> Result<(), Failure> {
    let state = State::new(args.admin.clone());
    let is_at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if args.json || args.once || !is_at_terminal {
        return look(&args, state).await;
    }
    let mut terminal = Screen::open()?;
    live(&mut terminal.0, state, args.interval).await
}

type Answer = Result<(Snapshot, Bytes), NoSnapshot>;

async fn ask(endpoints: Vec<Endpoint>, wanted: Wanted) -> Vec<Answer> {
    join_all(endpoints.iter().map(|endpoint| fetch(endpoint, &wanted))).await
}

fn read(answers: &[Answer]) -> Vec<Result<Snapshot, NoSnapshot>> {
    let read = |answer: &Answer| answer.as_ref().map(|(snapshot, _)| snapshot.clone()).map_err(Clone::clone);
    answers.iter().map(read).collect()
}

/// Prints what there is.
async fn look(args: &TopArgs, mut state: State) -> Result<(), Failure> {
    let mut answers = ask(args.admin.clone(), state.wanted()).await;
    state.heard(read(&answers), Instant::now());
    let is_there = |answers: &[Answer]| answers.iter().any(Result::is_ok);
    if is_there(&answers) {
        // There are rates from the second look on.
        tokio::time::sleep(args.interval).await;
        answers = ask(args.admin.clone(), state.wanted()).await;
        state.heard(read(&answers), Instant::now());
    }
    for (endpoint, answer) in args.admin.iter().zip(&answers) {
        let why = match answer {
            Ok((_, body)) => {
                if args.json {
                    output::line(&String::from_utf8_lossy(body))?;
                }
                continue;
            }
            Err(NoSnapshot::Later) => "too many others ask; try again",
            Err(NoSnapshot::Away(why)) => why,
        };
        eprintln!("signalbox: {endpoint}: {}", output::harmless(why));
    }
    if !args.json && is_there(&answers) {
        output::line(plain::text(&state).trim_end())?;
    }
    match answers.iter().all(Result::is_ok) {
        true => Ok(()),
        false => Err(Failure::Refused(
            "--admin names a server's admin port, which `signalbox serve` says when it starts".to_owned(),
        )),
    }
}

/// The terminal, taken; given back when this is dropped, and before a panic is told.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // When the terminal is gone there is nobody left to tell.
        let _ = self.0.show_cursor();
        // Twice would take the place that the shell goes on at back to where it was before,
        // over what the panic said.
        if !std::thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}

/// Shows it until somebody has seen enough.
async fn live(terminal: &mut DefaultTerminal, mut state: State, every: Duration) -> Result<(), Failure> {
    let mut events = events();
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [terminate, interrupt, hangup] = &mut signals;
    let (Ok(terminate), Ok(interrupt), Ok(hangup)) = (terminate, interrupt, hangup) else {
        return Err(Failure::Refused("can't listen for signals".to_owned()));
    };
    let mut next = tokio::time::Instant::now();
    let mut asking: Option<Pin<Box<dyn Future<Output = Vec<Answer>>>>> = None;
    loop {
        terminal.draw(|frame| draw::draw(frame, &state, Instant::now()))?;
        let answered = async {
            match &mut asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        let is_asking = !state.is_paused;
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Key(key)) => match state.key(key) {
                    Act::Show => {}
                    // What was asked for is not wanted any more.
                    Act::Ask => {
                        asking = None;
                        next = tokio::time::Instant::now() + SOON;
                    }
                    Act::Quit => return Ok(()),
                },
                // A new size, among others: it is drawn anew.
                Some(_) => {}
                // The terminal is gone.
                None => return Ok(()),
            },
            answers = answered => {
                asking = None;
                if !state.is_paused {
                    state.heard(read(&answers), Instant::now());
                }
            }
            () = sleep_until(next), if is_asking => {
                next = tokio::time::Instant::now() + every;
                // One at a time: an answer that takes longer is waited for.
                if asking.is_none() {
                    let endpoints = state.nodes.iter().map(|node| node.endpoint.clone()).collect();
                    asking = Some(Box::pin(ask(endpoints, state.wanted())));
                }
            }
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

/// What happens at the terminal, read by a thread of its own, because reading it can't be
/// cancelled; it ends with the process.
fn events() -> mpsc::UnboundedReceiver<Event> {
    let (send, events) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if send.send(event).is_err() {
                return;
            }
        }
    });
    events
}
