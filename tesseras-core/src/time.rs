//! Points in time as values; the clock itself lives in the drivers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// How far two nodes' clocks may differ before what one dated is refused by the other.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

impl Timestamp {
    /// This point in time moved into the future, at most to the last one that can be written.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// The time that has passed since an earlier point; zero if it lies in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// Whether a peer's date may be meant as "now", given [`CLOCK_TOLERANCE`].
    pub fn is_about(self, other: Timestamp) -> bool {
        self.0.abs_diff(other.0) <= CLOCK_TOLERANCE.as_secs()
    }
}
