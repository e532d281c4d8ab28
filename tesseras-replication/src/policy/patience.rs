//! How long to wait for answers, learned from those that came: nothing joins on the slowest.

use std::time::Duration;

/// How many answers are remembered; more make the median no better.
const REMEMBERED: usize = 64;

/// What is at stake when somebody who is only slow is taken for silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing but a figure that is soon looked at again, or another holder that is asked instead.
    Quick,
    /// Pieces that are placed once more.
    Thorough,
    /// Bytes that were sent in vain, over a line that is perhaps slow.
    Unhurried,
}

impl Manner {
    /// How many times as long as the median answer somebody may take, and how long at least.
    fn bounds(self) -> (u32, Duration) {
        match self {
            Self::Quick => (8, Duration::from_millis(300)),
            Self::Thorough => (16, Duration::from_secs(1)),
            Self::Unhurried => (64, Duration::from_secs(10)),
        }
    }
}

/// How long answers took so far, to many questions of one kind at once.
#[derive(Debug)]
pub struct Patience {
    manner: Manner,
    /// How long to wait at most, and while nobody has answered.
    most: Duration,
    answers: Vec<Duration>,
}

impl Patience {
    /// Before any answer.
    pub fn new(manner: Manner, most: Duration) -> Self {
        Self { manner, most, answers: Vec::new() }
    }

    /// From now on, with as much patience as this.
    pub fn be(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Notes how long an answer took.
    pub fn answered_after(&mut self, took: Duration) {
        if self.answers.len() < REMEMBERED {
            let at = self.answers.partition_point(|known| *known < took);
            self.answers.insert(at, took);
        }
    }

    /// How long after it was asked somebody who has not answered is overdue.
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
        assert_eq!(thorough.overdue_after(), ms(1000));
        let mut short = Patience::new(Manner::Thorough, ms(500));
        short.answered_after(ms(2));
        assert_eq!(short.overdue_after(), ms(500));
    }
}
