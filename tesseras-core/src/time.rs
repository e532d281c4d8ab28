//! Points in time as values; the clock itself is in the drivers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// How far two nodes' clocks may differ before they refuse each other's dates.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(15 * 60);

impl Timestamp {
    /// This point in time moved into the future, at most to the last representable one.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// The time that has passed since an earlier point; zero if that is in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// How many seconds this is later than another point; negative if it is earlier.
    pub fn ahead_of(self, other: Timestamp) -> i64 {
        let seconds = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
        seconds(self).saturating_sub(seconds(other))
    }

    /// Whether a peer's date is close enough to be "now", given [`CLOCK_TOLERANCE`].
    pub fn is_about(self, other: Timestamp) -> bool {
        self.0.abs_diff(other.0) <= CLOCK_TOLERANCE.as_secs()
    }
}

/// The source of the date, passed in from outside: this crate reads no clock. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that returns the result of `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The date.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How far one node's clock is from those of its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// How many seconds it is ahead; negative when behind.
    pub seconds: i64,
    /// How many peers, each of another neighbourhood, it was compared with; 0 if several are known,
    /// all in one.
    pub witnesses: u64,
}

impl ClockOffset {
    /// Whether it is more than [`CLOCK_TOLERANCE`], so that peers refuse this node's dates.
    pub fn is_off(&self) -> bool {
        self.seconds.unsigned_abs() > CLOCK_TOLERANCE.as_secs()
    }
}

/// As the end of a sentence: `2 h 0 min ahead of its peers'`.
impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HOURS_IN_DAYS: u64 = 48;
        let minutes = self.seconds.unsigned_abs() / 60;
        match minutes / 60 {
            0 => write!(f, "{minutes} min")?,
            hours @ 1..HOURS_IN_DAYS => write!(f, "{hours} h {} min", minutes % 60)?,
            hours => write!(f, "{} days", hours / 24)?,
        }
        f.write_str(if self.seconds < 0 { " behind" } else { " ahead of" })?;
        f.write_str(if self.witnesses == 1 { " its only peer's" } else { " its peers'" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_told_in_the_units_that_fit() {
        for (seconds, witnesses, text) in [
            (7200, 3, "2 h 0 min ahead of its peers'"),
            (-901, 1, "15 min behind its only peer's"),
            (-901, 0, "15 min behind its peers'"),
            (48 * 3600 - 1, 2, "47 h 59 min ahead of its peers'"),
            (-20_000 * 86_400, 3, "20000 days behind its peers'"),
        ] {
            assert_eq!(ClockOffset { seconds, witnesses }.to_string(), text);
        }
        let is_off = |seconds| ClockOffset { seconds, witnesses: 1 }.is_off();
        assert!(!is_off(900) && !is_off(-900) && is_off(901) && is_off(i64::MIN));
    }
}
