//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tesseras_core::time::{Clock, Timestamp};

/// The date, as this machine knows it; 1970 on a machine whose clock is before that.
#[allow(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
pub fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// This machine's clock, to be given to what needs the date.
pub fn system() -> Clock {
    Clock::new(now)
}
