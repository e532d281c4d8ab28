//! Short answers that were sent a moment ago, so that a node that stops can wait until they have
//! arrived. To wait for each by itself would cost two timers and wake its task once more.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use tesseras_core::lock::lock;

use super::endpoint::MAX_STREAMS;
use super::stream::Sender;

/// The last answers on one connection, as many as can be under way at once. What came before them
/// has arrived, but for a packet that was lost within the last round trip.
#[derive(Debug)]
pub(super) struct Outbox(Mutex<Option<VecDeque<Sender>>>);

impl Default for Outbox {
    fn default() -> Self {
        Self(Mutex::new(Some(VecDeque::new())))
    }
}

impl Outbox {
    /// Keeps an answer that is sent whole. Once the outbox is closed, gives it back instead.
    pub(super) fn keep(&self, sent: Sender) -> Option<Sender> {
        let mut inside = self.inside();
        let Some(answers) = inside.as_mut() else { return Some(sent) };
        let oldest = (answers.len() >= MAX_STREAMS as usize).then(|| answers.pop_front()).flatten();
        answers.push_back(sent);
        // To drop a stream takes the lock of its connection.
        drop(inside);
        drop(oldest);
        None
    }

    /// What may still be on its way. Nothing is kept from now on.
    pub(super) fn close(&self) -> VecDeque<Sender> {
        self.inside().take().unwrap_or_default()
    }

    fn inside(&self) -> MutexGuard<'_, Option<VecDeque<Sender>>> {
        lock(&self.0)
    }
}
