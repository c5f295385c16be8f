//! Connections that are there and do nothing, or hardly anything.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::{
    ground::Ground,
    raw::{JOIN, PREFACE, Peer, frame, kind},
    server::{FEW_FILES, FEW_PLACES},
};

/// How many there are, in a long run.
const THOUSANDS: usize = 4_000;

pub(super) fn held(ground: &Ground) -> usize {
    ground.many(THOUSANDS)
}

/// Holds so many connections, each made by `make`, and makes them anew when they
/// are closed; `poke` is called for each about once a second.
fn hold<T>(
    ground: &Ground,
    most: usize,
    make: impl Fn() -> std::io::Result<T>,
    mut poke: impl FnMut(&mut T) -> std::io::Result<()>,
) {
    let mut held = Vec::new();
    while ground.is_on() {
        while held.len() < most && ground.is_on() {
            match make() {
                Ok(one) => {
                    ground.connected();
                    ground.count(1);
                    held.push(one);
                }
                Err(_) => {
                    ground.answered("refused");
                    break;
                }
            }
        }
        let before = held.len();
        held.retain_mut(|one| poke(one).is_ok());
        (held.len()..before).for_each(|_| ground.answered("cut"));
        // As fast as a second has it, or as the attack lasts.
        thread::sleep(Duration::from_millis(200));
    }
}

/// Whether the server has closed it.
fn is_open(tcp: &mut TcpStream) -> std::io::Result<()> {
    tcp.set_nonblocking(true)?;
    match tcp.read(&mut [0; 1_024]) {
        Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn say_and_stay(ground: &Ground, bytes: &[u8]) {
    let make = || {
        let mut tcp = Peer::silent(ground.address)?;
        tcp.write_all(bytes)?;
        Ok(tcp)
    };
    hold(ground, held(ground), make, is_open);
}

pub(super) fn no_preface(ground: &Ground) {
    say_and_stay(ground, b"");
}

pub(super) fn half_preface(ground: &Ground) {
    say_and_stay(ground, &PREFACE[..12]);
}

/// A record of TLS that announces a hello of 200 bytes, and some of them. Source:
/// RFC 8446, 5.1 and 4.
pub(super) fn half_hello(ground: &Ground) {
    let mut hello = vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    hello.extend([7; 60]);
    say_and_stay(ground, &hello);
}

/// Headers that come byte by byte.
pub(super) fn slow_headers(ground: &Ground) {
    let make = || {
        let mut peer = Peer::greet(ground.address, &[])?;
        let (_, headers) = peer.open(JOIN);
        Ok((peer, headers, 0))
    };
    hold(ground, held(ground), make, |(peer, headers, at)| {
        peer.read()?;
        let byte = headers.get(*at..*at + 1).unwrap_or_default().to_vec();
        *at += 1;
        peer.write(&byte)
    });
}

pub(super) fn no_join(ground: &Ground) {
    let make = || {
        let mut peer = Peer::greet(ground.address, &[])?;
        let (_, headers) = peer.open(JOIN);
        peer.write(&headers)?;
        Ok(peer)
    };
    hold(ground, held(ground), make, Peer::read);
}

pub(super) fn over_files(_: &Ground) -> usize {
    FEW_FILES
}

/// Past what the server may have open: what is beyond waits in the kernel.
pub(super) fn connection_flood(ground: &Ground) {
    let make = || Peer::silent(ground.address);
    hold(ground, FEW_FILES * 2, make, is_open);
}

pub(super) fn over_places(_: &Ground) -> usize {
    FEW_PLACES
}

/// Past what the server takes: those beyond are told so.
pub(super) fn connection_cap(ground: &Ground) {
    let make = || Peer::silent(ground.address);
    hold(ground, FEW_PLACES * 2, make, is_open);
}

pub(super) fn connect_and_close(ground: &Ground) {
    while ground.is_on() {
        let bytes = [PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat();
        if let Ok(mut tcp) = Peer::silent(ground.address) {
            let _ = tcp.write_all(&bytes);
            ground.connected();
            ground.count(1);
        }
    }
}
