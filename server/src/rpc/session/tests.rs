#![allow(clippy::unwrap_used)]
use crate::{
    config::{Config, Limits, Tenant, TenantOverrides},
    rpc::testing::*,
    shard::{Command, Write},
};
use inkpot_proto::v1::{self, ErrorReason, write_request::Frame as Ask, write_response::Frame as Say};
use std::time::Duration;
use tonic::Code;

mod channels;
mod ending;
mod order;
mod room;

/// One shard, and these limits.
fn with_limits(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = one_shard();
    change(&mut config.limits);
    config
}

fn seqs(writes: &[Write]) -> Vec<u64> {
    writes.iter().map(|write| write.seq).collect()
}

/// The reason of each append that must be refused in its turn.
fn reasons(writes: &[Write]) -> Vec<Option<ErrorReason>> {
    writes.iter().map(|write| write.body.as_ref().err().map(|refused| refused.reason)).collect()
}
