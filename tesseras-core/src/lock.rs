//! How state that threads share is locked everywhere.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks state whose every change is one step, so that a panic under the lock leaves nothing
/// half-done, and others may go on.
pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
