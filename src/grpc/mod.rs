//! The gRPC services: the wire's side of everything below. Layer 4, and the
//! one place that makes a `tonic::Status`.

mod beside;
mod body;
mod frames;
mod join;
mod methods;
mod outgoing;
mod overload;
mod parse;
mod patient;
mod sessions;
mod signaling;
mod status;
mod transport;
mod web;
mod wire;

use std::{net::IpAddr, sync::Arc};

use http::HeaderMap;

use crate::{
    auth::{Gate, Grant},
    domain::{Limits, Reason, Refusal},
    engine::Engine,
    hub::Hub,
    random::Random,
    telemetry::{Cap, audit},
};

pub use crate::http2::turned_away;
pub use overload::keep_time;
pub use patient::Patient;
pub use sessions::session_service;
pub use signaling::SignalingService;
pub use transport::{Control, InSlowLane, Rates, Transport, TransportSettings, after_park, before_park};
pub use web::{Origin, Origins, Web};
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

impl Services {
    /// Lets a backend call this.
    fn serve(&self, metadata: &HeaderMap, peer: Option<PeerAddress>, what: &str) -> Result<Arc<Grant>, Refusal> {
        self.gate.serve(metadata).map_err(|denied| {
            let who = audit::Who { subject: denied.subject.as_deref(), address: peer.map(|peer| peer.0) };
            audit::refused(who, what, &denied.refusal);
            denied.refusal
        })
    }
}

impl Services {
    /// Counts a refusal by an engine that is for a cap's sake.
    fn capped(&self, refusal: &Refusal) {
        let cap = match refusal.reason {
            Reason::SessionFull => Cap::Session,
            Reason::ServerFull => Cap::Memory,
            _ => return,
        };
        self.hub.metrics().caps.hit(cap, &refusal.message);
    }
}

/// The address that a request came from: an extension that the server puts on
/// every request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);
