//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tesseras_core::time::{Clock, Timestamp};

/// The clock of this machine, to be passed to all code that needs the date. A date before 1970 is
/// given as 1970.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
pub fn system() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_secs()))
    })
}
