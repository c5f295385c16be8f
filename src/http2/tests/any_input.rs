//! Any bytes, however they are cut.

use proptest::prelude::*;

use super::*;
use crate::fuzz;

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

/// Frames of which each byte decides something: its kind, its stream, what is in it.
fn frames_of(bytes: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let [how, which, more @ ..] = rest {
        let id = 2 * u32::from(which % 8) + 1;
        let (content, after) = more.split_at(usize::from(which / 8).min(more.len()));
        let made = match how % 12 {
            0 => post(id, how & 16 != 0),
            1 => headers(id, &[&POST[..], &[("x", &"v".repeat(content.len()))]].concat(), how & 16 != 0),
            2 => headers(id, &[("x", "trailer")], true),
            3 | 4 => data(id, content, how & 16 != 0),
            5 => frame(kind::DATA, flag::PADDED | how & 1, id, content),
            6 => reset(id),
            7 => frame(kind::SETTINGS, 0, 0, content),
            8 => frame(kind::WINDOW_UPDATE, 0, id & 7, content),
            9 => frame(kind::HEADERS, how >> 4, id, &block(&POST)),
            10 => frame(kind::CONTINUATION, how >> 4, id, content),
            _ => frame(which % 12, *how, id, content),
        };
        frames.extend(made);
        rest = after;
    }
    frames
}

/// Any bytes, or frames, cut anywhere: the same comes out.
#[test]
fn fuzz_http2() {
    bolero::check!().for_each(|input: &[u8]| {
        let (how, rest) = fuzz::split(input);
        let bytes = match how % 4 {
            0 => rest.to_vec(),
            1 => begun(rest.to_vec()),
            _ => begun(frames_of(rest)),
        };
        if bytes.is_empty() {
            return;
        }
        let whole = run(&[&bytes]);
        for length in [1, 3, 1 + usize::from(how)] {
            assert_eq!(run(&bytes.chunks(length).collect::<Vec<_>>()), whole);
        }
        assert!(whole.1.len() <= 200 + 100 * bytes.len(), "a little makes it say much");
    });
}
