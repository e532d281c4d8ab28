//! The lock of a tessera: at most one task of this node (draft of a plan, publication, fetch or
//! repair) works on a tessera at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tokio::sync::OwnedMutexGuard;
use tokio::time::sleep;

use crate::blocking::Blocking;

/// A locked tessera. Clones share the lock; it is free again when the last of them is dropped.
#[derive(Clone)]
pub(crate) struct TesseraLock {
    tessera: TesseraHash,
    guard: Arc<OwnedMutexGuard<()>>,
}

/// How often a task that gives way looks whether another one waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl TesseraLock {
    /// The tessera that is locked.
    pub(crate) fn tessera(&self) -> TesseraHash {
        self.tessera
    }

    /// Waits until another task waits for this lock.
    pub(crate) async fn is_wanted(&self) {
        // Besides those who wait, this lock and the table refer to the mutex.
        while Arc::strong_count(OwnedMutexGuard::mutex(&self.guard)) <= 2 {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The same threads; their work keeps the lock until it ends, even if its caller is gone. So
    /// nothing is still stored for the tessera when the next task locks it.
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
        TesseraLock { tessera, guard: Arc::new(mutex.lock_owned().await) }
    }
}
