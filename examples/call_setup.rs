//! Two peers set up a WebRTC call: an offer, an answer and ICE candidates as
//! addressed signals, through a connection that drops in the midst of it.
//!
//! ```console
//! $ cargo run --example call_setup
//! ```

use std::{env, error::Error};

use signalbox::client::{Client, Event, Events, JoinOptions, Session, Signal};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How many ICE candidates each peer has.
const CANDIDATES: usize = 5;

/// A peer in the call's session.
struct Peer {
    name: &'static str,
    session: Session,
    events: Events,
}

impl Peer {
    async fn join(name: &'static str, endpoint: &str, call: &str) -> Result<Self, Box<dyn Error>> {
        let client = Client::new([endpoint])?;
        let (session, events) = client.join(JoinOptions::new(call).connection_data(name)).await?;
        Ok(Self { name, session, events })
    }

    /// Sends to the other one; the outcome comes when it comes.
    fn send(&self, to: &str, kind: &str, data: String) {
        println!("{} sends {kind}: {data}", self.name);
        let outcome = self.session.signal(Signal::new(kind, data).to([to]));
        let name = self.name;
        tokio::spawn(async move {
            if let Err(error) = outcome.await {
                eprintln!("{name}: {error}");
            }
        });
    }

    fn send_candidates(&self, to: &str) {
        for number in 0..CANDIDATES {
            self.send(to, "candidate", format!("{} {number}", self.name));
        }
    }

    /// The next signal; what else happens is shown.
    async fn receive(&mut self) -> Result<(String, String), Box<dyn Error>> {
        while let Some(event) = self.events.next().await {
            match event {
                Event::Signal(signal) => {
                    println!("{} has {}: {}", self.name, signal.kind, signal.data);
                    return Ok((signal.kind, signal.data));
                }
                Event::Reconnecting { why } => println!("{} is reconnecting… ({why})", self.name),
                Event::Reconnected { gap, .. } => println!("{} reconnected, gap: {gap}", self.name),
                _ => {}
            }
        }
        Err("the session is over".into())
    }

    /// Receives just what is expected next.
    async fn expect(&mut self, kind: &str, data: &str) -> Result<(), Box<dyn Error>> {
        let received = self.receive().await?;
        if received != (kind.to_owned(), data.to_owned()) {
            return Err(format!("{} expected {kind}: {data}", self.name).into());
        }
        Ok(())
    }

    async fn expect_candidates(&mut self, of: &str) -> Result<(), Box<dyn Error>> {
        for number in 0..CANDIDATES {
            self.expect("candidate", &format!("{of} {number}")).await?;
        }
        Ok(())
    }

    /// Leaves, having got nothing more than what was expected.
    async fn leave(mut self) -> Result<(), Box<dyn Error>> {
        self.session.leave().await;
        match self.receive().await {
            Ok((kind, data)) => Err(format!("{} has {kind}: {data} once too often", self.name).into()),
            Err(_) => Ok(()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    // The relay has no use for more than HOST:PORT, and the client takes that too.
    let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (relay, drops) = relay(server.clone()).await?;
    let call = format!("call-{}", std::process::id());
    let mut caller = Peer::join("caller", &server, &call).await?;
    let mut callee = Peer::join("callee", &relay, &call).await?;
    let (caller_id, callee_id) = (caller.session.connection_id(), callee.session.connection_id());

    caller.send(&callee_id, "offer", "v=0 offer".to_owned());
    callee.expect("offer", "v=0 offer").await?;

    // The callee's network goes while it answers and both send candidates.
    drops.send_modify(|drops| *drops += 1);
    callee.send(&caller_id, "answer", "v=0 answer".to_owned());
    callee.send_candidates(&caller_id);
    caller.send_candidates(&callee_id);

    caller.expect("answer", "v=0 answer").await?;
    caller.expect_candidates("callee").await?;
    callee.expect_candidates("caller").await?;
    caller.leave().await?;
    callee.leave().await?;
    println!("both have everything, once and in order");
    Ok(())
}

/// A network that can be dropped: its address, and what counts the drops.
async fn relay(server: String) -> Result<(String, watch::Sender<u32>), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (drops, seen) = watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, mut dropped) = (server.clone(), seen.clone());
            dropped.mark_unchanged();
            tokio::spawn(async move {
                let Ok(mut server) = TcpStream::connect(&server).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = dropped.changed() => {}
                }
            });
        }
    });
    Ok((address, drops))
}
