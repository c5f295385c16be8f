//! The gRPC services: the wire's side of everything below. Layer 4, and the
//! one place that makes a `tonic::Status`.

mod body;
mod frames;
mod join;
mod outgoing;
mod parse;
mod sessions;
mod signaling;
mod status;
mod transport;
mod wire;

use std::{net::IpAddr, sync::Arc};

use crate::{auth::Gate, domain::Limits, engine::Engine, hub::Hub, random::Random};

pub use sessions::session_service;
pub use signaling::SignalingService;
pub use transport::{Control, Transport, TransportSettings, after_park, before_park};
pub use wire::ENCODING;

/// What the services work with. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Decides.
    pub engine: Arc<dyn Engine>,
    /// Delivers.
    pub hub: Hub,
    /// Lets in.
    pub gate: Gate,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// Makes connection ids and resume tokens.
    pub random: Arc<dyn Random>,
}

/// The address that a request came from: an extension that the server puts on
/// every request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);
