//! What RFC 9113 asks, rule by rule.

use super::{super::hpack::encode, *};

const NOT_ENDED: bool = false;

#[test]
fn a_connection_begins_with_settings_and_its_window() {
    let mut connection = Connection::<()>::new(Settings { max_concurrent_streams: 7, ..Settings::default() });
    let frames = sent(&mut connection);
    assert_eq!(frames[0].0, kind::SETTINGS);
    assert_eq!(frames[0].3, [0, 4, 0, 0x10, 0, 0, 0, 6, 0, 0, 0x40, 0, 0, 3, 0, 0, 0, 7]);
    assert_eq!(frames[1], (kind::WINDOW_UPDATE, 0, 0, (1_048_576_u32 - 65_535).to_be_bytes().to_vec()));
    assert_eq!(frames.len(), 2);
}

#[test]
fn a_request_is_announced_answered_and_forgotten() {
    let mut connection = connection();
    let seen = feed(&mut connection, &headers(1, &[&POST[..], &[("te", "trailers"), ("a", "b")]].concat(), false));
    let fields = vec![("te".to_owned(), b"trailers".to_vec()), ("a".to_owned(), b"b".to_vec())];
    assert_eq!(seen.unwrap(), [Seen::Request(1, "/a.B/C".to_owned(), fields, false)]);
    assert_eq!(feed(&mut connection, &data(1, b"abc", false)).unwrap(), [Seen::Data(1, b"abc".to_vec(), false)]);
    assert_eq!(feed(&mut connection, &data(1, b"d", true)).unwrap(), [Seen::Data(1, b"d".to_vec(), true)]);
    connection.send_headers(1, &block(&[(":status", "200")]), false);
    connection.begin_data(1, 2, false);
    connection.output().copy(b"ok");
    connection.send_headers(1, &block(&[("grpc-status", "0")]), true);
    assert_eq!(connection.streams(), 1);
    assert_eq!(connection.finish(1), Some(1));
    assert_eq!(connection.streams(), 0);
    let frames = sent(&mut connection);
    let heads: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(heads, [(kind::HEADERS, 4), (kind::DATA, 0), (kind::HEADERS, 5)]);
    assert_eq!(frames[0].3, [0x88]);
    assert_eq!(frames[1].3, b"ok");
}

#[test]
fn an_answer_before_the_end_of_the_request_lets_the_peer_stop() {
    let mut connection = connection();
    feed(&mut connection, &post(1, NOT_ENDED)).unwrap();
    answer(&mut connection, 1);
    assert_eq!(sent(&mut connection)[1], rst(1, ErrorCode::NO_ERROR));
    // What was under way is no error, and given back.
    let late = [data(1, &[0; 10_000], false), headers(1, &[("a", "b")], true)].concat();
    assert_eq!(feed(&mut connection, &late).unwrap(), []);
    // After its end there is nothing under way.
    assert_eq!(code_of(feed(&mut connection, &headers(1, &[("a", "b")], true))), ErrorCode::STREAM_CLOSED);
}

#[test]
fn malformed_requests_are_reset_and_the_others_go_on() {
    let without = |name: &str| POST.iter().copied().filter(|(n, _)| *n != name).collect::<Vec<_>>();
    let with = |name, value| [&POST[..], &[(name, value)]].concat();
    let malformed = [
        without(":method"),
        without(":scheme"),
        without(":path"),
        with(":path", "/again"),
        with(":status", "200"),
        with(":protocol", "websocket"),
        with("Upper", "x"),
        with("a b", "x"),
        with("a:b", "x"),
        with("", "x"),
        with("a", "x\ny"),
        with("a", "x\0"),
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("keep-alive", "1"),
        with("te", "gzip"),
        with("content-length", "x"),
        with("content-length", "1"),
        with("content-length", "+0"),
        [&[("a", "b")], &POST[..]].concat(),
        [&without(":path")[..], &[(":path", "relative")]].concat(),
        [&without(":path")[..], &[(":path", "")]].concat(),
        vec![(":method", "CONNECT"), (":scheme", "http"), (":path", "/"), (":authority", "x")],
        vec![],
    ];
    let mut connection = connection();
    for (nth, fields) in malformed.iter().enumerate() {
        let id = 2 * nth as u32 + 1;
        assert_eq!(feed(&mut connection, &headers(id, fields, true)).unwrap(), [], "{fields:?}");
        assert_eq!(sent(&mut connection), [rst(id, ErrorCode::PROTOCOL_ERROR)], "{fields:?}");
    }
    let sound = [with("content-length", "0"), with("te", "Trailers"), without(":authority")];
    for (nth, fields) in sound.iter().enumerate() {
        let id = 1_001 + 2 * nth as u32;
        assert_eq!(feed(&mut connection, &headers(id, fields, true)).unwrap().len(), 1, "{fields:?}");
    }
}

#[test]
fn a_connect_has_no_path() {
    let mut connection = connection();
    let bytes = headers(1, &[(":method", "CONNECT"), (":authority", "x:1")], false);
    let Some(Event::Request { head, .. }) = connection.next(&mut &bytes[..]).unwrap() else { panic!("no request") };
    assert_eq!((head.path(), head.scheme(), head.authority()), (&b""[..], &b""[..], Some(&b"x:1"[..])));
}

#[test]
fn content_must_be_as_long_as_announced() {
    let announced = |id| headers(id, &[&POST[..], &[("content-length", "5")]].concat(), false);
    let mut connection = connection();
    feed(&mut connection, &announced(1)).unwrap();
    let seen = feed(&mut connection, &[data(1, b"abc", false), data(1, b"de", true)].concat()).unwrap();
    assert_eq!(seen, [Seen::Data(1, b"abc".to_vec(), false), Seen::Data(1, b"de".to_vec(), true)]);
    let broken = Seen::Reset;
    for (id, body) in [(3, data(3, b"abcdef", false)), (5, data(5, b"abc", true)), (7, headers(7, &[("a", "b")], true))]
    {
        feed(&mut connection, &announced(id)).unwrap();
        assert_eq!(feed(&mut connection, &body).unwrap(), [broken(id, ErrorCode::PROTOCOL_ERROR)]);
    }
}

#[test]
fn trailers_end_a_request() {
    let mut connection = connection();
    feed(&mut connection, &post(1, NOT_ENDED)).unwrap();
    assert_eq!(feed(&mut connection, &headers(1, &[("a", "b")], true)).unwrap(), [Seen::Data(1, vec![], true)]);
    for (id, trailers) in [(3, headers(3, &[("a", "b")], false)), (5, headers(5, &[(":path", "/")], true))] {
        feed(&mut connection, &post(id, NOT_ENDED)).unwrap();
        assert_eq!(feed(&mut connection, &trailers).unwrap(), [Seen::Reset(id, ErrorCode::PROTOCOL_ERROR)]);
    }
}

#[test]
fn nothing_may_follow_the_end() {
    let mut connection = connection();
    for (id, after) in [(1, data(1, b"a", false)), (3, headers(3, &[("a", "b")], true))] {
        feed(&mut connection, &post(id, true)).unwrap();
        assert_eq!(feed(&mut connection, &after).unwrap(), [Seen::Reset(id, ErrorCode::STREAM_CLOSED)]);
    }
}

#[test]
fn padding_is_given_back() {
    let mut connection = connection();
    feed(&mut connection, &post(1, NOT_ENDED)).unwrap();
    let padded = |end| frame(kind::DATA, flag::PADDED | end, 1, &[&[200][..], b"abc", &[0; 200]].concat());
    for _ in 0..10_000 {
        assert_eq!(feed(&mut connection, &padded(0)).unwrap(), [Seen::Data(1, b"abc".to_vec(), false)]);
        drain(&mut connection);
    }
    assert_eq!(feed(&mut connection, &padded(1)).unwrap(), [Seen::Data(1, b"abc".to_vec(), true)]);
    let only_padding = frame(kind::DATA, flag::PADDED | flag::END_STREAM, 3, &[2, 0, 0]);
    feed(&mut connection, &post(3, NOT_ENDED)).unwrap();
    assert_eq!(feed(&mut connection, &only_padding).unwrap(), [Seen::Data(3, vec![], true)]);
    let too_much = frame(kind::DATA, flag::PADDED, 3, &[3, 0, 0]);
    assert_eq!(code_of(feed(&mut connection, &too_much)), ErrorCode::PROTOCOL_ERROR);
}

#[test]
fn headers_may_be_padded_prioritised_and_continued() {
    let fields = block(&POST);
    let payload = [&[3][..], &[0, 0, 0, 0, 9], &fields[..5], &[0; 3]].concat();
    let begun = frame(kind::HEADERS, flag::PADDED | flag::PRIORITY | flag::END_STREAM, 1, &payload);
    let bytes = [
        begun,
        frame(kind::CONTINUATION, 0, 1, &fields[5..9]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 1, &fields[9..]),
    ];
    let seen = feed(&mut connection(), &bytes.concat()).unwrap();
    assert_eq!(seen, [Seen::Request(1, "/a.B/C".to_owned(), vec![], true)]);
}

#[test]
fn windows_hold_the_answer_back() {
    let mut connection = connection();
    assert_eq!(feed(&mut connection, &setting(4, 10)).unwrap(), []);
    feed(&mut connection, &post(1, true)).unwrap();
    connection.send_headers(1, &block(&[(":status", "200")]), false);
    assert_eq!(connection.capacity(1), 10);
    connection.begin_data(1, 10, false);
    connection.output().copy(&[0; 10]);
    assert_eq!(connection.capacity(1), 0);
    // Less than nothing, and from there up again.
    assert_eq!(feed(&mut connection, &setting(4, 3)).unwrap(), []);
    let update = |stream, by: u32| frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    assert_eq!(feed(&mut connection, &update(1, 7)).unwrap(), [Seen::Window(Some(1))]);
    assert_eq!(connection.capacity(1), 0);
    assert_eq!(feed(&mut connection, &setting(4, 100_000)).unwrap(), [Seen::Window(None)]);
    assert_eq!(connection.capacity(1), 65_535 - 10, "the connection's");
    assert_eq!(feed(&mut connection, &update(0, 50_000)).unwrap(), [Seen::Window(None)]);
    assert_eq!(connection.capacity(1), 99_997);
    assert_eq!(connection.capacity(3), 0, "there is no such stream");
    connection.begin_data(1, 0, true);
    assert_eq!(connection.capacity(1), 0, "its answer has ended");
}

#[test]
fn the_peer_gets_windows_back_before_it_has_to_stop() {
    let mut connection = connection();
    feed(&mut connection, &[post(1, NOT_ENDED), post(3, NOT_ENDED)].concat()).unwrap();
    drain(&mut connection);
    // One stream's data stays where it is, the other's is dealt with.
    let (held, passed) = (data(1, &[0; 16_000], false), data(3, &[0; 16_000], false));
    for _ in 0..60 {
        connection.next(&mut &held[..]).unwrap();
    }
    let mut room = 1_048_576 - 60 * 16_000_i64;
    for _ in 0..1_000 {
        room -= 16_000;
        assert!(room >= 0);
        feed(&mut connection, &passed).unwrap();
        for (kind, _, stream, payload) in sent(&mut connection) {
            if (kind, stream) == (kind::WINDOW_UPDATE, 0) {
                room += i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
            }
        }
    }
}

#[test]
fn more_than_a_window_is_an_error() {
    let fill = |connection: &mut Connection<StreamId>, id| {
        for _ in 0..64 {
            connection.next(&mut &data(id, &[0; 16_384], false)[..]).unwrap();
        }
    };
    let mut one = connection_with(Settings { connection_window: 1 << 30, ..Settings::default() });
    feed(&mut one, &post(1, NOT_ENDED)).unwrap();
    fill(&mut one, 1);
    let seen = feed(&mut one, &data(1, b"x", false)).unwrap();
    assert_eq!(seen, [Seen::Reset(1, ErrorCode::FLOW_CONTROL_ERROR)]);
    let mut all = connection();
    feed(&mut all, &[post(1, NOT_ENDED), post(3, NOT_ENDED)].concat()).unwrap();
    fill(&mut all, 1);
    assert_eq!(code_of(feed(&mut all, &data(3, b"x", false))), ErrorCode::FLOW_CONTROL_ERROR);
}

#[test]
fn what_was_not_consumed_when_a_stream_went_is_still_to_be_given_back() {
    let mut connection = connection();
    for nth in 0..1_000 {
        let id = 2 * nth + 1;
        feed(&mut connection, &post(id, NOT_ENDED)).unwrap();
        connection.next(&mut &data(id, &[0; 16_000], false)[..]).unwrap();
        feed(&mut connection, &reset(id)).unwrap();
        connection.consumed(id, 16_000);
        connection.guard.answered();
    }
}

#[test]
fn pings_are_answered() {
    let mut connection = connection();
    assert_eq!(feed(&mut connection, &frame(kind::PING, 0, 0, b"abcdefgh")).unwrap(), []);
    assert_eq!(sent(&mut connection), [(kind::PING, flag::ACK, 0, b"abcdefgh".to_vec())]);
    connection.ping();
    let (.., payload) = sent(&mut connection).remove(0);
    assert_eq!(feed(&mut connection, &frame(kind::PING, flag::ACK, 0, b"whatever")).unwrap(), []);
    let pong = frame(kind::PING, flag::ACK, 0, &payload);
    assert_eq!(feed(&mut connection, &pong).unwrap(), [Seen::Pong]);
    assert_eq!(feed(&mut connection, &pong).unwrap(), [], "it was asked once");
}

#[test]
fn a_shutdown_serves_what_is_under_way() {
    let mut connection = connection();
    feed(&mut connection, &post(1, true)).unwrap();
    connection.shut_down();
    connection.shut_down();
    let frames = sent(&mut connection);
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0], (kind::GOAWAY, 0, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0].to_vec()));
    assert_eq!(feed(&mut connection, &post(3, true)).unwrap().len(), 1, "it didn't know");
    assert!(connection.is_shutting_down() && !connection.is_done());
    feed(&mut connection, &frame(kind::PING, flag::ACK, 0, &frames[1].3)).unwrap();
    assert_eq!(sent(&mut connection), [(kind::GOAWAY, 0, 0, [0, 0, 0, 3, 0, 0, 0, 0].to_vec())]);
    assert_eq!(feed(&mut connection, &post(5, false)).unwrap(), []);
    assert_eq!(sent(&mut connection), [rst(5, ErrorCode::REFUSED_STREAM)]);
    assert_eq!(feed(&mut connection, &data(5, b"abc", true)).unwrap(), []);
    answer(&mut connection, 1);
    assert!(!connection.is_done());
    answer(&mut connection, 3);
    assert!(connection.is_done());
    drain(&mut connection);
    connection.go_away(&Error::protocol("x"));
    assert_eq!(sent(&mut connection)[0].3, [0, 0, 0, 3, 0, 0, 0, 1, b'x'], "the last stream stays");
}

#[test]
fn the_peers_leave_is_told_once() {
    let mut connection = connection();
    let leave = frame(kind::GOAWAY, 0, 0, &[0; 8]);
    assert_eq!(feed(&mut connection, &[leave.clone(), leave].concat()).unwrap(), [Seen::GoAway]);
}

#[test]
fn resets_take_the_state_along() {
    let mut connection = connection();
    feed(&mut connection, &[post(1, NOT_ENDED), post(3, NOT_ENDED)].concat()).unwrap();
    assert_eq!(connection.reset(1, ErrorCode::CANCEL), Some(1));
    assert_eq!(sent(&mut connection), [rst(1, ErrorCode::CANCEL)]);
    assert_eq!(connection.reset(1, ErrorCode::CANCEL), None);
    assert!(connection.output().is_empty());
    match connection.next(&mut &reset(3)[..]).unwrap() {
        Some(Event::Reset { stream: 3, state: Some(3), code: ErrorCode::CANCEL }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(connection.get_mut(3), None);
    // Nothing is sent on it any more.
    connection.send_headers(3, &block(&[(":status", "200")]), true);
    connection.begin_data(3, 0, true);
    assert!(connection.output().is_empty());
}

#[test]
fn streams_beyond_the_limit_are_refused_and_the_table_stays_in_step() {
    let mut connection = connection_with(Settings { max_concurrent_streams: 1, ..Settings::default() });
    feed(&mut connection, &post(1, true)).unwrap();
    let remembered = [&block(&POST)[..], &[0x40, 1, b'a', 1, b'b']].concat();
    let refused = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 3, &remembered);
    assert_eq!(feed(&mut connection, &refused).unwrap(), []);
    assert_eq!(sent(&mut connection), [rst(3, ErrorCode::REFUSED_STREAM)]);
    answer(&mut connection, 1);
    let again = frame(kind::HEADERS, 5, 5, &[&block(&POST)[..], &[0xbe]].concat());
    let fields = vec![("a".to_owned(), b"b".to_vec())];
    assert_eq!(feed(&mut connection, &again).unwrap(), [Seen::Request(5, "/a.B/C".to_owned(), fields, true)]);
}

#[test]
fn a_stream_that_nobody_accepts_takes_no_data() {
    let mut connection = connection();
    assert!(connection.next(&mut &post(1, NOT_ENDED)[..]).unwrap().is_some());
    let seen = feed(&mut connection, &data(1, b"abc", false)).unwrap();
    assert_eq!(seen, [Seen::Reset(1, ErrorCode::REFUSED_STREAM)]);
}

#[test]
fn too_large_a_head_is_answered_with_431() {
    let mut connection = connection();
    let long = "x".repeat(9_000);
    let fields = block(&[&POST[..], &[("a", long.as_str()), ("b", long.as_str())]].concat());
    let (first, second) = fields.split_at(16_000);
    let bytes = [frame(kind::HEADERS, 0, 1, first), frame(kind::CONTINUATION, flag::END_HEADERS, 1, second)].concat();
    assert_eq!(feed(&mut connection, &bytes).unwrap(), []);
    let status = (kind::HEADERS, 5, 1, vec![0x08, 3, b'4', b'3', b'1']);
    assert_eq!(sent(&mut connection), [status, rst(1, ErrorCode::NO_ERROR)]);
    assert_eq!(feed(&mut connection, &data(1, b"late", true)).unwrap(), []);
}

#[test]
fn a_large_answer_head_is_continued() {
    let mut connection = connection();
    feed(&mut connection, &post(1, true)).unwrap();
    let mut fields = Vec::new();
    encode(":status", b"200", &mut fields);
    encode("long", &[b'x'; 40_000], &mut fields);
    connection.send_headers(1, &fields, true);
    let frames = sent(&mut connection);
    let heads: Vec<_> = frames.iter().map(|(kind, flags, ..)| (*kind, *flags)).collect();
    assert_eq!(heads, [(kind::HEADERS, 1), (kind::CONTINUATION, 0), (kind::CONTINUATION, 4)]);
    assert_eq!(frames.iter().flat_map(|frame| frame.3.clone()).collect::<Vec<_>>(), fields);
}

/// Source: RFC 9113, section 4.3.1.
#[test]
fn a_smaller_table_is_acknowledged_in_the_next_block() {
    let mut connection = connection();
    feed(&mut connection, &[setting(1, 100), post(1, true), post(3, true)].concat()).unwrap();
    drain(&mut connection);
    connection.send_headers(1, &[0x88], true);
    connection.send_headers(3, &[0x88], true);
    let blocks: Vec<_> = sent(&mut connection).into_iter().map(|frame| frame.3).collect();
    assert_eq!(blocks, [vec![0x20, 0x88], vec![0x88]]);
    feed(&mut connection, &[setting(1, 50), post(5, true)].concat()).unwrap();
    drain(&mut connection);
    connection.send_headers(5, &[0x88], true);
    assert_eq!(sent(&mut connection)[0].3, [0x88], "it was empty already");
}

#[test]
fn frames_are_as_large_as_the_peer_takes() {
    let mut connection = connection();
    assert_eq!(connection.max_frame(), 16_384);
    feed(&mut connection, &setting(5, 20_000)).unwrap();
    assert_eq!(connection.max_frame(), 20_000);
    feed(&mut connection, &setting(5, 1 << 23)).unwrap();
    assert_eq!(connection.max_frame(), 65_536);
}

#[test]
fn what_breaks_the_connection() {
    use ErrorCode as Code;
    let full = 0x7fff_ffff_u32.to_be_bytes();
    let cases = [
        (frame(kind::DATA, 0, 0, b"x"), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 9, b"x"), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, 0, 2, b"x"), Code::PROTOCOL_ERROR),
        (frame(kind::DATA, flag::PADDED, 1, b""), Code::FRAME_SIZE_ERROR),
        (post(0, true), Code::PROTOCOL_ERROR),
        (post(2, true), Code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, 4 | flag::PADDED, 7, &[9, 0x82]), Code::PROTOCOL_ERROR),
        (frame(kind::HEADERS, 4 | flag::PRIORITY, 7, &[0; 4]), Code::FRAME_SIZE_ERROR),
        (frame(kind::HEADERS, 4, 7, &[0xff]), Code::COMPRESSION_ERROR),
        ([post(7, true), post(5, true)].concat(), Code::PROTOCOL_ERROR),
        ([frame(kind::HEADERS, 0, 7, &[0x82]), data(1, b"x", false)].concat(), Code::PROTOCOL_ERROR),
        ([frame(kind::HEADERS, 0, 7, &[0x82]), frame(kind::CONTINUATION, 4, 9, &[])].concat(), Code::PROTOCOL_ERROR),
        (frame(kind::CONTINUATION, 4, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(kind::PRIORITY, 0, 0, &[0; 5]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 9, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::RST_STREAM, 0, 1, &[0; 5]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(kind::SETTINGS, 0, 0, &[0; 5]), Code::FRAME_SIZE_ERROR),
        (frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]), Code::FRAME_SIZE_ERROR),
        (setting(2, 2), Code::PROTOCOL_ERROR),
        (setting(4, 1 << 31), Code::FLOW_CONTROL_ERROR),
        (setting(5, 16_383), Code::PROTOCOL_ERROR),
        (setting(5, 1 << 24), Code::PROTOCOL_ERROR),
        (frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::PUSH_PROMISE, 4, 1, &[]), Code::PROTOCOL_ERROR),
        (frame(kind::PING, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(kind::PING, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::GOAWAY, 0, 1, &[0; 8]), Code::PROTOCOL_ERROR),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), Code::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), Code::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 9, &full), Code::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 1, &[0; 3]), Code::FRAME_SIZE_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 0, &full), Code::FLOW_CONTROL_ERROR),
        (frame(0xee, 0, 0, &vec![0; 16_385]), Code::FRAME_SIZE_ERROR),
        // A window that a new initial size takes over the bound.
        (
            [frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0]), setting(4, 70_000)].concat(),
            Code::FLOW_CONTROL_ERROR,
        ),
    ];
    for (nth, (bytes, code)) in cases.iter().enumerate() {
        let mut connection = connection();
        feed(&mut connection, &post(1, NOT_ENDED)).unwrap();
        let error = feed(&mut connection, bytes).unwrap_err();
        assert_eq!(error.code, *code, "{nth}: {error}");
        assert!(feed(&mut connection, b"x").is_err(), "it stays broken");
        drain(&mut connection);
        connection.go_away(&error);
        assert_eq!(sent(&mut connection)[0].3[4..8], code.0.to_be_bytes());
    }
}

#[test]
fn what_breaks_a_stream() {
    let full = 0x7fff_ffff_u32.to_be_bytes();
    let cases = [
        (frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4]), ErrorCode::PROTOCOL_ERROR),
        (frame(kind::WINDOW_UPDATE, 0, 1, &full), ErrorCode::FLOW_CONTROL_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0; 4]), ErrorCode::FRAME_SIZE_ERROR),
        (frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), ErrorCode::PROTOCOL_ERROR),
    ];
    for (bytes, code) in cases {
        let mut connection = connection();
        feed(&mut connection, &post(1, NOT_ENDED)).unwrap();
        assert_eq!(feed(&mut connection, &bytes).unwrap(), [Seen::Reset(1, code)]);
        assert_eq!(sent(&mut connection), [rst(1, code)]);
        assert_eq!(feed(&mut connection, &post(3, NOT_ENDED)).unwrap().len(), 1);
    }
}

#[test]
fn what_is_let_through() {
    let mut connection = connection();
    feed(&mut connection, &post(1, true)).unwrap();
    answer(&mut connection, 1);
    drain(&mut connection);
    let bytes = [
        frame(0xee, 0xff, 77, b"unknown"),
        frame(kind::PRIORITY, 0, 9, &[0, 0, 0, 1, 0]),
        frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        reset(1),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        setting(0xee, 1),
    ];
    assert_eq!(feed(&mut connection, &bytes.concat()).unwrap(), []);
    assert_eq!(sent(&mut connection), [(kind::SETTINGS, flag::ACK, 0, vec![])]);
}

#[test]
fn the_preface_comes_first() {
    let start = |bytes: &[u8]| feed(&mut Connection::new(Settings::default()), bytes);
    assert!(start(&PREFACE[..10]).is_ok());
    let mut connection = Connection::new(Settings::default());
    feed(&mut connection, &PREFACE[..]).unwrap();
    assert!(!connection.has_begun());
    feed(&mut connection, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    assert!(connection.has_begun());
    assert_eq!(code_of(start(b"GET / HTTP/1.1\r\n\r\n")), ErrorCode::PROTOCOL_ERROR);
    let then = |frame: Vec<u8>| start(&[&PREFACE[..], &frame].concat());
    assert!(then(frame(kind::SETTINGS, 0, 0, &[])).is_ok());
    assert_eq!(code_of(then(frame(kind::SETTINGS, flag::ACK, 0, &[]))), ErrorCode::PROTOCOL_ERROR);
    assert_eq!(code_of(then(post(1, true))), ErrorCode::PROTOCOL_ERROR);
}
