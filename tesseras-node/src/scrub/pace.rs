//! How fast the scrub of the background reads. Pure.

use std::time::Duration;

use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};
use tesseras_storage::{ScrubRound, Scrubbed};

/// The most that is read per second, in bytes.
pub const MOST_PER_SECOND: u64 = 8 * 1024 * 1024;
/// What every object counts for at least, in bytes.
const SMALL: u64 = 16 * 1024;
/// A scrub that is behind by more than this part of its period, 1/n, does not wait for transfers.
const FAR_BEHIND: u64 = 10;

/// The round that goes on now, or a new one if the last one is complete and its time is over. A date
/// that lies ahead of the clock is of a clock that was wrong.
pub fn round_now(saved: Option<ScrubRound>, now: Timestamp, period: Duration) -> ScrubRound {
    match saved {
        None => ScrubRound::begin(now),
        Some(round) if round.begun.since(now) > CLOCK_TOLERANCE => {
            ScrubRound { begun: now, ..round }
        }
        Some(round) if round.complete && now.since(round.begun) >= period => ScrubRound::begin(now),
        Some(round) => round,
    }
}

/// How many bytes a round should have read by now, of so many that are stored.
fn due(round: &ScrubRound, stored: u64, now: Timestamp, period: Duration) -> u64 {
    let (elapsed, period) = (now.since(round.begun).as_secs(), period.as_secs());
    if elapsed >= period {
        return u64::MAX;
    }
    let due = u128::from(stored) * u128::from(elapsed) / u128::from(period);
    u64::try_from(due).unwrap_or(u64::MAX)
}

/// Whether a round should read on now.
pub fn is_due(round: &ScrubRound, stored: u64, now: Timestamp, period: Duration) -> bool {
    !round.complete && round.bytes < due(round, stored, now, period)
}

/// Whether a round waits while others transfer: unless it is far behind, since on some nodes there is
/// always a transfer.
pub fn waits_for_others(round: &ScrubRound, stored: u64, now: Timestamp, period: Duration) -> bool {
    let behind = due(round, stored, now, period).saturating_sub(round.bytes);
    behind <= stored / FAR_BEHIND
}

/// How long to wait after this was read. Opening a file takes time, too.
pub fn rest_after(read: &Scrubbed) -> Duration {
    let bytes = read.bytes.max(read.objects * SMALL);
    Duration::from_secs_f64(bytes as f64 / MOST_PER_SECOND as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1000);
    const STORED: u64 = 500_000;

    fn read(bytes: u64, complete: bool) -> ScrubRound {
        ScrubRound { bytes, complete, ..ScrubRound::begin(Timestamp(5000)) }
    }

    #[test]
    fn a_round_reads_evenly_over_its_period_and_to_its_end_after_it() {
        let due =
            |bytes, at: u64| is_due(&read(bytes, false), STORED, Timestamp(5000 + at), PERIOD);
        assert!(!due(0, 0));
        assert!(due(0, 1));
        assert!(!due(250_000, 500) && due(249_999, 500));
        // What was stored meanwhile, or removed before, keeps no round from its end.
        assert!(due(900_000, 1000));
        assert!(!is_due(&read(0, true), STORED, Timestamp(5999), PERIOD));
    }

    #[test]
    fn the_next_round_begins_a_period_after_the_last_one() {
        let now = |saved, at| round_now(saved, Timestamp(at), PERIOD);
        assert_eq!(now(None, 5000), ScrubRound::begin(Timestamp(5000)));
        assert_eq!(now(Some(read(9, true)), 5999), read(9, true));
        assert_eq!(now(Some(read(9, true)), 6000), ScrubRound::begin(Timestamp(6000)));
        assert_eq!(now(Some(read(9, false)), 9000), read(9, false));
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_stop_the_scrub() {
        let saved = ScrubRound { begun: Timestamp(1_000_000), ..read(9, false) };
        assert_eq!(round_now(Some(saved), Timestamp(5000), PERIOD), read(9, false));
        let ended = ScrubRound { begun: Timestamp(1_000_000), ..read(9, true) };
        assert_eq!(round_now(Some(ended), Timestamp(5000), PERIOD), read(9, true));
    }

    #[test]
    fn it_waits_for_others_until_it_is_far_behind() {
        let waits = |bytes, at: u64| {
            waits_for_others(&read(bytes, false), STORED, Timestamp(5000 + at), PERIOD)
        };
        assert!(waits(0, 100));
        assert!(!waits(0, 102));
        assert!(waits(450_000, 999));
        assert!(!waits(450_000, 1000));
    }

    #[test]
    fn the_most_per_second_is_kept() {
        let rest = |objects, bytes| rest_after(&Scrubbed { objects, bytes, ..Scrubbed::default() });
        assert_eq!(rest(0, MOST_PER_SECOND), Duration::from_secs(1));
        assert_eq!(rest(1, MOST_PER_SECOND / 8), Duration::from_millis(125));
        assert_eq!(rest(MOST_PER_SECOND / SMALL, 100), Duration::from_secs(1));
    }
}
