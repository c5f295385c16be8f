//! The generated messages, clients and servers of `signalbox.v1`, and the
//! descriptors they were generated from. Layer 0: imports nothing of ours.
//!
//! The messages' documentation is that of the `.proto` files.

#![allow(missing_docs)]
#![allow(clippy::doc_markdown, clippy::large_enum_variant)]

tonic::include_proto!("signalbox.v1");

/// The encoded `FileDescriptorSet` of the API, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/signalbox.v1.bin"));
