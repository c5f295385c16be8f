//! The generated messages of `signalbox.v1`; with the feature `client` its
//! clients, with `server` its servers and the descriptors they were generated
//! from. Layer 0: imports nothing of ours.
//!
//! The messages' documentation is that of the `.proto` files.

#![allow(missing_docs)]
// Generated code, whose comments are written for proto readers.
#![allow(clippy::all)]

// What tonic's macro does; the messages alone need no tonic.
include!(concat!(env!("OUT_DIR"), "/signalbox.v1.rs"));

/// The encoded `FileDescriptorSet` of the API, for server reflection.
#[cfg(feature = "server")]
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/signalbox.v1.bin"));
