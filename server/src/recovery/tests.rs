//! The proof that nothing acknowledged is lost. [`machine`] drives the synchronous cores of a shard in one thread on a
//! disk in memory, [`model`] remembers what was sent and what was acknowledged, and tells whether what a start finds is
//! honest; [`history`] does so for whole files, with a model of its own; the other modules take power away, make calls
//! fail, and let other programs meddle.
#![allow(clippy::unwrap_used)]

mod answers;
mod faults;
mod foreign;
mod history;
mod idle;
mod machine;
mod model;
mod power_loss;
mod repair;
mod script;
mod whole;
