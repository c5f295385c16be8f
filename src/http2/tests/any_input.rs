//! Any bytes, however they are cut.

use proptest::prelude::*;

use super::*;

/// Frames that are mostly as they should be, on few streams.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![8 => (0_u32..6).prop_map(|n| 2 * n + 1), 1 => 0_u32..12];
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        4 => (id.clone(), any::<bool>()).prop_map(|(id, end)| post(id, end)),
        2 => (id.clone(), any::<bool>(), "[a-z]{1,5}", "[ -~]{0,50}")
            .prop_map(|(id, end, name, value)| headers(id, &[&POST[..], &[(&*name, &*value)]].concat(), end)),
        1 => (id.clone(), "[a-z]{1,5}").prop_map(|(id, name)| headers(id, &[(&*name, "trailer")], true)),
        4 => (id.clone(), any::<bool>(), bytes.clone()).prop_map(|(id, end, bytes)| data(id, &bytes, end)),
        1 => (id.clone(), any::<bool>(), 0_u8..9, bytes.clone()).prop_map(|(id, end, padding, bytes)| {
            let payload = [&[padding][..], &bytes, &vec![0; padding.into()]].concat();
            frame(kind::DATA, flag::PADDED | u8::from(end), id, &payload)
        }),
        1 => id.clone().prop_map(reset),
        1 => (1_u16..7, prop_oneof![Just(0), Just(1), 16_384_u32..100_000, any::<u32>()]).prop_map(|(n, v)| setting(n, v)),
        1 => Just(frame(kind::PING, 0, 0, b"12345678")),
        1 => (id.clone(), 0_u32..100_000).prop_map(|(id, by)| frame(kind::WINDOW_UPDATE, 0, id, &by.to_be_bytes())),
        1 => (id.clone(), 1_usize..30).prop_map(|(id, at)| {
            let fields = block(&POST);
            let (first, second) = fields.split_at(at.min(fields.len()));
            [frame(kind::HEADERS, 0, id, first), frame(kind::CONTINUATION, 4, id, second)].concat()
        }),
        1 => (0_u8..12, any::<u8>(), id, bytes).prop_map(|(kind, flags, id, bytes)| frame(kind, flags, id, &bytes)),
    ]
}

/// All that happens: pieces of bodies put together, since cuts make pieces.
fn run(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>, Option<Error>) {
    let mut connection = Connection::new(Settings { max_concurrent_streams: 4, ..Settings::default() });
    let (mut all, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let event = match connection.next(&mut rest) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    output.extend(drain(&mut connection));
                    return (all, output, Some(error));
                }
            };
            match &event {
                Event::Request { stream, .. } => connection.accept(*stream, *stream),
                Event::Data { stream, data, end } => {
                    connection.consumed(*stream, data.len());
                    if *end && stream % 4 == 1 {
                        connection.send_headers(*stream, &block(&[(":status", "200")]), true);
                        connection.finish(*stream);
                    }
                }
                _ => {}
            }
            match (event.into(), all.last_mut()) {
                (Seen::Data(id, bytes, end), Some(Seen::Data(other, before, ended @ false))) if id == *other => {
                    before.extend(bytes);
                    *ended = end;
                }
                (seen, _) => all.push(seen),
            }
        }
        assert!(rest.is_empty());
        output.extend(drain(&mut connection));
    }
    (all, output, None)
}

fn cut<'a>(bytes: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = at.iter().map(|at| at % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn begun(bytes: Vec<u8>) -> Vec<u8> {
    [&PREFACE[..], &frame(kind::SETTINGS, 0, 0, &[]), &bytes].concat()
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        run(&[&begun(bytes)]);
    }

    #[test]
    fn cuts_change_nothing(
        frames in prop::collection::vec(any_frame(), 0..40),
        at in prop::collection::vec(any::<usize>(), 0..60),
    ) {
        let bytes = begun(frames.concat());
        let whole = run(&[&bytes]);
        prop_assert_eq!(&run(&cut(&bytes, &at)), &whole);
        prop_assert_eq!(&run(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn broken_frames_are_read(
        frames in prop::collection::vec(any_frame(), 1..20),
        flips in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6),
    ) {
        let mut bytes = begun(frames.concat());
        for (at, with) in flips {
            let at = at % bytes.len();
            bytes[at] ^= with;
        }
        let whole = run(&[&bytes]);
        prop_assert_eq!(&run(&bytes.chunks(3).collect::<Vec<_>>()), &whole);
    }
}
