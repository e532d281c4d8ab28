//! Locking of state that threads share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Locks state of which every change is a single step, so that a panic under the lock leaves no
/// partial update, and other threads may continue.
pub fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of state that was [locked](lock) until others tell of a change in it. It may come back
/// without one: the caller looks again.
pub fn wait<'a, T>(changed: &Condvar, state: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    changed.wait(state).unwrap_or_else(PoisonError::into_inner)
}
