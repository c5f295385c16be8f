//! Socket.IO 4 over WebSocket alone (no polling), against `socketio/server.mjs`.
//!
//! A session is a room, which the connect packet names; a member's address is
//! its socket's id. Signals are emits that nobody acknowledges, and a server
//! signal is one with an acknowledgement.

use std::{io, net::SocketAddr};

use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

use super::{
    rest::{put_number, strange},
    websocket::{Came, TEXT, WebSocket, put_message, put_upgrade},
};

#[derive(Debug)]
pub(crate) struct SocketIo {
    pub(crate) address: SocketAddr,
}

impl Peer for SocketIo {
    fn name(&self) -> &str {
        "Socket.IO"
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn wire(&self, members: &[Member]) -> Box<dyn Wire> {
        let session = members.first().map(|member| member.session.clone());
        Box::new(SocketIoWire {
            session,
            acknowledgement: 0,
            socket: WebSocket::default(),
            connected: false,
            waiting: Vec::new(),
        })
    }

    fn lacks(&self, work: Capability) -> bool {
        // A connection is one socket of a namespace, and namespaces aren't rooms.
        matches!(work, Capability::SharedConnection | Capability::Limits)
    }
}

struct SocketIoWire {
    session: Option<String>,
    acknowledgement: usize,
    socket: WebSocket,
    connected: bool,
    /// Server signals from before the connection was there.
    waiting: Vec<u8>,
}

impl Wire for SocketIoWire {
    fn open(&mut self, out: &mut Vec<u8>) {
        put_upgrade("/socket.io/?EIO=4&transport=websocket", "", out);
    }

    fn broadcast(&mut self, _member: usize, payload: &[u8], out: &mut Vec<u8>) {
        put_message(TEXT, &[br#"42["b",""#, payload, br#""]"#], out);
    }

    fn address(&mut self, _member: usize, to: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        put_message(TEXT, &[br#"42["a",""#, to, br#"",""#, payload, br#""]"#], out);
    }

    fn server_signal(&mut self, session: &str, payload: &[u8], out: &mut Vec<u8>) {
        let mut id = Vec::new();
        put_number(self.acknowledgement, &mut id);
        self.acknowledgement += 1;
        let out = if self.connected { out } else { &mut self.waiting };
        put_message(TEXT, &[b"42", &id, br#"["s",""#, session.as_bytes(), br#"",""#, payload, br#""]"#], out);
    }

    fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut dyn Seen) -> io::Result<()> {
        let Self { session, socket, connected, waiting, .. } = self;
        socket.receive(bytes, out, |came, out| {
            let Came::Message(message) = came else { return Ok(()) };
            if let Some(payload) = message.strip_prefix(br#"42["m",""#) {
                let payload = payload.strip_suffix(br#""]"#).ok_or_else(|| strange("a signal", message))?;
                seen.signal(0, payload);
            } else if message.starts_with(b"43") {
                seen.answered(0, Ok(()));
            } else if let Some(reply) = message.strip_prefix(br#"40{"sid":""#) {
                *connected = true;
                out.append(waiting);
                if session.is_some() {
                    seen.ready(0, reply.strip_suffix(br#""}"#).ok_or_else(|| strange("an id", message))?);
                }
            } else if message == b"2" {
                put_message(TEXT, &[b"3"], out);
            } else if message.starts_with(b"0{") {
                match session {
                    Some(session) => put_message(TEXT, &[br#"40{"session":""#, session.as_bytes(), br#""}"#], out),
                    None => put_message(TEXT, &[b"40"], out),
                }
            } else {
                return Err(strange("a packet of Socket.IO", message));
            }
            Ok(())
        })
    }
}
