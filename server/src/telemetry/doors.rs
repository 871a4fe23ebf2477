//! What is counted of connections that were refused or closed.

use super::{instruments, names};
use opentelemetry::{KeyValue, metrics::Meter};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A limit of connections, for which one is refused or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// `limits.connections`.
    Total,
    /// `limits.connections_per_address`.
    PerAddress,
    /// `limits.handshake`.
    Handshake,
    /// `limits.frame`.
    Frame,
    /// `limits.connection_idle`.
    Idle,
    /// `limits.control_frames_per_second`.
    ControlFrames,
}

impl ConnectionLimit {
    const ALL: [Self; 6] =
        [Self::Total, Self::PerAddress, Self::Handshake, Self::Frame, Self::Idle, Self::ControlFrames];

    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "limits.connections",
            Self::PerAddress => "limits.connections_per_address",
            Self::Handshake => "limits.handshake",
            Self::Frame => "limits.frame",
            Self::Idle => "limits.connection_idle",
            Self::ControlFrames => "limits.control_frames_per_second",
        }
    }
}

/// See [`names::CONNECTION_REFUSALS`]. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Doors(Arc<[AtomicU64; ConnectionLimit::ALL.len()]>);

impl Doors {
    /// Measures into `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let doors = Self::default();
        let told = doors.clone();
        instruments::observe(meter, &names::CONNECTION_REFUSALS, move |tell| {
            for limit in ConnectionLimit::ALL {
                tell(told.refused(limit), &[KeyValue::new(names::LIMIT, limit.name())]);
            }
        });
        doors
    }

    /// A connection was refused or closed for this.
    pub fn refuse(&self, limit: ConnectionLimit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn refused(&self, limit: ConnectionLimit) -> u64 {
        self.0[limit as usize].load(Ordering::Relaxed)
    }
}
