//! In place of telemetry, without the feature: the same calls, which do nothing and take no room.

use crate::{Durability, Error, ErrorReason};
use std::fmt::Display;
use tonic::metadata::MetadataMap;
use tracing::Span;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Telemetry;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {}

#[derive(Debug, Default)]
pub(crate) struct Tally {}

/// There is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {}

impl Telemetry {
    pub(crate) fn global() -> Self {
        Self
    }

    pub(crate) fn sent(self, _: usize) {}

    pub(crate) fn done(self, _: usize, _: usize) {}

    pub(crate) fn waits(self) {}

    pub(crate) fn reconnected(self, _: &'static str) {}

    pub(crate) fn answered(self, _: &Tally) {}
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self {}
    }
}

impl Tally {
    pub(crate) fn acked(&mut self, _: u64, _: u64, _: u64, _: Durability, _: Moment) {}

    pub(crate) fn refused(&mut self, _: ErrorReason) {}
}

impl Trace {
    pub(crate) fn current() -> Option<Self> {
        None
    }

    pub(crate) fn traceparent(self) -> String {
        match self {}
    }
}

pub(crate) fn inject(_: &mut MetadataMap) {}

pub(crate) fn session_span(_: impl Display) -> Span {
    Span::none()
}

pub(crate) fn connect_span(_: &Span) -> Span {
    Span::none()
}

pub(crate) fn open_span(_: &str) -> Span {
    Span::none()
}

pub(crate) fn failed(_: &Span, _: &Error) {}
