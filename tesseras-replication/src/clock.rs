//! Whether this node's clock is right: others refuse what a wrong one dates, and their
//! attestations look false to it.

use tesseras_core::time::ClockOffset;
use thiserror::Error;

use crate::context::Replication;

/// This node's clock differs from its peers' by more than is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this computer's clock is {0}; set it right (NTP) and try again")]
pub struct ClockOff(pub ClockOffset);

impl Replication {
    /// Fails if this node's clock is wrong, so that nobody is told that holders are missing.
    pub async fn check_clock(&self) -> Result<(), ClockOff> {
        match self.parts.directory.clock_offset().await {
            Some(offset) => Err(ClockOff(offset)),
            None => Ok(()),
        }
    }
}
