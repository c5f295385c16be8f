//! Members of other sessions, who only want to go on.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use tokio::runtime;

use signalbox::{
    auth::{Audience, Claims, Secret, sign},
    client::{Client, Event, JoinOptions, Signal, Tls},
};

use crate::server::{SECRET, Server};

const SESSIONS: usize = 4;
const MEMBERS: usize = 5;
/// Each member sends one signal in this time.
const INTERVAL: Duration = Duration::from_millis(40);
/// How long a newcomer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What went wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Harm {
    /// Streams lost.
    pub(crate) streams: AtomicU64,
    /// Signals missing, twice, or before an earlier one.
    pub(crate) signals: AtomicU64,
    /// Sends without the outcome that they were accepted.
    pub(crate) sends: AtomicU64,
}

struct Shared {
    begun: Instant,
    latencies: Mutex<Histogram<u64>>,
    harm: Harm,
    over: AtomicBool,
}

pub(crate) struct Bystanders {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

/// A client of this server, for this session.
pub(crate) fn client(server: &Server, session: &str) -> Client {
    let mut builder = Client::builder().endpoint(server.endpoint());
    if let Some(ca) = &server.ca {
        builder = builder.tls(Tls::new().authority(ca));
    }
    builder.token(token(session)).build().expect("a client")
}

/// What a member of this session shows.
pub(crate) fn token(session: &str) -> String {
    let secret = Secret::new(SECRET.as_bytes()).expect("a secret");
    sign(&claims(session), &secret).expect("a token")
}

pub(crate) fn claims(session: &str) -> Claims {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs() + 3_600;
    Claims {
        exp: Some(expires.into()),
        aud: Some(Audience::One("signalbox".to_owned())),
        session: Some(session.to_owned()),
        ..Claims::default()
    }
}

impl Bystanders {
    /// All of them, in.
    pub(crate) fn enter(server: &Server) -> Self {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            latencies: Mutex::new(histogram()),
            harm: Harm::default(),
            over: AtomicBool::new(false),
        });
        let clients: Vec<_> = (0..SESSIONS).map(|session| client(server, &name(session))).collect();
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(live(shared, clients, ready));
            })
        };
        is_ready.recv_timeout(PATIENCE).expect("the bystanders are in");
        Self { shared, thread: Some(thread) }
    }

    /// The latencies of what was received since the last time, in nanoseconds.
    pub(crate) fn take(&self) -> Histogram<u64> {
        std::mem::replace(&mut self.shared.latencies.lock().expect("nobody panics"), histogram())
    }

    /// They send no more, receive what is under way, and leave. What went wrong.
    pub(crate) fn leave(mut self) -> (u64, u64, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            self.shared.harm.streams.fetch_add(1, Ordering::Relaxed);
        }
        let Harm { streams, signals, sends } = &self.shared.harm;
        (streams.load(Ordering::Relaxed), signals.load(Ordering::Relaxed), sends.load(Ordering::Relaxed))
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn name(session: usize) -> String {
    format!("bystanders-{session}")
}

async fn live(shared: Arc<Shared>, clients: Vec<Client>, ready: mpsc::Sender<()>) {
    let mut members = Vec::new();
    for (session, client) in clients.iter().enumerate() {
        for _ in 0..MEMBERS {
            let options = JoinOptions::new(name(session)).suppress_connection_events(true);
            members.push(client.join(options).await.expect("a bystander joins"));
        }
    }
    let _ = ready.send(());
    let mut tasks = Vec::new();
    for (at, (session, mut events)) in members.into_iter().enumerate() {
        let session = Arc::new(session);
        let mine = Arc::clone(&shared);
        let sender = Arc::clone(&session);
        let sending = tokio::spawn(async move {
            let mut outcomes = Vec::new();
            let mut count = 0_u64;
            // Not all at once.
            tokio::time::sleep(INTERVAL * (at % 20) as u32 / 20).await;
            let mut ticks = tokio::time::interval(INTERVAL);
            while !mine.over.load(Ordering::Relaxed) {
                ticks.tick().await;
                let now = mine.begun.elapsed().as_nanos();
                outcomes.push(sender.signal(Signal::new("", format!("{at} {count} {now}"))));
                count += 1;
            }
            let mut refused = 0;
            for outcome in outcomes {
                refused += u64::from(outcome.await.is_err());
            }
            mine.harm.sends.fetch_add(refused, Ordering::Relaxed);
            count
        });
        let mine = Arc::clone(&shared);
        let receiving = tokio::spawn(async move {
            let mut next: HashMap<u64, u64> = HashMap::new();
            while let Some(event) = events.next().await {
                match event {
                    Event::Signal(signal) => {
                        let numbers: Vec<u64> = signal.data.split(' ').filter_map(|text| text.parse().ok()).collect();
                        let [from, count, at] = numbers[..] else { continue };
                        let late = (mine.begun.elapsed().as_nanos() as u64).saturating_sub(at);
                        let _ = mine.latencies.lock().expect("nobody panics").record(late.max(1));
                        let expected = next.entry(from).or_insert(count);
                        if *expected != count {
                            mine.harm.signals.fetch_add(expected.abs_diff(count), Ordering::Relaxed);
                        }
                        *expected = count + 1;
                    }
                    Event::Reconnecting { .. } => {
                        mine.harm.streams.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
            next
        });
        tasks.push((at, session, sending, receiving));
    }
    // Who has sent how many; then everyone must have received as many.
    let mut sent = HashMap::new();
    let mut others = Vec::new();
    for (at, session, sending, receiving) in tasks {
        sent.insert(at as u64, sending.await.unwrap_or(0));
        others.push((at, session, receiving));
    }
    // Outcomes come after what they are the outcomes of, but to the sender only.
    let flush = async {
        for (_, session, _) in &others {
            let _ = session.signal(Signal::new("flush", "")).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, flush).await;
    for (at, session, receiving) in others {
        session.leave().await;
        let received = tokio::time::timeout(PATIENCE, receiving).await;
        let Ok(Ok(received)) = received else {
            shared.harm.streams.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let session = at / MEMBERS;
        for member in session * MEMBERS..(session + 1) * MEMBERS {
            let (sent, next) = (sent[&(member as u64)], received.get(&(member as u64)).copied().unwrap_or(0));
            shared.harm.signals.fetch_add(sent.abs_diff(next), Ordering::Relaxed);
        }
    }
}

/// How long a newcomer takes to be in and to hear itself. None when it isn't in
/// time.
pub(crate) fn newcomer(server: &Server, since: Instant) -> Option<Duration> {
    let client = client(server, "newcomers");
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let in_time = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let Ok((session, mut events)) = client.join(JoinOptions::new("newcomers")).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let outcome = session.signal(Signal::new("", "here"));
                while let Some(event) = events.next().await {
                    if matches!(&event, Event::Signal(signal) if signal.data == "here") {
                        let took = since.elapsed();
                        let _ = outcome.await;
                        session.leave().await;
                        return took;
                    }
                }
            }
        })
        .await
    });
    in_time.ok()
}
