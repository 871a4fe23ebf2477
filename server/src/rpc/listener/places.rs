//! How many connections there are, in all and from each address.

use crate::telemetry::ConnectionLimit;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts connections. Memory grows with the addresses that have one open, and with nothing else.
#[derive(Debug)]
pub(super) struct Places {
    most: u32,
    most_per_address: u32,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// The place of a connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(most: u32, most_per_address: u32) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, taken: Mutex::default() })
    }

    /// A place for a connection from this address.
    ///
    /// # Errors
    /// The limit that is reached, and what it is set to.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, (ConnectionLimit, u32)> {
        let mut taken = self.taken();
        if taken.total >= self.most {
            return Err((ConnectionLimit::Total, self.most));
        }
        if taken.by_address.get(&address).is_some_and(|of_address| *of_address >= self.most_per_address) {
            return Err((ConnectionLimit::PerAddress, self.most_per_address));
        }
        taken.total += 1;
        *taken.by_address.entry(address).or_default() += 1;
        Ok(Place { places: Arc::clone(self), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= 1;
        if let Some(of_address) = taken.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}
