//! The generated messages, clients and servers of `signalbox.v1`, and the
//! descriptors they were generated from. Layer 0: imports nothing of ours.
//!
//! The messages' documentation is that of the `.proto` files.

#![allow(missing_docs)]
// Generated code, whose comments are written for proto readers.
#![allow(clippy::all)]

tonic::include_proto!("signalbox.v1");

/// The encoded `FileDescriptorSet` of the API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/signalbox.v1.bin"));
