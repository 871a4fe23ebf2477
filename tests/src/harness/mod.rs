//! The parts of the harness, and the assertions on what a server refuses.
//!
//! Everything here panics with the reason when it fails, because it runs in tests only.

pub mod disk;
pub mod files;
pub mod gate;
pub mod honest;
pub mod http2;
pub mod load;
pub mod lossy;
pub mod memory;
pub mod operate;
pub mod process;
pub mod raw;
pub mod server;
pub mod session;
pub mod tool;
pub mod upload;
pub mod wait;
pub mod witness;

use inkpot_proto::{
    error::{Detail, code},
    v1::{ErrorReason, Nack, Outcome},
};
use std::time::Duration;
use tonic::{Code, Status};

/// How long a test waits for anything that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asserts code and reason of the end of a call, and that nothing was applied.
#[track_caller]
pub fn assert_refused(status: &Status, code: Code, reason: ErrorReason) -> Detail {
    let detail = assert_ended(status, code, reason);
    assert_eq!(detail.outcome, Outcome::NotApplied, "{reason:?} must say that nothing was applied: {status:?}");
    detail
}

/// Asserts code and reason of the end of a call, whatever became of it.
#[track_caller]
pub fn assert_ended(status: &Status, code: Code, reason: ErrorReason) -> Detail {
    let detail = Detail::of(status).unwrap_or_else(|| panic!("no detail of Inkpot in {status:?}"));
    assert_eq!((status.code(), detail.reason), (code, reason), "{status:?}");
    assert!(!status.message().is_empty(), "{reason:?} has no message");
    detail
}

/// Asserts everything that a nack says of an append, an open or a finish that was not applied: channel, seq, code,
/// reason and outcome, each wherever it stands.
#[track_caller]
pub fn assert_nack(nack: &Nack, channel: u32, seq: u64, want: Code, reason: ErrorReason) -> Detail {
    assert_eq!((nack.channel, nack.seq, nack.reason()), (channel, seq, reason), "{nack:?}");
    assert_eq!(nack.outcome(), Outcome::NotApplied, "{nack:?}");
    let status = nack.status.as_ref().expect("a nack has a status");
    assert_eq!(Code::from_i32(status.code), want, "{nack:?}");
    assert_eq!(want, code(reason), "the test expects a code that is not that of the reason");
    assert!(!status.message.is_empty(), "{reason:?} has no message");
    let detail = Detail::of_rpc(status).unwrap_or_else(|| panic!("no detail of Inkpot in {nack:?}"));
    assert_eq!((detail.reason, detail.outcome), (reason, Outcome::NotApplied), "{nack:?}");
    detail
}
