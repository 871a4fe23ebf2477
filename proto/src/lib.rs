//! The wire of Inkpot: types generated from `inkpot/v1/*.proto`, and what both sides need to agree on beyond them:
//! the grammar of names ([`path`]), the bounds ([`limits`]), and which code and outcome belongs to which reason
//! ([`error`]). Nothing here does I/O.

pub mod error;
pub mod limits;
pub mod path;

/// Generated messages, clients and servers of package `inkpot.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("inkpot.v1");
}

/// The encoded `FileDescriptorSet` of the protos, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
