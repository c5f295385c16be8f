//! A chat in a session: lines of standard input go to everyone.
//!
//! ```console
//! $ cargo run --example chat -- demo Ada
//! ```

use std::{env, error::Error, io, thread};

use signalbox::client::{Client, Event, JoinOptions, Over, Signal};
use tokio::{sync::mpsc, task::JoinSet};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [session_id, name, rest @ ..] = &arguments[..] else {
        return Err("usage: chat SESSION NAME [ENDPOINT…]".into());
    };
    let client = match rest {
        [] => Client::new(["http://127.0.0.1:50051"])?,
        endpoints => Client::new(endpoints)?,
    };
    let (session, mut events) = client.join(JoinOptions::new(session_id).connection_data(name)).await?;

    // By a thread of its own: a read of standard input can't be cancelled, and
    // the runtime would wait for one before it ends.
    let (typed, mut lines) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    });

    let mut outcomes = JoinSet::new();
    let mut typing = true;
    let reason = loop {
        tokio::select! {
            line = lines.recv(), if typing => match line {
                Some(line) => {
                    let outcome = session.signal(Signal::new("chat", line));
                    outcomes.spawn(async move {
                        if let Err(error) = outcome.await {
                            eprintln!("not sent: {error}");
                        }
                    });
                }
                None => {
                    typing = false;
                    // Comes back when every line has its outcome; what happens
                    // meanwhile is still shown.
                    let session = session.clone();
                    tokio::spawn(async move { session.leave().await });
                }
            },
            Some(event) = events.next() => match event {
                Event::Signal(signal) => {
                    // Who it was may be gone by now.
                    let connections = session.connections();
                    let sender = connections.iter().find(|one| Some(&one.connection_id) == signal.from.as_ref());
                    println!("{}: {}", sender.map_or("somebody", |one| &one.data), signal.data);
                }
                Event::Joined { connections, .. } => println!("* {} here", connections.len()),
                Event::ConnectionCreated { connection, .. } => println!("* {} joined", connection.data),
                Event::ConnectionDestroyed { .. } => println!("* somebody is gone"),
                Event::Reconnecting { why } => println!("* reconnecting… ({why})"),
                Event::Reconnected { gap: false, .. } => println!("* reconnected"),
                Event::Reconnected { gap: true, .. } => println!("* reconnected; something was missed"),
                // The last event.
                Event::Disconnected { reason, .. } => break reason,
                _ => {}
            },
            Some(_) = outcomes.join_next() => {}
        }
    };
    // Every line has its outcome by now, though not everyone has told it yet.
    outcomes.join_all().await;
    match reason {
        Over::Left => {
            println!("* left");
            Ok(())
        }
        reason => Err(reason.to_string().into()),
    }
}
