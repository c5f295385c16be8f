//! `signalbox join`: a member that a person, or a pipe, can use.

mod input;
mod roster;
mod sends;
mod show;
mod terminal;

use std::time::Instant;

use clap::Args;
use serde_json::json;
use tokio::{
    signal::unix::{self, SignalKind, signal},
    sync::mpsc,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use crate::proto::{
    Join, JoinRequest, JoinResponse, Leave, Recipients, Signal, join_request::Frame, join_response::Event,
    send_result::Outcome,
};

use super::{connect::ServerArgs, failure::Failure, json as as_json, output::harmless};

use input::Input;
use roster::Roster;
use sends::{Sends, Wanted};
use terminal::{Line, Printer};

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

    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn run(args: JoinArgs) -> Result<(), Failure> {
    let mut client = args.server.signaling().await?;
    let (requests, sent) = mpsc::unbounded_channel();
    let join = Join {
        session_id: args.session.clone(),
        connection_data: args.data.clone(),
        signal_types: args.only.clone(),
        suppress_connection_events: args.suppress_connection_events,
        suppress_own_signals: args.suppress_own_signals,
        ..Join::default()
    };
    // The receiver is in hand: it can't be gone.
    let _ = requests.send(JoinRequest { frame: Some(Frame::Join(join)) });
    let mut events = client.join(UnboundedReceiverStream::new(sent)).await?.into_inner();
    // From here on an interrupt leaves, whenever it comes.
    let mut interrupts = signal(SignalKind::interrupt())?;

    let (mut lines, printer, restore, person) = terminal::open(args.server.json);
    let mut member = Member {
        requests,
        roster: Roster::default(),
        sends: None,
        kind: args.kind,
        json: args.server.json,
        printer,
        person,
        said: 0,
        refused: 0,
        leaving: Leaving::No,
    };
    let ended = member.take_part(&mut events, &mut lines, &mut interrupts, args.stay).await;
    // In this order: an editor that is let go lets the printer come to its end.
    drop(lines);
    drop(member);
    drop(restore);
    ended
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
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
    /// `leave` is sent.
    Left,
}

struct Member {
    requests: mpsc::UnboundedSender<JoinRequest>,
    roster: Roster,
    /// None before `joined`.
    sends: Option<Sends>,
    kind: String,
    json: bool,
    printer: Printer,
    person: bool,
    /// How many lines were typed that are to be sent, or look so.
    said: usize,
    /// How many of them were not, for good.
    refused: usize,
    leaving: Leaving,
}

impl Member {
    /// Sends what is typed and shows what happens, until it is over.
    async fn take_part(
        &mut self,
        events: &mut Streaming<JoinResponse>,
        lines: &mut mpsc::Receiver<Line>,
        interrupts: &mut unix::Signal,
        stay: bool,
    ) -> Result<(), Failure> {
        loop {
            self.flush();
            let wait = self.sends.as_ref().and_then(Sends::not_before);
            // Asked once: the printer may catch up between two questions.
            let keeps_up = self.printer.keeps_up();
            tokio::select! {
                event = events.message(), if keeps_up => match event {
                    Ok(Some(response)) => {
                        if let Some(event) = response.event {
                            self.see(&event)?;
                        }
                    }
                    Ok(None) => return self.left(),
                    Err(status) => return Err(status.into()),
                },
                () = self.printer.catches_up(), if !keeps_up => {}
                Some(line) = lines.recv(), if self.takes_input() => match line {
                    Line::Text(text) => self.typed(&text)?,
                    Line::End if stay => self.leaving = Leaving::Never,
                    Line::End | Line::Interrupt => self.leaving = Leaving::WhenSettled,
                    Line::Failed(why) => {
                        self.not_sent(&format!("standard input can't be read: {why}"))?;
                        self.leaving = Leaving::WhenSettled;
                    }
                },
                () = sleep_until(wait) => {}
                Some(()) = interrupts.recv() => {
                    if self.leaving == Leaving::Left {
                        return self.left();
                    }
                    self.leaving = Leaving::Now;
                }
            }
        }
    }

    fn takes_input(&self) -> bool {
        self.leaving == Leaving::No && self.sends.as_ref().is_some_and(Sends::has_room)
    }

    fn request(&self, frame: Frame) {
        // When the stream is over, its end says why.
        let _ = self.requests.send(JoinRequest { frame: Some(frame) });
    }

    /// Sends what may go now, and leaves when it is time.
    fn flush(&mut self) {
        let now = Instant::now();
        while let Some(send) = self.sends.as_mut().and_then(|sends| sends.next(now)) {
            self.request(Frame::Send(send));
        }
        let settled = self.sends.as_ref().is_some_and(Sends::is_settled);
        match self.leaving {
            Leaving::Now => {}
            Leaving::WhenSettled if settled => {}
            _ => return,
        }
        self.request(Frame::Leave(Leave {}));
        self.leaving = Leaving::Left;
    }

    fn see(&mut self, event: &Event) -> Result<(), Failure> {
        let mut goes_again = false;
        match event {
            Event::Joined(joined) => {
                let limits = joined.limits.unwrap_or_default();
                let rate_limited = limits.signals_per_second != 0;
                self.sends = Some(Sends::new(!self.person, limits.max_unresolved_sends, rate_limited));
            }
            Event::SendResult(result) => {
                let now = Instant::now();
                goes_again = self.sends.as_mut().is_some_and(|sends| sends.resolve(result, now));
            }
            _ => {}
        }
        if self.json {
            self.printer.line(&as_json::event(event).to_string())?;
        } else if let Some(line) = show::event(event, &self.roster) {
            self.printer.line(&line)?;
        }
        if let Event::SendResult(result) = event
            && !goes_again
        {
            self.refused += usize::from(matches!(result.outcome, Some(Outcome::Error(_))));
            if let Some(text) = show::send_result(result) {
                self.note(&text)?;
            }
        }
        self.roster.apply(event);
        Ok(())
    }

    fn typed(&mut self, line: &str) -> Result<(), Failure> {
        match input::parse(line) {
            Input::Say(text) => self.send(text, None),
            Input::To(beginning, text) => match self.roster.resolve(&beginning) {
                Ok(id) => self.send(text, Some(Recipients { connection_ids: vec![id] })),
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
                let all: Vec<_> = self.roster.connections().iter().map(as_json::connection).collect();
                self.printer.line(&json!({ "event": "who", "connections": all }).to_string())?;
            }
            Input::Who => {
                for line in show::who(&self.roster) {
                    self.printer.line(&line)?;
                }
            }
            Input::Quit => self.leaving = Leaving::WhenSettled,
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

    fn send(&mut self, data: String, to: Option<Recipients>) {
        let signal = Signal { r#type: self.kind.clone(), data };
        self.said += 1;
        if let Some(sends) = &mut self.sends {
            sends.push(Wanted { signal, to });
        }
    }

    /// A line that makes no signal.
    fn not_sent(&mut self, why: &str) -> Result<(), Failure> {
        self.said += 1;
        self.refused += 1;
        self.note(why)
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
