//! Streams and messages that come to no good end.

use crate::{
    ground::Ground,
    raw::{JOIN, PREFACE, Peer, SEND, frame, kind, message},
};

use super::FLOODERS;

/// Streams in one batch: as many as the server lets a connection have.
const STREAMS: usize = 1_000;
const FRAME_BYTES: usize = 16_384;

/// As many as there may be, and then the connection is gone.
pub(super) fn abandoned(ground: &Ground) {
    while ground.is_on() {
        let mut peers = Vec::new();
        for _ in 0..10 {
            let Ok(mut peer) = Peer::greet(ground.address, &[]) else { continue };
            ground.connected();
            let bytes: Vec<u8> = (0..STREAMS).flat_map(|_| peer.open(JOIN).1).collect();
            if peer.write(&bytes).is_ok() {
                ground.count(STREAMS);
            }
            peers.push(peer);
        }
        peers.iter_mut().for_each(|peer| ground.over(peer));
    }
}

/// A first message on each of some new streams.
fn first_messages(ground: &Ground, path: &'static str, bytes: &[u8]) {
    ground.flood(FLOODERS, &[], |peer| {
        let mut batch = Vec::new();
        for _ in 0..50 {
            let (stream, headers) = peer.open(path);
            batch.extend(headers);
            batch.extend(frame(kind::DATA, 0, stream, bytes));
        }
        (50, batch)
    });
}

/// Messages of 4 GiB, and of one byte too many.
pub(super) fn giant(ground: &Ground) {
    let both = [message(0, u32::MAX, &[7; 100]), message(0, 64 * 1_024 + 1, &[7; 100])].concat();
    first_messages(ground, JOIN, &both);
}

/// Flagged as compressed: what looks like ten gigabytes of nothing, by gzip.
pub(super) fn compressed(ground: &Ground) {
    let gzip = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 200]].concat();
    first_messages(ground, JOIN, &message(1, gzip.len() as u32, &gzip));
}

/// Messages that are always about to end: nearly all of the largest that is
/// allowed, on as many streams as there may be.
fn unfinished(ground: &Ground, path: &'static str) {
    ground.flood(FLOODERS, &[], |peer| {
        let mut bytes = Vec::new();
        let (stream, headers) = peer.open(path);
        bytes.extend(headers);
        bytes.extend(frame(kind::DATA, 0, stream, &message(0, 64 * 1_024, &[])));
        for _ in 0..3 {
            bytes.extend(frame(kind::DATA, 0, stream, &[7; FRAME_BYTES]));
        }
        (3 * FRAME_BYTES, bytes)
    });
}

pub(super) fn endless(ground: &Ground) {
    unfinished(ground, JOIN);
}

pub(super) fn endless_bodies(ground: &Ground) {
    unfinished(ground, SEND);
}

/// Anything, after a preface or none.
pub(super) fn garbage(ground: &Ground) {
    let mut seed = 88_172_645_463_325_252_u64;
    while ground.is_on() {
        let Ok(mut peer) = Peer::greet(ground.address, &[]) else { continue };
        ground.connected();
        let mut bytes: Vec<u8> = Vec::with_capacity(4_096);
        while bytes.len() < 4_096 {
            // Xorshift: the same every time.
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bytes.extend_from_slice(&seed.to_le_bytes());
        }
        if seed.is_multiple_of(2) {
            bytes.splice(..PREFACE.len(), PREFACE.iter().copied());
        }
        let _ = peer.write(&bytes);
        ground.count(bytes.len());
        std::thread::sleep(std::time::Duration::from_millis(1));
        ground.over(&mut peer);
    }
}
