//! Adaptive timeouts, learned from the response times so far, so that no task waits for the slowest
//! peer.

use std::time::Duration;

/// How many response times are kept; more do not improve the median.
const REMEMBERED: usize = 64;

/// The cost of mistaking a slow peer for a silent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Low: a figure that is soon refreshed, or another holder is asked instead.
    Quick,
    /// Medium: pieces are placed once more than necessary.
    Thorough,
    /// High: bytes are wasted, possibly over a slow line.
    Unhurried,
}

impl Manner {
    /// The factor over the median response time, and the shortest timeout.
    fn bounds(self) -> (u32, Duration) {
        match self {
            Self::Quick => (8, Duration::from_millis(300)),
            Self::Thorough => (16, Duration::from_millis(600)),
            Self::Unhurried => (64, Duration::from_secs(10)),
        }
    }
}

/// The response times so far, of concurrent requests of one kind.
#[derive(Debug)]
pub struct Patience {
    manner: Manner,
    /// The longest timeout, also used before the first answer.
    most: Duration,
    answers: Vec<Duration>,
}

impl Patience {
    /// The state before any answer.
    pub fn new(manner: Manner, most: Duration) -> Self {
        Self { manner, most, answers: Vec::new() }
    }

    /// Changes the manner from now on.
    pub fn set_manner(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Records a response time.
    pub fn answered_after(&mut self, took: Duration) {
        if self.answers.len() < REMEMBERED {
            let at = self.answers.partition_point(|known| *known < took);
            self.answers.insert(at, took);
        }
    }

    /// How long after it was sent a request without an answer is overdue.
    pub fn overdue_after(&self) -> Duration {
        let (factor, least) = self.manner.bounds();
        match self.answers.get(self.answers.len().saturating_sub(1) / 2) {
            Some(median) => median.saturating_mul(factor).clamp(least.min(self.most), self.most),
            None => self.most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_is_waited_for_as_long_as_the_others_make_likely() {
        let ms = Duration::from_millis;
        let mut patience = Patience::new(Manner::Quick, ms(10_000));
        assert_eq!(patience.overdue_after(), ms(10_000), "nobody has answered yet");
        patience.answered_after(ms(2));
        assert_eq!(patience.overdue_after(), ms(300), "no less than a network may take");
        for took in [200, 9000, 100] {
            patience.answered_after(ms(took));
        }
        assert_eq!(patience.overdue_after(), ms(800), "eight times the lower median");
        for _ in 0..100 {
            patience.answered_after(ms(9000));
        }
        assert_eq!(patience.overdue_after(), ms(10_000), "no longer than was meant at most");
        let mut thorough = Patience::new(Manner::Thorough, ms(10_000));
        thorough.answered_after(ms(2));
        assert_eq!(thorough.overdue_after(), ms(600));
        let mut short = Patience::new(Manner::Thorough, ms(500));
        short.answered_after(ms(2));
        assert_eq!(short.overdue_after(), ms(500));
    }
}
