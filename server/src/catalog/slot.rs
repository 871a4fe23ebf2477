//! The catalog of a shard as others than the shard reach it: while the shard is open, for one reading at a time.

use super::Catalog;
use inkpot_proto::{error::Refused, v1::ErrorReason};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub struct CatalogSlot {
    /// Or why there is none. Locked while it is read.
    catalog: RwLock<Result<Arc<Catalog>, Box<Refused>>>,
    /// Whether it was filled, or refused, for the first time.
    begun: watch::Sender<bool>,
}

impl Default for CatalogSlot {
    fn default() -> Self {
        let refused = Refused::new(ErrorReason::ShardClosed, "the shard recovers; try again");
        Self { catalog: RwLock::new(Err(Box::new(refused))), begun: watch::Sender::new(false) }
    }
}

impl CatalogSlot {
    /// The shard is open.
    pub fn open(&self, catalog: Arc<Catalog>) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Ok(catalog);
        self.begun.send_replace(true);
    }

    /// The shard is closed. Waits for those who are reading: dropping the last handle of a database writes to its file,
    /// which must not happen after the next recovery has opened that.
    pub fn close(&self, refused: Refused) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Err(Box::new(refused));
        self.begun.send_replace(true);
    }

    /// Waits until the shard was opened, or could not be, for the first time.
    pub async fn begun(&self) {
        // The sender is here, so this cannot fail.
        let _ = self.begun.subscribe().wait_for(|begun| *begun).await;
    }

    /// Reads the catalog, which reads the disk: not for an event loop. Nothing of it may be kept.
    ///
    /// # Errors
    /// What the shard was closed with.
    pub fn read<T>(&self, read: impl FnOnce(&Catalog) -> T) -> Result<T, Refused> {
        match &*self.catalog.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(catalog) => Ok(read(catalog)),
            Err(refused) => Err((**refused).clone()),
        }
    }
}

#[cfg(test)]
mod tests;
