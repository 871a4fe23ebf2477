//! What the tests of Inkpot as a whole share: a server as a real process on a folder of its own ([`Server`]), a session
//! on the generated client with nothing between the test and the wire ([`RawSession`]), and waiting with a bound
//! ([`wait`]); the rules by which a history is judged ([`checker`]); and how figures are told
//! ([`figures`]). Nothing here knows how the server works inside;
//! of its crates only the disk in memory is used, below a mounted one ([`harness::lossy`]).
//!
//! The server is the binary `inkpotd` beside the test executable. `cargo test -p inkpot-tests` does not build it anew:
//! after a change of the server run `cargo build --workspace --bins` first, as `tests/run` does.

pub mod checker;
pub mod figures;
pub mod harness;

pub use harness::{
    server::{Server, Setup},
    session::{Client, RawSession},
    wait,
};
