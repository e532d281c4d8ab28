//! Short answers that were sent recently, so that a stopping node can wait until they have arrived.
//! Waiting for each one separately would cost two timers and another wake-up of its task.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tesseras_core::lock::lock;

use super::endpoint::MAX_STREAMS;
use super::stream::Sender;

/// The last answers on one connection, as many as can be in flight at once. Earlier ones have
/// arrived, except for a packet that was lost within the last round trip.
#[derive(Debug)]
pub(super) struct Outbox(Mutex<Option<VecDeque<Sender>>>);

impl Default for Outbox {
    fn default() -> Self {
        Self(Mutex::new(Some(VecDeque::new())))
    }
}

impl Outbox {
    /// Keeps an answer that is fully sent. Once the outbox is closed, returns it instead.
    pub(super) fn keep(&self, sent: Sender) -> Option<Sender> {
        let mut inside = self.inside();
        let Some(answers) = inside.as_mut() else { return Some(sent) };
        let oldest = (answers.len() >= MAX_STREAMS as usize).then(|| answers.pop_front()).flatten();
        answers.push_back(sent);
        // Dropping a stream takes the lock of its connection.
        drop(inside);
        drop(oldest);
        None
    }

    /// Answers that may still be in flight. Nothing is kept from now on.
    pub(super) fn close(&self) -> VecDeque<Sender> {
        self.inside().take().unwrap_or_default()
    }

    fn inside(&self) -> MutexGuard<'_, Option<VecDeque<Sender>>> {
        lock(&self.0)
    }
}
