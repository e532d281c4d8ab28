//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use tesseras_core::time::{Clock, Timestamp};

/// This machine's clock, to be given to what needs the date; it says 1970 while it is set to a date
/// before that.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that the ban points to")]
pub fn system() -> Clock {
    Clock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Timestamp(since.map_or(0, |since| since.as_secs()))
    })
}
