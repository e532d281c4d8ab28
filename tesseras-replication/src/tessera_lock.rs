//! The lock of a tessera: at most one task of this node (draft of a plan, publication, fetch or
//! repair) works on a tessera at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tokio::sync::OwnedMutexGuard;

use crate::blocking::Blocking;

/// A locked tessera. Clones share the lock; it is free again when the last of them is dropped.
#[derive(Clone)]
pub(crate) struct TesseraLock {
    tessera: TesseraHash,
    _guard: Arc<OwnedMutexGuard<()>>,
}

impl TesseraLock {
    /// The tessera that is locked.
    pub(crate) fn tessera(&self) -> TesseraHash {
        self.tessera
    }

    /// The same threads; their work keeps the lock until it ends, even if its caller is gone. So
    /// whoever locks the tessera next is not surprised by what it still stores.
    pub(crate) fn on(&self, disk: &Blocking) -> Blocking {
        disk.keeping(self.clone())
    }
}

/// The locks of all tesserae that are worked on.
#[derive(Default)]
pub(crate) struct TesseraLocks(Mutex<BTreeMap<TesseraHash, Arc<tokio::sync::Mutex<()>>>>);

impl TesseraLocks {
    /// Waits until no other task works on a tessera, and locks it.
    pub(crate) async fn lock(&self, tessera: TesseraHash) -> TesseraLock {
        let mutex = {
            let mut mutexes = lock(&self.0);
            mutexes.retain(|_, mutex| Arc::strong_count(mutex) > 1);
            mutexes.entry(tessera).or_default().clone()
        };
        TesseraLock { tessera, _guard: Arc::new(mutex.lock_owned().await) }
    }
}
