//! Locking of state that threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks state of which every change is a single step, so that a panic under the lock leaves no
/// partial update, and other threads may continue.
pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
