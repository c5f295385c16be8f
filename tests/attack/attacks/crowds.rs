//! Many members, many sessions, many signals.

use std::{
    thread,
    time::{Duration, Instant},
};

use prost::Message as _;

use signalbox::proto::{self, join_request::Frame};

use crate::{
    ground::Ground,
    raw::{END_STREAM, JOIN, Peer, SEND, frame, kind, message, quiet_join, request, signal},
};

use super::FLOODERS;

/// Members of one connection.
const SHARING: usize = 1_000;
const CROWD: usize = 10_000;

/// In and out, in one session.
pub(super) fn join_and_leave(ground: &Ground) {
    let join = request(Frame::Join(proto::Join { session_id: "storm".into(), ..proto::Join::default() }));
    let leave = request(Frame::Leave(proto::Leave {}));
    ground.flood(FLOODERS, &[(4, 1 << 30)], |peer| {
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let (stream, headers) = peer.open(JOIN);
            bytes.extend(headers);
            bytes.extend(frame(kind::DATA, 0, stream, &[&join[..], &leave[..]].concat()));
        }
        (20, bytes)
    });
}

/// Members on shared connections, whose windows stay open: each joins the session
/// that its number says.
fn enter(ground: &Ground, count: usize, session: impl Fn(usize) -> String) -> Vec<Peer> {
    let mut peers = Vec::new();
    for first in (0..count).step_by(SHARING) {
        let Ok(mut peer) = Peer::greet(ground.address, &[(4, 1 << 30)]) else { continue };
        ground.connected();
        // The connection's window, too. Source: RFC 9113, 6.9.2.
        let mut bytes = frame(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes());
        for number in first..count.min(first + SHARING) {
            let (stream, headers) = peer.open(JOIN);
            bytes.extend(headers);
            bytes.extend(frame(kind::DATA, 0, stream, &quiet_join(&session(number))));
        }
        if peer.write(&bytes).is_ok() {
            peers.push(peer);
        }
    }
    peers
}

/// A session of ten thousand, in which somebody speaks ten times a second.
pub(super) fn crowd(ground: &Ground) {
    let mut peers = enter(ground, ground.many(CROWD), |_| "crowd".to_owned());
    let (mut send_id, mut next) = (0, Instant::now());
    while ground.is_on() {
        if Instant::now() >= next
            && let Some(speaker) = peers.first_mut()
        {
            next += Duration::from_millis(100);
            send_id += 1;
            let said = frame(kind::DATA, 0, 1, &signal(send_id, "to all of you"));
            ground.count(usize::from(speaker.write(&said).is_ok()));
        }
        peers.retain_mut(|peer| {
            peer.read().is_ok() || {
                ground.over(peer);
                false
            }
        });
        thread::sleep(Duration::from_millis(1));
    }
    peers.iter_mut().for_each(|peer| ground.over(peer));
}

/// Ten thousand sessions by one client, again and again.
pub(super) fn sessions(ground: &Ground) {
    let mut round = 0;
    while ground.is_on() {
        round += 1;
        let count = ground.many(CROWD);
        let mut peers = enter(ground, count, |number| format!("session-{round}-{number}"));
        ground.count(count);
        peers.iter_mut().for_each(|peer| ground.over(peer));
    }
}

/// One who sends as fast as it can, to a session with listeners.
pub(super) fn full_speed(ground: &Ground) {
    let mut listeners = enter(ground, 20, |_| "loud".to_owned());
    let mut senders = Vec::new();
    for _ in 0..FLOODERS {
        senders.extend(enter(ground, 1, |_| "loud".to_owned()));
    }
    let mut send_id = 0;
    let data = "d".repeat(64);
    while ground.is_on() {
        for sender in &mut senders {
            let mut bytes = Vec::new();
            for _ in 0..100 {
                send_id += 1;
                bytes.extend(signal(send_id, &data));
            }
            if sender.write(&frame(kind::DATA, 0, 1, &bytes)).and_then(|()| sender.read()).is_ok() {
                ground.count(100);
            }
            // One byte given back for each that came would be too slow.
        }
        listeners.iter_mut().for_each(|listener| drop(listener.read()));
        // What was taken of the senders' requests is given back by the server.
        if senders.is_empty() {
            break;
        }
    }
    senders.iter_mut().chain(&mut listeners).for_each(|peer| ground.over(peer));
}

/// Calls with a key each, which must be remembered for ten minutes.
pub(super) fn keys(ground: &Ground) {
    let listeners = enter(ground, 1, |_| "keys".to_owned());
    let next = std::sync::atomic::AtomicU64::new(0);
    ground.flood(FLOODERS, &[(4, 1 << 30)], |peer| {
        let mut bytes = frame(kind::WINDOW_UPDATE, 0, 0, &100_000_u32.to_be_bytes());
        for _ in 0..50 {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let request = proto::SendFromServerRequest {
                session_id: "keys".into(),
                signal: Some(proto::Signal::default()),
                idempotency_key: format!("{number:0>128}"),
                ..proto::SendFromServerRequest::default()
            }
            .encode_to_vec();
            let (stream, headers) = peer.open(SEND);
            bytes.extend(headers);
            bytes.extend(frame(kind::DATA, END_STREAM, stream, &message(0, request.len() as u32, &request)));
        }
        (50, bytes)
    });
    drop(listeners);
}
