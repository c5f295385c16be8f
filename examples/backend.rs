//! A backend: greets everyone who comes into any session, and tells who goes.
//!
//! ```console
//! $ signalbox serve &
//! $ cargo run --example backend
//! watching http://127.0.0.1:50051
//! demo: greeted 3597ef28-83b1-49df-a9c1-b331aeb9aa75 (sequence 2)
//! $ signalbox join demo
//! ```
//!
//! An argument names another server; with `--once` it ends after a greeting.

use std::{error::Error, time::Duration};

use signalbox::client::{CallError, Client, ServerClient, Signal, WatchEvent};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (flags, arguments): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--once");
    let server = arguments.first().map_or("http://127.0.0.1:50051", String::as_str);
    let backend = Client::new([server])?.server();
    loop {
        let mut watch = backend.watch_sessions(None).await?;
        println!("watching {server}");
        while let Some(event) = watch.next().await {
            match event {
                Ok(WatchEvent::ConnectionCreated { session_id, connection, .. }) => {
                    greet(&backend, &session_id, &connection.connection_id).await?;
                    if !flags.is_empty() {
                        return Ok(());
                    }
                }
                Ok(WatchEvent::ConnectionDestroyed { session_id, connection_id, reason, .. }) => {
                    println!("{session_id}: {connection_id} is gone ({})", reason.as_str_name());
                }
                Ok(_) => {}
                // The next watch tells again who is there. Not at once: the
                // server may be going away.
                Err(error) => {
                    println!("watching again soon: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn greet(backend: &ServerClient, session_id: &str, id: &str) -> Result<(), CallError> {
    let greeting = Signal::new("greeting", format!("welcome to {session_id}")).to([id]);
    // By the key, one who is there when a watch begins again is not greeted again.
    match backend.send_from_server(session_id, greeting).idempotency_key(format!("greet-{id}")).await {
        Ok(sent) => println!("{session_id}: greeted {id} (sequence {})", sent.sequence),
        // Gone already, say.
        Err(CallError::Refused(refusal)) => println!("{session_id}: {id}: {refusal}"),
        Err(error) => return Err(error),
    }
    Ok(())
}
