//! The floor: what the kernel asks for the same work when a server only copies
//! bytes. One thread, one epoll, no order log, no de-duplication, no limits, no
//! outcome; nothing that a peer does can cost less than this does it for.
//!
//! Run as `floor --listen 127.0.0.1:PORT`; ends when it is killed.

mod frames;
mod hub;

use std::{
    env, io,
    net::SocketAddr,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, Event, EventData, EventFlags},
    fd::OwnedFd,
    io::{Errno, read},
    net::{AddressFamily, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt},
};

use hub::Hub;

/// The event of the listener; connections have those of their place.
const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let address = match arguments.as_slice() {
        [flag, address] if flag == "--listen" => address.parse(),
        // `cargo test --benches` and `cargo bench` run every bench as it is.
        [] => return ExitCode::SUCCESS,
        _ => {
            eprintln!("usage: floor --listen ADDRESS:PORT");
            return ExitCode::from(2);
        }
    };
    match address.map_err(io::Error::other).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = listen_at(address)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut hub = Hub::default();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            done => done?,
        };
        hub.now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        for &Event { flags, data } in &events {
            if data.u64() == LISTENER {
                accept_all(&listener, &poll, &mut hub)?;
                continue;
            }
            let connection = data.u64() as usize;
            if attend(&mut hub, connection, flags, &mut buffer).is_none() {
                hub.disconnect(connection);
            }
        }
        hub.flush();
    }
}

fn listen_at(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    // Linux gives it to every accepted socket: a call saved for each.
    sockopt::set_tcp_nodelay(&listener, true)?;
    bind(&listener, &address)?;
    listen(&listener, 4096)?;
    Ok(listener)
}

fn accept_all(listener: &OwnedFd, poll: &OwnedFd, hub: &mut Hub) -> io::Result<()> {
    loop {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::CONNABORTED | Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let connection = hub.connect(socket);
        // Edge-triggered in both directions: no call ever changes the interest.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(poll, &hub.connections[connection].socket, EventData::new_u64(connection as u64), flags)?;
    }
}

/// Writes what waits and reads what came. `None` when the connection is over.
fn attend(hub: &mut Hub, connection: usize, flags: EventFlags, buffer: &mut [u8]) -> Option<()> {
    // One that was closed earlier in this round.
    let Some(open) = hub.connections.get_mut(connection) else { return Some(()) };
    if flags.contains(EventFlags::OUT) {
        open.go_on().ok()?;
    }
    if !flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
        return Some(());
    }
    loop {
        let length = match read(&hub.connections[connection].socket, &mut *buffer) {
            Ok(0) => return None,
            Ok(length) => length,
            Err(Errno::AGAIN) => return Some(()),
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        };
        take_all(hub, connection, &buffer[..length])?;
        // A short read emptied the socket, and the next edge tells of more;
        // only an end that came with the data has no edge of its own.
        if length < buffer.len() && !flags.contains(EventFlags::RDHUP) {
            return Some(());
        }
    }
}

fn take_all(hub: &mut Hub, connection: usize, bytes: &[u8]) -> Option<()> {
    let mut kept = std::mem::take(&mut hub.connections[connection].unread);
    if kept.is_empty() {
        let rest = take_frames(hub, connection, bytes)?;
        if !rest.is_empty() {
            hub.connections[connection].unread = rest.to_vec();
        }
        return Some(());
    }
    kept.extend_from_slice(bytes);
    let left = take_frames(hub, connection, &kept)?.len();
    if left > 0 {
        kept.drain(..kept.len() - left);
        hub.connections[connection].unread = kept;
    }
    Some(())
}

fn take_frames<'a>(hub: &mut Hub, connection: usize, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
    while let Some((kind, body, size)) = frames::first(bytes) {
        hub.take(connection, kind, body)?;
        bytes = &bytes[size..];
    }
    Some(bytes)
}
