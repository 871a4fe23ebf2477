//! The Inkpot coordinator: takes streams of writes over gRPC, gives every file exactly one writer, commits in groups,
//! acknowledges with the durability that was reached, and leaves plain files.

pub mod admission;
pub mod apply;
pub mod config;
pub mod route;
pub mod shard;
pub mod telemetry;
