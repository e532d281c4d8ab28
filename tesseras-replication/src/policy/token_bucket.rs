//! A limit on the average rate of transfers: a token bucket that is kept as the time at which all
//! that was granted will have passed at that rate.

use std::time::Duration;

/// How much may be granted at once after a pause, as the time that it takes at the rate. Short, so
/// that a line is not full for long.
const BURST: Duration = Duration::from_secs(1);

/// The bucket. Points in time are given as the time since any fixed moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    /// Bytes per second; 0: no limit.
    rate: u64,
    /// When all that was granted has passed at the rate.
    free_at: Duration,
}

impl TokenBucket {
    /// A full bucket with this rate in bytes per second; 0 is no limit.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate, free_at: Duration::ZERO }
    }

    /// Grants so many bytes, or says when to ask again. What is more than a burst is granted once
    /// everything before it has passed. So between any two points in time, at most the rate times the
    /// time between them is granted, and a burst or the largest single grant.
    pub(crate) fn take(&mut self, now: Duration, bytes: u64) -> Result<(), Duration> {
        let allowed_ahead = BURST.saturating_sub(self.duration_of(bytes));
        let ready_at = self.free_at.saturating_sub(allowed_ahead);
        if now < ready_at {
            return Err(ready_at);
        }
        self.spend(now, bytes);
        Ok(())
    }

    /// So many bytes pass without being asked for: what is granted later has to wait for them.
    pub(crate) fn spend(&mut self, now: Duration, bytes: u64) {
        self.free_at = self.free_at.max(now).saturating_add(self.duration_of(bytes));
    }

    /// So many of the granted bytes do not pass after all.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.free_at = self.free_at.saturating_sub(self.duration_of(bytes));
    }

    /// How long so many bytes take at the rate.
    fn duration_of(&self, bytes: u64) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(self.rate.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #[test]
        fn between_any_two_times_no_more_is_granted_than_the_rate_and_a_burst(
            rate in 1_u64..10_000,
            wanted in prop::collection::vec((0_u32..3000, 1_u64..20_000), 1..60),
        ) {
            let mut bucket = TokenBucket::new(rate);
            let (mut now, mut granted) = (Duration::ZERO, Vec::new());
            for (pause, bytes) in wanted {
                now += MS * pause;
                if let Err(later) = bucket.take(now, bytes) {
                    prop_assert!(later > now);
                    prop_assert_eq!(bucket.take(later - Duration::from_nanos(1), bytes), Err(later));
                    now = later;
                    prop_assert_eq!(bucket.take(now, bytes), Ok(()), "it was promised");
                }
                granted.push((now, bytes));
            }
            let largest = granted.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0);
            for from in 0..granted.len() {
                for to in from..granted.len() {
                    let sum: u64 = granted[from..=to].iter().map(|(_, bytes)| bytes).sum();
                    let time = (granted[to].0 - granted[from].0).as_secs_f64();
                    let most = rate as f64 * time + (rate.max(largest) + 1) as f64;
                    prop_assert!(sum as f64 <= most, "{sum} in {time} s");
                }
            }
        }

        #[test]
        fn what_waits_is_granted_at_the_rate(
            rate in 1_u64..10_000,
            bytes in prop::collection::vec(1_u64..20_000, 1..60),
        ) {
            let mut bucket = TokenBucket::new(rate);
            let mut now = Duration::ZERO;
            for bytes in &bytes {
                if let Err(later) = bucket.take(now, *bytes) {
                    now = later;
                    prop_assert_eq!(bucket.take(now, *bytes), Ok(()));
                }
            }
            let before: u64 = bytes[..bytes.len() - 1].iter().sum();
            prop_assert!(now.as_secs_f64() <= before as f64 / rate as f64 + 0.001, "{now:?}");
        }
    }

    #[test]
    fn what_passes_unasked_delays_the_rest_and_what_does_not_pass_is_given_back() {
        let second = Duration::from_secs(1);
        let mut bucket = TokenBucket::new(1000);
        bucket.spend(Duration::ZERO, 5000);
        assert_eq!(bucket.take(second, 1000), Err(5 * second));
        bucket.give_back(3000);
        assert_eq!(bucket.take(second, 1000), Err(2 * second));
        assert_eq!(bucket.take(2 * second, 1000), Ok(()));
        let mut unlimited = TokenBucket::new(0);
        unlimited.spend(second, u64::MAX);
        assert_eq!(unlimited.take(second, u64::MAX), Ok(()));
    }
}
