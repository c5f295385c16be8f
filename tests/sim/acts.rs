//! What a client does, and what its network does to it.

use rand::RngExt as _;
use signalbox::{
    domain::ConnectionId,
    proto::{self, join_request::Frame},
};
use tokio::time::Instant;

use super::{
    client::{Client, Live, Next, ask_id},
    record::Ask,
    world::{Sabotage, framed},
};

impl Client {
    /// Asks for something new; `frame` is made of its id.
    fn ask(&mut self, live: &mut Live, numbered: bool, frame: impl FnOnce(u64) -> Frame) {
        let Some(me) = self.me.as_mut() else { return };
        let send_id = if numbered { me.last_send_id + self.dice.random_range(1..=2) } else { 0 };
        let at = self.history.asks.len();
        if numbered {
            me.last_send_id = send_id;
            me.unresolved.insert(send_id, at);
            me.recent.push_back(send_id);
            if me.recent.len() > 20 {
                me.recent.pop_front();
            }
        } else {
            live.zeros.push_back(at);
        }
        let connection = ConnectionId::parse(&me.id).expect("an id");
        self.history.asks.push(Ask { connection, frame: frame(send_id), answers: Vec::new() });
        self.send_frame(live, at);
    }

    fn ask_to_send(&mut self, live: &mut Live, numbered: bool, bytes: usize, to: Option<Vec<String>>) {
        self.counter += 1;
        // Nobody else says this, and nobody says it again.
        let mut data = format!("{} says {} ", self.history.name, self.counter);
        data.extend(std::iter::repeat_n('.', bytes.saturating_sub(data.len())));
        let kind = ["", "chat", "typing"][self.dice.random_range(0..3)].to_owned();
        let to = to.map(|connection_ids| proto::Recipients { connection_ids });
        let signal = Some(proto::Signal { r#type: kind, data });
        self.ask(live, numbered, |send_id| Frame::Send(proto::SendSignal { send_id, signal, to }));
    }

    fn somebody(&mut self) -> String {
        // Mostly those heard of lately.
        let from = if self.dice.random_bool(0.8) { self.known.len().saturating_sub(6) } else { 0 };
        self.known[self.dice.random_range(from..self.known.len())].clone()
    }

    /// Does one of the things that clients do, or suffers one that networks do.
    pub(super) fn act(&mut self, live: &mut Live) -> Option<Next> {
        let gone = live.gone_at.is_some();
        let dice = self.dice.random_range(0..100);
        match dice {
            0..80 if live.half_closed => None,
            0..50 => {
                for _ in 0..self.dice.random_range(1..=4) {
                    let bytes = [0, 0, 100, 5_000][self.dice.random_range(0..4)];
                    self.ask_to_send(live, true, bytes, None);
                }
                None
            }
            50..70 => {
                let to = (0..self.dice.random_range(1..=3)).map(|_| self.somebody()).collect();
                self.ask_to_send(live, true, 0, Some(to));
                None
            }
            70..72 => {
                self.ask_to_send(live, true, 8_193, None);
                None
            }
            72..75 => {
                self.repeat(live);
                None
            }
            75..77 => {
                self.ask_to_send(live, false, 0, None);
                None
            }
            77 => {
                let connection_id = self.somebody();
                self.ask(live, true, |send_id| {
                    Frame::Disconnect(proto::DisconnectConnection { send_id, connection_id })
                });
                None
            }
            78 => {
                live.leaving = true;
                live.wire.send(framed(&proto::JoinRequest { frame: Some(Frame::Leave(proto::Leave {})) }));
                None
            }
            79 => {
                self.trace(format_args!("half-closes"));
                self.world.record.met("a half-close");
                live.half_closed = true;
                live.wire.half_close();
                None
            }
            80..85 if !gone => {
                self.line_breaks(live);
                None
            }
            85..89 if !gone => {
                let time = self.millis(100..16_000);
                self.trace(format_args!("the line stalls for {time:?}"));
                self.world.record.met("a stall");
                live.wire.stall(time);
                None
            }
            89..92 if !gone => {
                let time = self.millis(500..9_000);
                self.trace(format_args!("reads nothing for {time:?}"));
                self.world.record.met("a pause in reading");
                live.reads_from = Instant::now() + time;
                None
            }
            92..95 if !gone => {
                self.trace(format_args!("switches to another stream"));
                self.world.record.met("a switch");
                Some(Next::Switch)
            }
            95 if !gone => {
                self.trace(format_args!("hangs up"));
                self.world.record.met("a hang-up");
                Some(Next::Again(self.millis(1..25_000)))
            }
            _ => None,
        }
    }

    /// Sends something again that was sent before.
    fn repeat(&mut self, live: &mut Live) {
        let Some(me) = self.me.as_ref() else { return };
        if me.recent.is_empty() {
            return;
        }
        let send_id = me.recent[self.dice.random_range(0..me.recent.len())];
        let asked = |ask: &Ask| ask.connection.to_string() == me.id && ask_id(&ask.frame) == send_id;
        let Some(at) = self.history.asks.iter().rposition(asked) else { return };
        self.world.record.met("a send repeated for no reason");
        self.send_frame(live, at);
        if self.sabotage == Some(Sabotage::SendTwice)
            && let Frame::Send(send) = self.history.asks[at].frame.clone()
        {
            self.sabotage = None;
            self.ask(live, true, |send_id| Frame::Send(proto::SendSignal { send_id, to: None, ..send }));
        }
    }

    /// The line breaks: the server, or this client, finds out first.
    fn line_breaks(&mut self, live: &mut Live) {
        let (mine, servers) = match self.dice.random_range(0..3) {
            0 => (self.millis(0..50), self.millis(0..50)),
            1 => (self.millis(0..200), self.millis(0..30_000)),
            _ => (self.millis(0..12_000), self.millis(0..200)),
        };
        self.trace(format_args!("the line breaks; the client knows in {mine:?}, the server in {servers:?}"));
        self.world.record.met("a broken line");
        let cut = self.dice.random_range(0..400);
        let last = live.wire.break_line(cut, servers);
        for event in last.map(|bytes| live.reader.read(&bytes)).unwrap_or_default() {
            self.saw(live, event);
        }
        live.gone_at = Some(Instant::now() + mine);
    }
}
