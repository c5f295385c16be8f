//! Whether a server does what it will be measured at: two members of a session
//! get a broadcast, one gets an addressed signal, a server signal is answered.
//! Only what does the work is compared.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use signalbox::bench::wire::{Capability, Member, Peer, Seen, Wire};

const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Told {
    ready: usize,
    address: Option<Vec<u8>>,
    got: Vec<(usize, Vec<u8>)>,
    answers: usize,
    refused: Option<String>,
}

impl Seen for Told {
    fn ready(&mut self, _member: usize, address: &[u8]) {
        self.ready += 1;
        self.address = Some(address.to_vec());
    }

    fn signal(&mut self, member: usize, payload: &[u8]) {
        self.got.push((member, payload.to_vec()));
    }

    fn answered(&mut self, _member: usize, outcome: Result<(), String>) {
        self.answers += 1;
        self.refused = self.refused.take().or(outcome.err());
    }

    fn ended(&mut self, _member: usize, reason: String) {
        self.refused = Some(reason);
    }
}

struct Client {
    socket: TcpStream,
    wire: Box<dyn Wire>,
    told: Told,
}

impl Client {
    fn connect(peer: &dyn Peer, members: &[Member]) -> io::Result<Self> {
        let socket = TcpStream::connect(peer.address())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { socket, wire: peer.wire(members), told: Told::default() };
        client.send(|wire, out| wire.open(out))?;
        Ok(client)
    }

    fn send(&mut self, put: impl FnOnce(&mut dyn Wire, &mut Vec<u8>)) -> io::Result<()> {
        let mut out = Vec::new();
        put(&mut *self.wire, &mut out);
        self.socket.write_all(&out)
    }

    fn until(&mut self, what: &str, done: impl Fn(&Told) -> bool) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while !done(&self.told) {
            let length = self.socket.read(&mut buffer).map_err(|error| failed(what, error))?;
            if length == 0 {
                return Err(failed(what, "the connection was closed"));
            }
            let mut out = Vec::new();
            self.wire.receive(&buffer[..length], &mut out, &mut self.told).map_err(|error| failed(what, error))?;
            self.socket.write_all(&out)?;
            if let Some(reason) = &self.told.refused {
                return Err(failed(what, reason));
            }
        }
        Ok(())
    }
}

fn failed(what: &str, why: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{what}: {why}"))
}

impl Told {
    /// How often its members got this, all together.
    fn count(&self, payload: &[u8]) -> usize {
        self.got.iter().filter(|(_, got)| got == payload).count()
    }
}

/// What `peer` doesn't do is an error that names it.
pub(crate) fn probe(peer: &dyn Peer) -> io::Result<()> {
    let member = |number| Member { session: "probe".into(), number };
    let mut one = Client::connect(peer, &[member(900_001)])?;
    one.until("joining", |told| told.ready == 1)?;
    let mut two = Client::connect(peer, &[member(900_002)])?;
    two.until("joining", |told| told.ready == 1)?;

    one.send(|wire, out| wire.broadcast(0, b"to all", out))?;
    for client in [&mut one, &mut two] {
        client.until("broadcast", |told| told.count(b"to all") == 1)?;
    }
    if !peer.lacks(Capability::Address) {
        let to = two.told.address.clone().unwrap_or_default();
        one.send(|wire, out| wire.address(0, &to, b"to one", out))?;
        two.until("addressing", |told| told.count(b"to one") == 1)?;
    }
    if !peer.lacks(Capability::Unary) {
        let mut backend = Client::connect(peer, &[])?;
        for _ in 0..2 {
            backend.send(|wire, out| wire.server_signal("probe", b"from a backend", out))?;
        }
        backend.until("server signal", |told| told.answers == 2)?;
        two.until("server signal", |told| told.count(b"from a backend") == 2)?;
    }
    if !peer.lacks(Capability::SharedConnection) {
        let mut shared = Client::connect(peer, &[member(900_003), member(900_004)])?;
        shared.until("joining on one connection", |told| told.ready == 2)?;
        one.send(|wire, out| wire.broadcast(0, b"to both", out))?;
        let both = |told: &Told| (0..2).all(|place| told.got.contains(&(place, b"to both".to_vec())));
        shared.until("broadcast on one connection", both)?;
    }
    match one.told.count(b"to one") {
        0 => Ok(()),
        _ => Err(failed("addressing", "it came to another member too")),
    }
}
