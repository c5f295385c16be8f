//! `signalbox top`: at a terminal, without one, and while its server comes and goes.

use std::{net::SocketAddr, num::NonZero};

use tokio::process::Command;

use super::{
    Done, PATIENCE, json, run,
    serving::Serving,
    signalbox,
    terminal::{SIZE, Terminal},
};
use crate::support::{Stuck, TestServer, from_server, within};

/// `signalbox top` at a terminal, and what that shows.
struct Top {
    terminal: Terminal,
    shown: vt100::Parser,
}

impl Top {
    fn at(admins: &[SocketAddr]) -> Self {
        // As the leader of a session of its own: the terminal is its own, as a person's is.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_signalbox"), "top", "--interval", "200ms"]);
        for admin in admins {
            command.args(["--admin", &format!("http://{admin}")]);
        }
        command.env_remove("NO_COLOR").env_remove("SIGNALBOX_ADMIN").kill_on_drop(true);
        let (rows, columns) = size(SIZE);
        Self { terminal: Terminal::start(command), shown: vt100::Parser::new(rows, columns, 0) }
    }

    /// Waits until that is so of the screen's lines.
    async fn until(&mut self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let seen = tokio::time::timeout(PATIENCE, async {
            loop {
                let lines = self.lines();
                if is_so(&lines) {
                    return lines;
                }
                let bytes = self.terminal.screen.recv().await.expect("the screen is on");
                self.shown.process(&bytes);
            }
        });
        let seen = seen.await;
        match seen {
            Ok(lines) => lines,
            Err(_) => panic!("{what} is not shown:\n{}", self.shown.screen().contents()),
        }
    }

    /// Waits until a line has each of these in it, in this order.
    async fn shows(&mut self, words: &[&str]) -> Vec<String> {
        self.until(&format!("{words:?}"), |lines| lines.iter().any(|line| has(line, words))).await
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.shown.screen().size().1;
        self.shown.screen().rows(0, columns.get()).collect()
    }

    fn resize(&mut self, rows: u16, columns: u16) {
        let (lines, width) = size((rows, columns));
        self.shown.screen_mut().set_size(lines, width);
        self.terminal.resize((rows, columns));
    }

    /// Its end: the exit code. The terminal is as it was.
    async fn ended(mut self) -> i32 {
        let code = self.terminal.ended().await;
        assert!(self.terminal.is_as_it_was());
        // All that it wrote is there before the end of the process.
        within(PATIENCE, "the screen as it was", async {
            while self.shown.screen().alternate_screen() || self.shown.screen().hide_cursor() {
                let bytes = self.terminal.screen.recv().await.expect("the screen is on");
                self.shown.process(&bytes);
            }
        })
        .await;
        code
    }
}

/// Rows and columns, as the screen wants them.
fn size((rows, columns): (u16, u16)) -> (NonZero<u16>, NonZero<u16>) {
    (NonZero::new(rows).unwrap(), NonZero::new(columns).unwrap())
}

fn has(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| rest.split_once(word).map(|(_, after)| rest = after).is_some())
}

/// Where lines that begin with these are, if they all are there.
fn places(lines: &[String], names: &[&str]) -> Option<Vec<usize>> {
    names.iter().map(|name| lines.iter().position(|line| line.starts_with(&format!("{name} ")))).collect()
}

fn are_in_order(lines: &[String], names: &[&str]) -> bool {
    places(lines, names).is_some_and(|places| places.is_sorted())
}

#[tokio::test]
async fn it_shows_what_happens_sorts_filters_and_fits_the_terminal() {
    let server = TestServer::with(&["--signals-per-second", "0", "--signal-burst", "0"]).await;
    let mut members = Vec::new();
    for (session, count) in [("alpha", 1), ("beta", 3), ("gamma<script>", 2)] {
        for _ in 0..count {
            members.push(server.join(session).without_connection_events().enter().await);
        }
    }
    let mut top = Top::at(&[server.admin()]);
    top.shows(&["signalbox", &server.address().to_string(), "ready", env!("CARGO_PKG_VERSION")]).await;
    top.shows(&["sessions 3"]).await;
    top.shows(&["connections 6"]).await;
    top.shows(&["Sessions 3 of 3 by rate"]).await;

    // Load, until it shows.
    let load = {
        let mut signaling = server.signaling();
        tokio::spawn(async move {
            loop {
                signaling.send_from_server(from_server("gamma<script>", "load")).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let is_busy = |lines: &[String]| {
        let row = lines.iter().find(|line| line.starts_with("gamma<script> "));
        row.is_some_and(|row| row.split_whitespace().nth(3).is_some_and(|rate| rate != "–" && rate != "0"))
            && are_in_order(lines, &["gamma<script>", "alpha", "beta"])
    };
    top.until("a busy session first", is_busy).await;
    load.abort();

    top.terminal.types("2");
    top.until("the largest first", |lines| are_in_order(lines, &["beta", "gamma<script>", "alpha"])).await;
    top.terminal.types("2");
    top.until("the smallest first", |lines| are_in_order(lines, &["alpha", "gamma<script>", "beta"])).await;
    top.terminal.types("1");
    top.until("names", |lines| are_in_order(lines, &["alpha", "beta", "gamma<script>"])).await;

    top.terminal.types("/BET");
    top.until("one session", |lines| places(lines, &["beta"]).is_some() && places(lines, &["alpha"]).is_none()).await;
    top.shows(&["Sessions 1 of 1 that match, of 3 by name with \"BET\""]).await;
    top.terminal.types("\r");
    top.shows(&["q quit", "/ filter"]).await;
    top.terminal.types("\u{1b}");
    top.until("all of them", |lines| are_in_order(lines, &["alpha", "beta", "gamma<script>"])).await;

    top.resize(16, 60);
    top.until("fewer columns", |lines| {
        lines.iter().any(|line| has(line, &["SESSION", "CONNECTIONS", "EVENTS/S", "AGE"]) && !line.contains("SEQUENCE"))
            && lines.last().is_some_and(|line| line.contains("q quit"))
    })
    .await;
    top.resize(40, 130);
    top.shows(&["Slow readers 0", "Closes", "Engine, process"]).await;

    top.terminal.types("?");
    top.shows(&["sort by that column"]).await;
    top.terminal.types("q");
    assert_eq!(top.ended().await, 0);
}

#[tokio::test]
async fn slow_readers_and_closes_show() {
    let server = TestServer::start().await;
    let stuck = Stuck::enter(&server, None).await;
    let mut sender = server.join("s").without_own_signals().enter().await;
    for _ in 0..20 {
        let sent = sender.send("", "something");
        sender.accepted(sent).await;
    }
    drop(server.join("other").enter().await);
    let mut top = Top::at(&[server.admin()]);
    top.resize(30, 160);
    top.shows(&["s", &stuck.id()[..8], "2 %", "20"]).await;
    top.shows(&["BROKEN", "1"]).await;
    top.terminal.types("p");
    top.shows(&["PAUSED"]).await;
    top.terminal.types("q");
    assert_eq!(top.ended().await, 0);
}

#[tokio::test]
async fn however_it_ends_the_terminal_is_given_back() {
    let server = TestServer::start().await;
    for way in ["q", "\u{3}", "\u{1b}", "TERM", "INT", "HUP"] {
        let mut top = Top::at(&[server.admin()]);
        top.shows(&["sessions 0"]).await;
        assert!(!top.terminal.is_as_it_was(), "it reads keys");
        if way.len() > 1 {
            let pid = top.terminal.child.id().unwrap().to_string();
            let killed = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", way, &pid]).status().await.unwrap();
            assert!(killed.success());
        } else {
            top.terminal.types(way);
        }
        assert_eq!(top.ended().await, 0, "{way:?}");
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_missed_and_one_that_comes_back_is_shown() {
    let serve = |admin: String| signalbox(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", &admin]);
    let serving = Serving::start(serve("127.0.0.1:0".to_owned())).await;
    let admin = serving.admin();
    let mut top = Top::at(&[admin]);
    top.shows(&["signalbox", "ready"]).await;
    assert_eq!(serving.stop().await.code, 0);
    top.shows(&[&format!("{admin} is away since"), "connection refused; asking again"]).await;
    let serving = Serving::start(serve(admin.to_string())).await;
    top.shows(&["signalbox", "ready"]).await;
    top.until("no word of it", |lines| !lines.iter().any(|line| line.contains("away since"))).await;
    top.terminal.types("q");
    assert_eq!(top.ended().await, 0);
    assert_eq!(serving.stop().await.code, 0);
}

#[tokio::test]
async fn several_servers_are_one_view() {
    let (one, other) = (TestServer::start().await, TestServer::start().await);
    let _members = (one.join("here").enter().await, other.join("there").enter().await);
    let mut top = Top::at(&[one.admin(), other.admin()]);
    top.shows(&["1 ", &one.address().to_string(), "ready"]).await;
    top.shows(&["2 ", &other.address().to_string(), "ready"]).await;
    top.shows(&["sessions 2"]).await;
    top.shows(&["1 here"]).await;
    top.shows(&["2 there"]).await;
    top.terminal.types("q");
    assert_eq!(top.ended().await, 0);
}

async fn top(flags: &[&str]) -> Done {
    run(signalbox(&[&["top", "--interval", "1s"], flags].concat())).await
}

#[tokio::test]
async fn without_a_terminal_it_prints_text_or_json_once() {
    let server = TestServer::start().await;
    let _member = server.join("demo").enter().await;
    let admin = format!("http://{}", server.admin());
    for flags in [&["--admin", &admin][..], &["--admin", &admin, "--once"]] {
        let text = top(flags).await.well();
        assert!(text.lines().any(|line| has(line, &[&server.address().to_string(), "ready"])), "{text}");
        assert!(text.lines().any(|line| has(line, &["sessions 1", "signals/s 0"])), "{text}");
        assert!(text.lines().any(|line| has(line, &["demo", "1"])), "{text}");
    }
    let printed = top(&["--admin", &admin, "--admin", &admin, "--json"]).await.well();
    let lines: Vec<_> = printed.lines().map(json).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["version"], &lines[0]["sessions"]["rows"][0]["id"]), (&1.into(), &"demo".into()));
    assert!(lines[0]["sessions"]["rates_over_seconds"].is_f64(), "{}", lines[0]);
}

#[tokio::test]
async fn what_is_wrong_is_told_where_it_is() {
    let server = TestServer::start().await;
    let (grpc, admin) = (format!("http://{}", server.address()), format!("http://{}", server.admin()));
    top(&["--admin", "http://127.0.0.1:1"]).await.failed(1, &["127.0.0.1:1: connection refused", "--admin"]);
    top(&["--admin", &grpc]).await.failed(1, &[&server.address().to_string(), "HTTP"]);
    top(&["--admin", &format!("{admin}/elsewhere")]).await.failed(1, &["/elsewhere: it has no status"]);
    top(&["--admin", "https://127.0.0.1:9464"]).await.failed(2, &["--admin", "https://127.0.0.1:9464", "plain HTTP"]);
    for bad in ["1ms", "2h", "soon"] {
        run(signalbox(&["top", "--interval", bad])).await.failed(2, &["--interval", bad]);
    }
    // What one of two says is told all the same.
    let done = top(&["--admin", &admin, "--admin", "http://127.0.0.1:1"]).await;
    done.failed(1, &["127.0.0.1:1: connection refused"]);
    assert!(done.out.contains("sessions 0"), "{done:?}");
}
