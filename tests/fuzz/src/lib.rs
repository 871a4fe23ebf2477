//! Fuzz targets: each takes bytes as they could come from a peer, a disk or an operator, and panics if something that must
//! hold does not. What holds for all of them: no panic, and no more memory than a bound that grows with the input.
//!
//! `tests/targets.rs` runs them: as ordinary tests over the kept corpus and random inputs for a moment each, and under
//! libFuzzer, led by coverage, for as long as wanted with `tests/run fuzz --seconds N`; both on the stable toolchain.

mod config;
mod edits;
mod memory;
mod paths;
mod records;
mod requests;
mod seekable;
mod text;
mod units;
mod wal;

pub use config::config;
pub use memory::Counting;
pub use records::records;
pub use requests::messages;
pub use seekable::seekable;
pub use text::text;
pub use wal::{frame, recovery};
