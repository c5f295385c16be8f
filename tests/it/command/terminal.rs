//! `signalbox join` at a terminal: what a person types stays whole while
//! signals come, and the terminal is left as it was.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsFd,
    process::Stdio,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{
    process::{Child, Command},
    sync::mpsc,
};

use super::{PATIENCE, client_at};
use crate::support::{
    Event, Member, Relay, TestServer, from_server,
    proto::{self, DisconnectReason},
    within,
};

/// A terminal with a command in it.
pub(super) struct Terminal {
    pub(super) child: Child,
    keyboard: File,
    /// What the command writes.
    pub(super) screen: mpsc::UnboundedReceiver<Vec<u8>>,
    /// The command's side, to look at its modes.
    tty: File,
    seen: String,
}

/// Its size at first: rows and columns.
pub(super) const SIZE: (u16, u16) = (30, 100);

impl Terminal {
    fn join(server: &TestServer, flags: &[&str]) -> Self {
        Self::join_at(&format!("http://{}", server.address()), flags)
    }

    fn join_at(endpoint: &str, flags: &[&str]) -> Self {
        Self::start(client_at(endpoint, &[&["join", "demo"], flags].concat()))
    }

    pub(super) fn start(mut command: Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        resize(&keyboard, SIZE);
        let name = ptsname(&keyboard, Vec::new()).unwrap().into_string().unwrap();
        let tty = OpenOptions::new().read(true).write(true).open(name).unwrap();
        let end = || Stdio::from(tty.try_clone().unwrap());
        command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let keyboard = File::from(keyboard);
        let mut shown = keyboard.try_clone().unwrap();
        let (send, screen) = mpsc::unbounded_channel();
        // Ends when the last of the command's side is closed.
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, tty, seen: String::new() }
    }

    pub(super) fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// It has so many rows and columns now; who is in it is told.
    pub(super) fn resize(&mut self, size: (u16, u16)) {
        resize(&self.keyboard, size);
    }

    /// Waits until the screen shows a text that it didn't show before.
    async fn shows(&mut self, text: &str) {
        let showing = async {
            loop {
                if let Some(at) = self.seen.find(text) {
                    self.seen.drain(..at + text.len());
                    return;
                }
                let bytes = self.screen.recv().await.expect("the screen is on");
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        within(PATIENCE, &format!("{text:?} on the screen"), showing).await;
    }

    /// Whether what is typed shows and comes in lines, as a shell wants it.
    pub(super) fn is_as_it_was(&self) -> bool {
        let modes = tcgetattr(&self.tty).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// The exit code.
    pub(super) async fn ended(&mut self) -> i32 {
        let status = within(PATIENCE, "the end of the command", self.child.wait()).await.unwrap();
        status.code().expect("it ends by itself")
    }
}

fn resize(keyboard: impl AsFd, (rows, columns): (u16, u16)) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(keyboard, size).unwrap();
}

async fn departure(onlooker: &mut Member) -> DisconnectReason {
    let gone = |event: &Event| match event {
        Event::ConnectionDestroyed(destroyed) => Some(destroyed.reason()),
        _ => None,
    };
    onlooker.find("a departure", gone).await
}

#[tokio::test]
async fn what_is_typed_stays_whole_while_signals_arrive() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut terminal = Terminal::join(&server, &["--data", "Ada"]);
    terminal.shows("with 1 other here").await;
    terminal.types("half a ");
    terminal.shows("half a ").await;
    for number in 0..5 {
        let news = format!("news {number}");
        server.signaling().send_from_server(from_server("demo", &news)).await.unwrap();
        terminal.shows(&format!("server    {news}")).await;
        // What was typed is shown again, below.
        terminal.shows("half a ").await;
    }
    terminal.types("line\r");
    while onlooker.signal().await.from_connection_id.is_none() {}
    terminal.shows("you       half a line").await;
    terminal.types("/type bad type\rlost\r");
    terminal.shows("! not sent: SIGNAL_TYPE_INVALID").await;
    terminal.types("/quit\r");
    // A person saw what was refused.
    assert_eq!(terminal.ended().await, 0);
}

#[tokio::test]
async fn lines_pasted_while_many_signals_arrive_are_all_sent() {
    let flags = ["--signals-per-second", "0", "--outbox-events", "0", "--outbox-bytes", "0"];
    let server = TestServer::with(&flags).await;
    let mut onlooker = server.join("demo").without_own_signals().without_connection_events().enter().await;
    let mut terminal = Terminal::join(&server, &[]);
    terminal.shows("you are").await;
    for round in 0..20 {
        for number in 0..100 {
            onlooker.send("", &format!("noise {number}"));
        }
        let pasted: String = (0..5).map(|number| format!("pasted {round} {number}\r")).collect();
        terminal.types(&pasted);
    }
    for round in 0..20 {
        for number in 0..5 {
            assert_eq!(onlooker.heard().await, format!("pasted {round} {number}"));
        }
    }
    // A line: a Ctrl-D that comes between two prompts means nothing.
    terminal.types("/quit\r");
    assert_eq!(terminal.ended().await, 0);
}

#[tokio::test]
async fn ctrl_c_ctrl_d_and_quit_leave_and_give_the_terminal_back() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    for keys in ["\u{3}", "half\u{3}", "\u{4}", "/quit\r"] {
        let mut terminal = Terminal::join(&server, &[]);
        terminal.shows("> ").await;
        assert!(!terminal.is_as_it_was(), "it edits");
        terminal.types(keys);
        assert_eq!(departure(&mut onlooker).await, DisconnectReason::ClientDisconnected, "{keys:?}");
        assert_eq!(terminal.ended().await, 0, "{keys:?}");
        assert!(terminal.is_as_it_was(), "{keys:?}");
    }
}

#[tokio::test]
async fn a_loss_shows_above_what_is_typed_and_ctrl_c_leaves_all_the_same() {
    let server = TestServer::start().await;
    let relay = Relay::to(server.address()).await;
    let mut terminal = Terminal::join_at(&relay.endpoint(), &[]);
    terminal.shows("> ").await;
    terminal.types("half a ");
    terminal.shows("half a ").await;
    relay.cut();
    terminal.shows("* reconnecting\u{2026}").await;
    terminal.shows("half a ").await;
    relay.mend();
    terminal.shows("* reconnected").await;
    terminal.types("line\r");
    terminal.shows("you       half a line").await;
    relay.cut();
    terminal.shows("* reconnecting\u{2026}").await;
    terminal.types("waits\r");
    terminal.shows("waits").await;
    // Between two prompts Ctrl-C means nothing: this begins the next.
    terminal.shows("\u{1b}[?2004h").await;
    terminal.types("\u{3}");
    terminal.shows("! not sent: ").await;
    assert_eq!(terminal.ended().await, 0);
    assert!(terminal.is_as_it_was());
}

#[tokio::test]
async fn a_stream_that_the_server_ends_gives_the_terminal_back_and_says_why() {
    let server = TestServer::start().await;
    let mut onlooker = server.join("demo").enter().await;
    let mut terminal = Terminal::join(&server, &[]);
    terminal.shows("> ").await;
    terminal.types("half");
    let came = |event: &Event| match event {
        Event::ConnectionCreated(created) => created.connection.clone(),
        _ => None,
    };
    let proto::Connection { connection_id, .. } = onlooker.find("an arrival", came).await;
    let sent = onlooker.disconnect(&connection_id);
    onlooker.accepted(sent).await;
    terminal.shows("disconnected: ABORTED / FORCE_DISCONNECTED").await;
    // Below what was being typed, where the next prompt of the shell goes.
    terminal.shows("\nsignalbox: ABORTED / FORCE_DISCONNECTED").await;
    assert_eq!(terminal.ended().await, 1);
    assert!(terminal.is_as_it_was());
}
