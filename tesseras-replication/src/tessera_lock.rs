//! The lock of a tessera: at most one task of this node (draft of a plan, publication, fetch or
//! repair) works on a tessera at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::blocking::Blocking;

/// A locked tessera. Clones share the lock; it is free again when the last of them is dropped.
#[derive(Clone)]
pub(crate) struct TesseraLock {
    tessera: TesseraHash,
    queue: Arc<Queue>,
    _guard: Arc<OwnedMutexGuard<()>>,
}

/// The tasks that work on a tessera, one after the other.
#[derive(Default)]
struct Queue {
    mutex: Arc<tokio::sync::Mutex<()>>,
    /// How many wait.
    waiting: watch::Sender<usize>,
}

impl TesseraLock {
    /// The tessera that is locked.
    pub(crate) fn tessera(&self) -> TesseraHash {
        self.tessera
    }

    /// Waits until another task waits for this lock.
    pub(crate) async fn wanted(&self) {
        let mut waiting = self.queue.waiting.subscribe();
        waiting.wait_for(|waiting| *waiting > 0).await.expect("this lock keeps the sender");
    }

    /// The same threads; their work keeps the lock until it ends, even if its caller is gone. So
    /// nothing is still stored for the tessera when the next task locks it.
    pub(crate) fn on(&self, disk: &Blocking) -> Blocking {
        disk.keeping(self.clone())
    }
}

/// The locks of all tesserae that are worked on.
#[derive(Default)]
pub(crate) struct TesseraLocks(Mutex<BTreeMap<TesseraHash, Weak<Queue>>>);

impl TesseraLocks {
    /// Waits until no other task works on a tessera, and locks it.
    pub(crate) async fn lock(&self, tessera: TesseraHash) -> TesseraLock {
        let queue = self.queue(tessera);
        let guard = {
            let _waiting = Waiter::begin(&queue.waiting);
            queue.mutex.clone().lock_owned().await
        };
        TesseraLock { tessera, queue, _guard: Arc::new(guard) }
    }

    fn queue(&self, tessera: TesseraHash) -> Arc<Queue> {
        let mut queues = lock(&self.0);
        queues.retain(|_, queue| queue.strong_count() > 0);
        if let Some(queue) = queues.get(&tessera).and_then(Weak::upgrade) {
            return queue;
        }
        let queue = Arc::new(Queue::default());
        queues.insert(tessera, Arc::downgrade(&queue));
        queue
    }
}

/// A task that waits for a lock, until it is dropped.
struct Waiter<'a>(&'a watch::Sender<usize>);

impl<'a> Waiter<'a> {
    fn begin(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_lock_is_wanted_while_another_task_waits_for_it() {
        let (locks, tessera) = (TesseraLocks::default(), TesseraHash::new([1; 32]));
        let held = locks.lock(tessera).now_or_never().expect("nobody has it");
        assert!(held.wanted().now_or_never().is_none());
        let mut wanted = Box::pin(held.wanted());
        assert!(wanted.as_mut().now_or_never().is_none());
        let mut next = Box::pin(locks.lock(tessera));
        assert!(next.as_mut().now_or_never().is_none(), "it is locked");
        assert!(wanted.now_or_never().is_some(), "without another look");
        let other = locks.lock(TesseraHash::new([2; 32])).now_or_never().expect("nobody has it");
        assert!(other.wanted().now_or_never().is_none());
        drop(next);
        assert!(held.wanted().now_or_never().is_none(), "it was given up");
        drop(held);
        let again = locks.lock(tessera).now_or_never().expect("it is free");
        assert!(again.wanted().now_or_never().is_none());
        drop((again, other));
        assert!(locks.lock(tessera).now_or_never().is_some());
        assert_eq!(lock(&locks.0).len(), 1, "none is kept for nobody");
    }
}
