//! The Inkpot coordinator: takes streams of writes over gRPC, gives every file exactly one writer, commits in groups,
//! acknowledges with the durability that was reached, and leaves plain files.

pub mod admission;
pub mod app;
pub mod apply;
pub mod audit;
pub mod catalog;
pub mod cli;
pub mod commit;
pub mod config;
pub mod datadir;
pub mod host;
pub mod keeper;
pub mod lifecycle;
pub mod node;
pub mod policy;
pub mod recovery;
pub mod repair;
pub mod route;
pub mod rpc;
pub mod sets;
pub mod shard;
pub mod telemetry;
pub mod utc;
