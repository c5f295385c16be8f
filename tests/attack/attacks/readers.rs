//! Readers that don't read, or hardly.

use std::time::{Duration, Instant};

use crate::{
    ground::Ground,
    raw::{JOIN, Peer, frame, kind, quiet_join, signal},
};

/// SETTINGS_INITIAL_WINDOW_SIZE. Source: RFC 9113, 6.5.2.
const INITIAL_WINDOW: u16 = 4;
const READERS: usize = 1_000;
const SENDERS: usize = 20;

pub(super) fn held(ground: &Ground) -> usize {
    ground.many(READERS) + SENDERS
}

/// A member of this session, on a connection of its own.
fn member(ground: &Ground, session: &str, settings: &[(u16, u32)]) -> Option<Peer> {
    let mut peer = Peer::greet(ground.address, settings).ok()?;
    ground.connected();
    let (stream, headers) = peer.open(JOIN);
    peer.write(&[headers, frame(kind::DATA, 0, stream, &quiet_join(session))].concat()).ok()?;
    Some(peer)
}

/// Senders fill the session that the readers are in, with all that the rate limit
/// lets them; `tend` is done with each reader in turn.
fn fill(ground: &Ground, settings: &[(u16, u32)], mut tend: impl FnMut(&mut Peer) -> std::io::Result<()>) {
    let enter = |most: usize, settings: &[(u16, u32)]| -> Vec<Peer> {
        (0..most).filter(|_| ground.is_on()).filter_map(|_| member(ground, "readers", settings)).collect()
    };
    let mut readers = enter(ground.many(READERS), settings);
    let mut senders = enter(SENDERS, &[]);
    let data = "d".repeat(8_000);
    let mut send_id = 0;
    let mut next = Instant::now();
    while ground.is_on() {
        if Instant::now() >= next {
            next += Duration::from_millis(20);
            send_id += 1;
            let bytes = frame(kind::DATA, 0, 1, &signal(send_id, &data));
            for sender in &mut senders {
                if sender.write(&bytes).and_then(|()| sender.read()).is_ok() {
                    ground.count(1);
                }
            }
        }
        readers.retain_mut(|reader| {
            let stays = tend(reader).is_ok();
            if !stays {
                ground.over(reader);
            }
            stays
        });
    }
    readers.iter_mut().for_each(|reader| ground.over(reader));
}

pub(super) fn zero_window(ground: &Ground) {
    fill(ground, &[(INITIAL_WINDOW, 0)], Peer::read);
}

/// One byte for one byte.
pub(super) fn one_byte_window(ground: &Ground) {
    let one = frame(kind::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    fill(ground, &[(INITIAL_WINDOW, 1)], |reader| {
        let taken = reader.data;
        reader.read()?;
        (taken..reader.data).try_for_each(|_| reader.write(&one))
    });
}

/// Windows wide open, and nothing is read from the socket.
pub(super) fn deaf_sockets(ground: &Ground) {
    fill(ground, &[(INITIAL_WINDOW, 1 << 30)], |_| Ok(()));
}
