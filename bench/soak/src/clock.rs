//! The only place that reads the clock.

use std::time::{Duration, Instant};

/// A moment from which time is counted.
#[derive(Debug, Clone, Copy)]
pub struct Since(Instant);

impl Since {
    /// From now on.
    #[expect(clippy::disallowed_methods, reason = "an instrument measures real time")]
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// How long ago that was.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Whether it is at least this long ago.
    pub fn is_over(self, length: Duration) -> bool {
        self.elapsed() >= length
    }
}

/// Waits until something holds; `false` if it still does not after so long.
pub fn wait_for(longest: Duration, pause: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Since::now();
    loop {
        if holds() {
            return true;
        }
        if begin.is_over(longest) {
            return false;
        }
        std::thread::sleep(pause);
    }
}
