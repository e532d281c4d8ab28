//! The settings of the repairs that nobody asks for.

use std::time::Duration;

/// When a node repairs by itself, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairConfig {
    /// The time between two rounds. After as long a wait for its turn every holder acts, however many
    /// are nearer to the key.
    pub interval: Duration,
    /// The longest random time that is added to or subtracted from the interval.
    pub jitter: Duration,
    /// How long after it was seen last a holder that does not answer may still come back, before its
    /// pieces are replaced; `None`: one interval.
    pub grace: Option<Duration>,
    /// How long each holder that is nearer to a tessera's key has to repair it, before the next one
    /// does.
    pub steward_step: Duration,
    /// How many bytes per second the repairs of this node transfer on average, in both directions
    /// together; 0 is no limit. Only repairs that are not urgent wait for it.
    pub bandwidth: u64,
}

impl RepairConfig {
    /// How long a holder may be away before its pieces are replaced.
    pub(crate) fn grace(&self) -> Duration {
        self.grace.unwrap_or(self.interval)
    }
}
