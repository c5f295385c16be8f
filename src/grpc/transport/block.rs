//! Response headers and trailers, as HPACK blocks.

use std::sync::LazyLock;

use http::HeaderMap;

use crate::http2::hpack;

/// The headers of every answer in gRPC.
pub(super) fn response() -> &'static [u8] {
    static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut block = Vec::new();
        hpack::encode(":status", b"200", &mut block);
        hpack::encode("content-type", b"application/grpc", &mut block);
        block
    });
    &BLOCK
}

/// The trailers of what went well.
pub(super) fn ok() -> &'static [u8] {
    static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut block = Vec::new();
        hpack::encode("grpc-status", b"0", &mut block);
        block
    });
    &BLOCK
}

/// Any headers, after `status` when they begin an answer.
pub(super) fn of(status: Option<http::StatusCode>, headers: &HeaderMap) -> Vec<u8> {
    let mut block = Vec::new();
    if let Some(status) = status {
        hpack::encode(":status", status.as_str().as_bytes(), &mut block);
    }
    for (name, value) in headers {
        hpack::encode(name.as_str(), value.as_bytes(), &mut block);
    }
    block
}
