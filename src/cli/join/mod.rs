//! `signalbox join`: a member that a person, or a pipe, can use.

mod input;
mod show;
mod terminal;

use std::time::Duration;

use clap::Args;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesOrdered};
use serde_json::json;
use tokio::{
    signal::unix::{self, SignalKind, signal},
    sync::mpsc,
};

use crate::client::{Accepted, Connection, Event, Events, JoinOptions, Over, SendError, Session, Signal};

use super::{connect::ServerArgs, failure::Failure, json as as_json, output::harmless};

use input::Input;
use terminal::{Line, Printer};

/// How many lines may be on their way before the next is read. More than the
/// server's burst, so that its rate is used in full.
const MOST_SENDS: usize = 256;

/// What may wait to be sent: room for as many lines as are read, of any size.
const QUEUE: (usize, usize) = (MOST_SENDS, 16 * 1_024 * 1_024);

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Lines typed are sent to everyone. Commands:\n  \
    /to ID text   sends to one; the beginning of its id is enough\n  \
    /type T       sets the type of what you send; /type alone: none\n  \
    /who          lists who is here\n  \
    /quit         leaves\n  \
    //text        sends a line that begins with /\n\n\
    It works in pipes: each line of standard input is sent, in order and no faster than the\n\
    server takes them; at the end of the input it leaves, once every send has its outcome.\n\
    A line that can't be sent is told on standard error, and the exit code is 1.\n\n\
    When the connection is lost it shows `reconnecting…`, keeps what is typed, and goes on after\n\
    `reconnected`: nothing is lost, repeated or reordered, unless it says that events were missed.\n\
    Where everything was sent, it leaves without waiting to get back in.\n\n\
    With --json each event is one object per line, {\"event\": \"signal\", \"sequence\": 2, …}, with\n\
    the names of the API's fields.\n\n\
    Examples:\n  \
    signalbox join demo --data Ada\n  \
    seq 10 | signalbox join demo --type count\n  \
    signalbox join demo --json --stay < /dev/null | jq .data")]
pub(super) struct JoinArgs {
    /// The session
    session: String,

    /// What to tell the others about yourself, at most 1000 bytes
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,

    /// The type of what you send, to begin with
    #[arg(long = "type", value_name = "TYPE", default_value = "")]
    kind: String,

    /// Receive only signals of this type; may be repeated
    #[arg(long, value_name = "TYPE")]
    only: Vec<String>,

    /// Don't be told who comes and goes
    #[arg(long)]
    suppress_connection_events: bool,

    /// Don't receive your own signals
    #[arg(long)]
    suppress_own_signals: bool,

    /// Stay at the end of the input, and receive until interrupted
    #[arg(long)]
    stay: bool,

    /// How long to try to get back in after a loss of the connection
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration)]
    give_up_after: Duration,

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: JoinArgs) -> Result<(), Failure> {
    let client = args.server.client()?.give_up_after(args.give_up_after).build()?;
    let options = JoinOptions::new(args.session)
        .connection_data(args.data)
        .signal_types(args.only)
        .suppress_connection_events(args.suppress_connection_events)
        .suppress_own_signals(args.suppress_own_signals)
        .queue(QUEUE.0, QUEUE.1);
    let (session, mut events) = client.join(options).await?;
    // From here on an interrupt leaves, whenever it comes.
    let mut interrupts = signal(SignalKind::interrupt())?;

    let (mut lines, printer, restore, person) = terminal::open(args.server.json);
    let mut member = Member {
        session,
        me: String::new(),
        kind: args.kind,
        json: args.server.json,
        printer,
        person,
        sends: FuturesOrdered::new(),
        last_send: 0,
        said: 0,
        refused: 0,
        away: false,
        leaving: Leaving::No,
    };
    let ended = member.take_part(&mut events, &mut lines, &mut interrupts, args.stay).await;
    // In this order: an editor that is let go lets the printer come to its end.
    drop(lines);
    drop(member);
    drop(restore);
    ended
}

/// Whether the command is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// The input is over, and it stays to receive.
    Never,
    /// Once every send has its outcome.
    WhenSettled,
    Now,
}

/// The outcome of the send of a number.
type Decided = (u64, Result<Accepted, SendError>);

struct Member {
    session: Session,
    me: String,
    kind: String,
    json: bool,
    printer: Printer,
    person: bool,
    sends: FuturesOrdered<BoxFuture<'static, Decided>>,
    last_send: u64,
    /// How many lines were typed that are to be sent, or look so.
    said: usize,
    /// How many of them were not, for good.
    refused: usize,
    /// Whether the connection is lost, for now.
    away: bool,
    leaving: Leaving,
}

impl Member {
    /// Sends what is typed and shows what happens, until it is over.
    async fn take_part(
        &mut self,
        events: &mut Events,
        lines: &mut mpsc::Receiver<Line>,
        interrupts: &mut unix::Signal,
        stay: bool,
    ) -> Result<(), Failure> {
        loop {
            // To get back in only to say goodbye is not worth a wait, which may
            // end with giving up.
            if self.away && self.leaving == Leaving::WhenSettled && self.sends.is_empty() {
                self.leave_now();
            }
            // Asked once: the printer may catch up between two questions.
            let keeps_up = self.printer.keeps_up();
            tokio::select! {
                event = events.next(), if keeps_up => match event {
                    Some(Event::Disconnected { reason, action }) => {
                        self.see(&Event::Disconnected { reason: reason.clone(), action })?;
                        return self.over(&reason).await;
                    }
                    Some(event) => self.see(&event)?,
                    // Its last event came before.
                    None => return self.left(),
                },
                () = self.printer.catches_up(), if !keeps_up => {}
                Some(decided) = self.sends.next(), if !self.sends.is_empty() => self.decided(decided)?,
                Some(line) = lines.recv(), if self.takes_input() => match line {
                    Line::Text(text) => self.typed(&text)?,
                    Line::End if stay => self.leaving = Leaving::Never,
                    // Nobody who interrupts waits for the way back.
                    Line::Interrupt if self.away => self.leave_now(),
                    Line::End | Line::Interrupt => self.leave(),
                    Line::Failed(why) => {
                        self.not_sent(&format!("standard input can't be read: {why}"))?;
                        self.leave();
                    }
                },
                Some(()) = interrupts.recv() => {
                    if self.leaving == Leaving::Now {
                        return self.left();
                    }
                    self.leave_now();
                }
            }
        }
    }

    /// Not before it is known who this is: `/who` marks it.
    fn takes_input(&self) -> bool {
        !self.me.is_empty() && self.leaving == Leaving::No && self.sends.len() < MOST_SENDS
    }

    fn leave(&mut self) {
        self.leaving = Leaving::WhenSettled;
        let session = self.session.clone();
        // Events go on meanwhile.
        tokio::spawn(async move { session.leave().await });
    }

    fn leave_now(&mut self) {
        self.leaving = Leaving::Now;
        let session = self.session.clone();
        tokio::spawn(async move { session.leave_now().await });
    }

    fn see(&mut self, event: &Event) -> Result<(), Failure> {
        if let Event::Joined { connection, .. } | Event::Reconnected { connection, .. } = event {
            self.me.clone_from(&connection.connection_id);
        }
        match event {
            Event::Reconnecting { .. } => self.away = true,
            Event::Reconnected { .. } => self.away = false,
            _ => {}
        }
        if self.json {
            self.printer.line(&as_json::member_event(event).to_string())?;
        } else if let Some(line) = show::event(event, &self.me) {
            self.printer.line(&line)?;
        }
        Ok(())
    }

    fn decided(&mut self, (send, outcome): Decided) -> Result<(), Failure> {
        self.refused += usize::from(outcome.is_err());
        if self.json {
            self.printer.line(&as_json::outcome(send, &outcome).to_string())?;
        }
        // What a script's interrupt dropped is told once, by its number.
        let dropped = !self.person && self.leaving == Leaving::Now && outcome == Err(SendError::Over);
        match show::outcome(&outcome) {
            Some(text) if !dropped => self.note(&text),
            _ => Ok(()),
        }
    }

    fn typed(&mut self, line: &str) -> Result<(), Failure> {
        match input::parse(line) {
            Input::Say(text) => self.send(Signal::new(self.kind.as_str(), text)),
            Input::To(beginning, text) => match resolve(&self.session.connections(), &beginning) {
                Ok(id) => self.send(Signal::new(self.kind.as_str(), text).to([id])),
                Err(count) => self.not_sent(&format!("{count} ids begin with {beginning}: type more of it"))?,
            },
            Input::Type(kind) => {
                self.kind = kind;
                self.tell(&match self.kind.as_str() {
                    "" => "  what you send has no type".to_owned(),
                    kind => format!("  what you send has the type {}", harmless(kind)),
                })?;
            }
            Input::Who if self.json => {
                let all: Vec<_> = self.session.connections().iter().map(as_json::connection).collect();
                self.printer.line(&json!({ "event": "who", "connections": all }).to_string())?;
            }
            Input::Who => {
                for line in show::who(&self.session.connections(), &self.me) {
                    self.printer.line(&line)?;
                }
            }
            Input::Quit => self.leave(),
            Input::Help => {
                for line in input::HELP.lines() {
                    if self.person { self.tell(&format!("  {line}"))? } else { self.note(line)? }
                }
            }
            Input::Nothing => {}
            Input::Wrong(why) => self.not_sent(&why)?,
        }
        Ok(())
    }

    fn send(&mut self, signal: Signal) {
        self.said += 1;
        self.last_send += 1;
        let send = self.last_send;
        self.sends.push_back(self.session.signal(signal).map(move |outcome| (send, outcome)).boxed());
    }

    /// A line that makes no signal.
    fn not_sent(&mut self, why: &str) -> Result<(), Failure> {
        self.said += 1;
        self.refused += 1;
        self.note(why)
    }

    /// It is out of the session: every send is decided.
    async fn over(&mut self, reason: &Over) -> Result<(), Failure> {
        while let Some(decided) = self.sends.next().await {
            self.decided(decided)?;
        }
        match reason {
            Over::Left => self.left(),
            reason => Err(Failure::Refused(reason.to_string())),
        }
    }

    /// How the command ends. A person saw what was refused and went on; a
    /// script would not know.
    fn left(&self) -> Result<(), Failure> {
        if self.person || self.refused == 0 {
            return Ok(());
        }
        Err(Failure::Refused(format!("{} of {} lines were not sent", self.refused, self.said)))
    }

    /// Tells a person who types something that no script needs.
    fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if self.person { Ok(self.printer.line(text)?) } else { Ok(()) }
    }

    /// Tells the one who types something that is no event.
    fn note(&mut self, text: &str) -> Result<(), Failure> {
        if self.json || !self.person {
            eprintln!("signalbox: {text}");
            return Ok(());
        }
        Ok(self.printer.line(&format!("! {text}"))?)
    }
}

/// The whole id that begins so. What begins none may still be one that isn't
/// known here, and goes as it is.
///
/// # Errors
/// How many it could be, when that is more than one.
fn resolve(connections: &[Connection], beginning: &str) -> Result<String, usize> {
    let mut found = connections.iter().filter(|connection| connection.connection_id.starts_with(beginning));
    match (found.next(), found.count()) {
        (None, _) => Ok(beginning.to_owned()),
        (Some(only), 0) => Ok(only.connection_id.clone()),
        (Some(_), others) => Err(others + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn the_beginning_of_an_id_names_one() {
        let connections = ["abc1", "abd2"].map(|id| {
            let wire = proto::Connection { connection_id: id.to_owned(), ..proto::Connection::default() };
            Connection::from(wire)
        });
        assert_eq!(resolve(&connections, "abc"), Ok("abc1".to_owned()));
        assert_eq!(resolve(&connections, "ab"), Err(2));
        assert_eq!(resolve(&connections, "x"), Ok("x".to_owned()));
    }
}
