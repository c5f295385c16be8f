//! The Rust client: a member of a session that comes back by itself. Imports
//! layer 0 only, and no server code.
//!
//! ```no_run
//! use signalbox::client::{Client, Event, JoinOptions, Signal};
//!
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["http://127.0.0.1:50051"])?;
//! let (session, mut events) = client.join(JoinOptions::new("demo").connection_data("Ada")).await?;
//! session.signal(Signal::new("chat", "hello")).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Signal(signal) => println!("{}: {}", signal.kind, signal.data),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! After a loss of its stream a member resumes: nothing is lost, repeated or
//! reordered, sends wait and are decided once. Where that can't be, because the
//! server's log no longer reaches back or the connection is gone, the
//! application is told by `Reconnected { gap: true, .. }`.

mod back_off;
mod backend;
mod builder;
mod connect;
mod driver;
mod error;
mod event;
mod machine;
mod options;
mod roster;
mod session;
#[cfg(feature = "client-tls")]
mod tls;
mod token;
mod transport;

pub use backend::{Listing, Sent, ServerClient, ServerSend, SessionInfo, Watch, WatchEvent};
pub use builder::{Client, ClientBuilder};
pub use connect::{Connector, Requests, Responses};
pub use error::{CallError, ConnectError, Refusal, SendError};
pub use event::{Action, Connection, DisconnectReason, Event, Lost, Over, Received, Role};
pub use options::{Accepted, JoinOptions, Signal};
pub use session::{Events, Outcome, Session, Signals};
#[cfg(feature = "client-tls")]
pub use tls::Tls;
pub use token::{Token, TokenError};
