//! The compression of fields. Source: RFC 7541.
//!
//! Decoding is complete. Encoding leaves the dynamic table alone, so that what
//! is encoded once may be sent to many peers.

mod decoder;
mod encode;
mod huffman;
mod statics;
mod table;

pub use decoder::Decoder;
pub use encode::encode;

#[cfg(test)]
pub(super) use huffman::encode as encode_huffman;

/// How much the dynamic table may hold: what both sides begin with. This side
/// never says another number.
pub(super) const TABLE_BYTES: usize = 4_096;
