//! The port to threads that may block; all disk work goes through it.

use std::sync::{Arc, Mutex};

use tesseras_core::lock::lock;
use tesseras_wire::BoxFuture;

/// Runs work that blocks on a disk.
pub trait BlockingPool: Send + Sync + 'static {
    /// Starts the work at once. The future is ready when the work has ended; if it is dropped
    /// before, the work still runs to its end. A panic in the work is a panic of the future.
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// The blocking threads of the tokio runtime that is current when work is submitted.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioBlocking;

impl BlockingPool for TokioBlocking {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // A future that is dropped after its runtime has no thread left to block.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            work();
            return Box::pin(std::future::ready(()));
        };
        let task = runtime.spawn_blocking(work);
        Box::pin(async move {
            match task.await {
                Ok(()) => {}
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Blocking tasks are never aborted; the runtime is shutting down, and this task
                    // with it.
                    Err(_) => std::future::pending().await,
                },
            }
        })
    }
}

/// A pool whose work keeps something until it ends.
struct Keeping<K> {
    pool: Arc<dyn BlockingPool>,
    kept: K,
}

impl<K: Clone + Send + Sync + 'static> BlockingPool for Keeping<K> {
    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let kept = self.kept.clone();
        self.pool.spawn(Box::new(move || {
            work();
            drop(kept);
        }))
    }
}

/// A [`BlockingPool`] whose work has a result. Cheap to clone.
#[derive(Clone)]
pub struct Blocking(Arc<dyn BlockingPool>);

impl Blocking {
    /// Uses this pool.
    pub fn on(pool: Arc<dyn BlockingPool>) -> Self {
        Self(pool)
    }

    /// The same threads; each work keeps a clone of `kept` until it ends, even if the future of its
    /// result is dropped.
    pub(crate) fn keeping(&self, kept: impl Clone + Send + Sync + 'static) -> Self {
        Self(Arc::new(Keeping { pool: self.0.clone(), kept }))
    }

    /// Starts the work at once; the future returns its result.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let result = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&result);
        let ended = self.0.spawn(Box::new(move || {
            let value = work();
            *lock(&slot) = Some(value);
        }));
        Box::pin(async move {
            ended.await;
            let value = lock(&result).take();
            value.expect("finished work has stored its result")
        })
    }
}
