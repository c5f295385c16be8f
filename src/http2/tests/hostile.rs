//! Peers that mean harm, and busy ones that don't.

use super::*;

const CALM: ErrorCode = ErrorCode::ENHANCE_YOUR_CALM;

/// Feeds the same bytes until they are too many; after how many times.
fn until_calm(connection: &mut Connection<StreamId>, mut bytes: impl FnMut(u32) -> Vec<u8>) -> u32 {
    for nth in 0..100_000 {
        if let Err(error) = feed(connection, &bytes(nth)) {
            assert_eq!(error.code, CALM, "{error}");
            return nth;
        }
    }
    panic!("it goes on for ever");
}

#[test]
fn questions_without_reading_the_answers_are_bounded() {
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    let mut deaf = connection();
    assert_eq!(until_calm(&mut deaf, |_| ping.clone()), 4_096);
    assert!(deaf.output().len() < 100_000);
    let mut reading = connection();
    for _ in 0..100_000 {
        feed(&mut reading, &ping).unwrap();
        // Never all of it.
        if reading.output().len() > 100 {
            reading.output().advance(90);
        }
    }
}

#[test]
fn refused_streams_are_bounded_too() {
    let mut connection = connection_with(Settings { max_concurrent_streams: 1, ..Settings::default() });
    assert_eq!(until_calm(&mut connection, |nth| post(2 * nth + 1, false)), 4_097);
}

#[test]
fn frames_of_no_use_are_bounded() {
    let useless = [
        data(1, b"", false),
        frame(kind::PRIORITY, 0, 3, &[0; 5]),
        frame(0xee, 0, 0, b"x"),
        frame(kind::SETTINGS, 0, 0, &[]),
    ];
    for bytes in useless {
        let mut connection = connection();
        feed(&mut connection, &post(1, false)).unwrap();
        assert_eq!(until_calm(&mut connection, |_| bytes.clone()), 1_024);
        // But not beside useful ones.
        let mut connection = self::connection();
        feed(&mut connection, &post(1, false)).unwrap();
        for _ in 0..10_000 {
            feed(&mut connection, &[bytes.clone(), data(1, b"x", false)].concat()).unwrap();
            drain(&mut connection);
        }
    }
}

#[test]
fn rapid_resets_are_bounded() {
    let rapid = |nth: u32| [post(2 * nth + 1, false), reset(2 * nth + 1)].concat();
    assert_eq!(until_calm(&mut connection(), rapid), 1_024);
    // Resets that the peer provokes count as well.
    let provoked = |nth: u32| [post(2 * nth + 1, true), data(2 * nth + 1, b"x", false)].concat();
    assert_eq!(until_calm(&mut connection(), provoked), 1_024);
    let malformed = |nth: u32| headers(2 * nth + 1, &[], true);
    assert_eq!(until_calm(&mut connection(), malformed), 1_024);
}

#[test]
fn resets_of_answered_streams_are_not() {
    let mut connection = connection();
    for nth in 0..10_000 {
        let id = 2 * nth + 1;
        feed(&mut connection, &post(id, false)).unwrap();
        connection.send_headers(id, &block(&[(":status", "200")]), false);
        feed(&mut connection, &reset(id)).unwrap();
        drain(&mut connection);
    }
}

#[test]
fn endless_field_blocks_are_bounded() {
    let begun = frame(kind::HEADERS, 0, 1, &block(&POST));
    for size in [0, 1, 16_384] {
        let mut connection = connection();
        feed(&mut connection, &begun).unwrap();
        assert!(until_calm(&mut connection, |_| frame(kind::CONTINUATION, 0, 1, &vec![0x82; size])) <= 32);
        assert!(connection.block.is_none());
    }
}

/// A small block that stands for much.
#[test]
fn a_bomb_takes_no_room() {
    let mut connection = connection();
    let large = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000]].concat();
    let fields = [&block(&POST)[..], &large].concat();
    feed(&mut connection, &frame(kind::HEADERS, 5, 1, &fields)).unwrap();
    let bomb = [&block(&POST)[..], &[0xbe; 16_000]].concat();
    let seen = feed(&mut connection, &frame(kind::HEADERS, 5, 3, &bomb)).unwrap();
    assert_eq!(seen, []);
    assert_eq!(sent(&mut connection).last().unwrap().3, [0x08, 3, b'4', b'3', b'1']);
}

#[test]
fn many_streams_closed_early_are_forgotten_without_harm() {
    let mut connection = connection();
    let ids: Vec<_> = (0..1_000).map(|nth| 2 * nth + 1).collect();
    for id in &ids {
        feed(&mut connection, &post(*id, false)).unwrap();
    }
    for id in &ids {
        answer(&mut connection, *id);
    }
    drain(&mut connection);
    for id in &ids {
        assert_eq!(feed(&mut connection, &data(*id, &[0; 10_000], false)).unwrap(), []);
    }
    assert!(sent(&mut connection).iter().all(|frame| frame.0 == kind::WINDOW_UPDATE));
}

#[test]
fn no_more_frames_are_begun_at_once_than_are_let() {
    let mut connection = connection();
    assert!(connection.allow(10) > 0, "the peer's settings came");
    let updates: Vec<u8> = (0..25).flat_map(|_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).collect();
    let mut input = &updates[..];
    let mut left = Vec::new();
    for _ in 0..3 {
        while connection.next(&mut input).expect("nothing is wrong with them").is_some() {}
        left.push(input.len() / 13);
        assert!(connection.allow(10) <= 10);
    }
    assert_eq!(left, [15, 5, 0]);
}
