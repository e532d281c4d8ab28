//! Bounds the memory that peers can cause: a narrow receive window for every connection, a wide one
//! for the few that carry a body.
//!
//! A window bounds the bytes that a peer may send before we have read them. Hundreds of connections
//! with a window for bulk transfers would need too much memory, so a connection starts with
//! [`NARROW`], and gets [`WIDE`] only while a body is read from it and one of [`MAX_WIDE`] permits
//! is free.

use std::sync::{Arc, Mutex};

use quinn::VarInt;
use tesseras_core::lock::lock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use tesseras_wire::MAX_FRAME_BYTES;

/// Bytes that any peer may have in flight to us on one connection.
pub(crate) const NARROW: u32 = 128 * 1024;
/// Bytes in flight while a body is read: 100 Mbit/s at 160 ms.
pub(crate) const WIDE: u32 = 2 * 1024 * 1024;
/// Bytes in flight on one stream; less than [`WIDE`], so that one stream cannot starve the others.
pub(crate) const STREAM: u32 = 1024 * 1024;
/// Bytes written but not yet acknowledged, for one connection.
pub(crate) const SEND: u64 = 2 * 1024 * 1024;
/// The most connections with a wide window at once: the 4 transfers in and 4 out of a node.
pub(crate) const MAX_WIDE: usize = 8;

const _: () = assert!(MAX_FRAME_BYTES < NARROW as usize && NARROW < STREAM && STREAM < WIDE);
const _: () = assert!(MAX_WIDE * WIDE as usize <= 16 * 1024 * 1024);

/// The permits for wide windows of a whole node.
#[derive(Debug, Clone)]
pub(crate) struct Widths(Arc<Semaphore>);

impl Default for Widths {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_WIDE)))
    }
}

/// The window of one connection.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    widths: Widths,
    state: Mutex<WindowState>,
}

#[derive(Debug, Default)]
struct WindowState {
    bodies: usize,
    permit: Option<OwnedSemaphorePermit>,
    /// A window that was narrowed shrinks only as the peer sends. Until it has sent this much, the
    /// window must not be widened again, or its credit would grow each time.
    debt: u64,
}

impl ReceiveWindow {
    pub(crate) fn new(widths: Widths) -> Self {
        Self { widths, state: Mutex::default() }
    }

    /// The reading of a body begins.
    pub(crate) fn begin(&self, connection: &quinn::Connection) {
        let mut state = lock(&self.state);
        state.bodies += 1;
        self.widen(&mut state, connection);
    }

    /// This many bytes of a body were read.
    pub(crate) fn read(&self, connection: &quinn::Connection, bytes: usize) {
        let mut state = lock(&self.state);
        if state.permit.is_none() {
            state.debt = state.debt.saturating_sub(bytes as u64);
            self.widen(&mut state, connection);
        }
    }

    /// The reading of a body ends.
    pub(crate) fn end(&self, connection: &quinn::Connection) {
        let mut state = lock(&self.state);
        state.bodies -= 1;
        if state.bodies == 0 && state.permit.take().is_some() {
            connection.set_receive_window(VarInt::from_u32(NARROW));
            state.debt = u64::from(WIDE - NARROW);
        }
    }

    fn widen(&self, state: &mut WindowState, connection: &quinn::Connection) {
        if state.permit.is_none() && state.debt == 0 {
            state.permit = self.widths.0.clone().try_acquire_owned().ok();
            if state.permit.is_some() {
                connection.set_receive_window(VarInt::from_u32(WIDE));
            }
        }
    }
}
