//! The machine that a node runs on, as far as a test may replace it.

use std::sync::Arc;

use tesseras_core::time::Clock;
use tesseras_disk::{Disk, OsDisk};

use crate::clock;

/// What a node is given by its machine.
#[derive(Clone)]
pub struct Machine {
    /// For all dates.
    pub clock: Clock,
    /// For everything that is stored.
    pub disk: Arc<dyn Disk>,
}

impl Machine {
    /// The one that this process runs on.
    pub fn this() -> Self {
        Self { clock: clock::system(), disk: Arc::new(OsDisk) }
    }
}
