//! One run: a fresh server, the load, and what came of it.

use std::io;

use signalbox::bench::wire::{Capability, Peer};

use super::{
    centrifugo::Centrifugo,
    floor::Floor,
    machine::Cores,
    mosquitto::Mosquitto,
    nats::Nats,
    probe::probe,
    redis::Redis,
    results::Sample,
    servers::{Kind, Program, Server},
    socketio::SocketIo,
    works::Shape,
};

fn peer(kind: Kind, server: &Server, inboxes: bool) -> Box<dyn Peer> {
    let address = server.address;
    match kind {
        Kind::Signalbox => todo!(),
        Kind::Floor => Box::new(Floor { address }),
        Kind::Nats => Box::new(Nats { address, inboxes }),
        Kind::Redis => Box::new(Redis { address, inboxes }),
        Kind::Mosquitto => Box::new(Mosquitto { address, inboxes }),
        Kind::SocketIo => Box::new(SocketIo { address }),
        Kind::Centrifugo => Box::new(Centrifugo { address, inboxes }),
    }
}

fn needs(shape: Shape) -> Option<Capability> {
    match shape {
        Shape::Pairs { .. } => Some(Capability::Address),
        Shape::Unary { .. } => Some(Capability::Unary),
        Shape::Idle { shared: true, .. } => Some(Capability::SharedConnection),
        _ => None,
    }
}

/// `None` when the peer has no counterpart of the work.
pub(crate) fn run(
    program: &Program,
    shape: Shape,
    rate: Option<f64>,
    cores: Cores,
    brief: bool,
) -> io::Result<Option<Sample>> {
    let server = program.start(cores)?;
    let peer = peer(program.kind, &server, shape.addresses());
    if needs(shape).is_some_and(|needed| peer.lacks(needed)) {
        return Ok(None);
    }
    probe(&*peer)?;
    let _ = (rate, brief, server.pid());
    Ok(None)
}
