//! A chat in a session: lines of standard input go to everyone.
//!
//! ```console
//! $ cargo run --example chat -- demo Ada
//! ```

use std::{env, error::Error};

use signalbox::client::{Client, Event, JoinOptions, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};

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

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut typing = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if typing => match line? {
                Some(line) => {
                    let outcome = session.signal(Signal::new("chat", line));
                    tokio::spawn(async move {
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
            event = events.next() => match event {
                Some(Event::Signal(signal)) => {
                    // Who it was may be gone by now.
                    let connections = session.connections();
                    let sender = connections.iter().find(|one| Some(&one.connection_id) == signal.from.as_ref());
                    println!("{}: {}", sender.map_or("somebody", |one| &one.data), signal.data);
                }
                Some(Event::Joined { connections, .. }) => println!("* {} here", connections.len()),
                Some(Event::ConnectionCreated { connection, .. }) => println!("* {} joined", connection.data),
                Some(Event::ConnectionDestroyed { .. }) => println!("* somebody is gone"),
                Some(Event::Reconnecting { why }) => println!("* reconnecting… ({why})"),
                Some(Event::Reconnected { gap: false, .. }) => println!("* reconnected"),
                Some(Event::Reconnected { gap: true, .. }) => println!("* reconnected; something was missed"),
                Some(Event::Disconnected { reason, .. }) => println!("* {reason}"),
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}
