//! What an idle connection takes.

use super::{super::stream::Stream, *};

#[test]
fn what_is_kept_per_connection_and_stream_is_small() {
    assert!(size_of::<Connection<()>>() <= 352, "{}", size_of::<Connection<()>>());
    assert!(size_of::<Stream<[u8; 8]>>() <= 64, "{}", size_of::<Stream<[u8; 8]>>());
}

/// The fields of a tonic client's request, as literals that the table remembers.
#[test]
fn a_connection_with_one_stream_takes_little() {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/signalbox.v1.Signaling/Join"),
        (":authority", "signalbox.example.com:7600"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"),
        ("user-agent", "grpc-go/1.60.0 (linux; amd64)"),
        ("grpc-accept-encoding", "identity, deflate, gzip"),
    ];
    let mut fields_block = Vec::new();
    for (name, value) in fields {
        fields_block.extend([0x40, name.len() as u8]);
        fields_block.extend_from_slice(name.as_bytes());
        fields_block.push(value.len() as u8);
        fields_block.extend_from_slice(value.as_bytes());
    }
    let mut connection = connection();
    for piece in frame(kind::HEADERS, flag::END_HEADERS, 1, &fields_block).chunks(50) {
        feed(&mut connection, piece).unwrap();
    }
    connection.send_headers(1, &block(&[(":status", "200")]), false);
    drain(&mut connection);
    assert_eq!(connection.partial.capacity(), 0);
    let bytes = size_of_val(&connection) + connection.streams.footprint() + connection.decoder.footprint();
    assert!(bytes < 896, "{bytes}");
}
