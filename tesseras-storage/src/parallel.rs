//! Parallel syncs.

use std::sync::atomic::{AtomicUsize, Ordering};

use tesseras_core::ports::StoreError;

/// Files or directories that are synced at once: enough to keep a disk's queue busy.
const SYNC_THREADS: usize = 8;

/// Syncs many things, several at a time; the first error wins.
pub(crate) fn in_parallel<T: Sync>(
    all: &[T],
    sync: impl Fn(&T) -> Result<(), StoreError> + Sync,
) -> Result<(), StoreError> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = sync(one) {
                // The other threads can stop.
                next.store(all.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    if all.len() <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..SYNC_THREADS.min(all.len())).map(|_| scope.spawn(work)).collect();
        let mut outcome = work();
        for helper in helpers {
            let theirs = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(theirs);
        }
        outcome
    })
}
