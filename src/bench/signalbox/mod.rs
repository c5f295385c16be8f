//! Signalbox as a peer: gRPC over an HTTP/2 client of its own, which does only
//! what a load needs.
//!
//! A general client would cost more than the server that it measures. This one
//! speaks no more of HTTP/2 than a server may demand of it, asks for no dynamic
//! table (so that header blocks which don't matter need not be read), grants
//! the largest windows, and looks for one field in each message.

mod connection;
mod frames;
mod headers;
mod messages;
#[cfg(test)]
mod tests;

use std::{fmt, net::SocketAddr, sync::Arc};

use self::{connection::Connection, headers::request};
use super::wire::{Member, Peer, Wire};

/// A Signalbox server.
#[derive(Clone)]
pub struct Signalbox {
    name: String,
    address: SocketAddr,
    token: Option<String>,
    connection_events: bool,
}

impl Signalbox {
    /// The one that listens there.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { name: "Signalbox".to_owned(), address, token: None, connection_events: false }
    }

    /// What tables call it; `Signalbox` otherwise.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// A token to join and to signal with; none otherwise.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether members are told who joins and leaves; they aren't otherwise.
    #[must_use]
    pub fn connection_events(mut self, told: bool) -> Self {
        self.connection_events = told;
        self
    }
}

impl fmt::Debug for Signalbox {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signalbox").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peer for Signalbox {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        let headers = |method| -> Arc<[u8]> {
            let path = format!("/signalbox.v1.SignalingService/{method}");
            request(&path, &self.address.to_string(), self.token.as_deref()).into()
        };
        Box::new(Connection::new(members, headers("Join"), headers("SendFromServer"), !self.connection_events))
    }
}
