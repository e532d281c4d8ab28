//! Whether this node's clock is right. A node with a wrong clock takes the attestations of others for
//! invalid, and they refuse its dates.
//!
//! Peers may lie about the date, so their dates explain a failure but never cause one where there
//! is evidence: an attestation that is valid here was dated within tolerance of this node's clock.

use tesseras_core::time::ClockOffset;
use thiserror::Error;

use crate::policy::survey::Survey;
use crate::ports::Directory;

/// This node's clock differs from its peers' by more than the tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this computer's clock is {0}; set it right (NTP) and try again")]
pub struct ClockOff(pub ClockOffset);

/// Fails if this node's clock seems wrong according to its peers.
pub(crate) async fn check_clock(directory: &dyn Directory) -> Result<(), ClockOff> {
    judged(directory.clock_offset().await, [])
}

/// Fails if this node's clock seems wrong and no other node's attestation was valid in a survey:
/// then nothing shows that holders are missing.
pub(crate) async fn check_clock_after(
    directory: &dyn Directory,
    survey: &Survey,
) -> Result<(), ClockOff> {
    if survey.others_attested {
        return Ok(());
    }
    judged(directory.clock_offset().await, survey.refused.values().flatten().copied())
}

/// What the peers say about this node's clock counts. While that is not known, the dates of the
/// attestations that were refused for them do, by how many seconds this node is ahead: their median,
/// and of two middle values the smaller one.
fn judged(
    told: Option<ClockOffset>,
    refused: impl IntoIterator<Item = i64>,
) -> Result<(), ClockOff> {
    if let Some(offset) = told {
        return if offset.is_off() { Err(ClockOff(offset)) } else { Ok(()) };
    }
    let mut ahead: Vec<i64> = refused.into_iter().collect();
    ahead.sort_unstable();
    let Some(last) = ahead.len().checked_sub(1) else { return Ok(()) };
    let middle = [ahead[last / 2], ahead[ahead.len() / 2]];
    let seconds = middle.into_iter().min_by_key(|seconds| seconds.unsigned_abs());
    let witnesses = ahead.len() as u64;
    seconds.map_or(Ok(()), |seconds| Err(ClockOff(ClockOffset { seconds, witnesses })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_dates_count_only_while_the_peers_say_nothing_about_the_clock() {
        let seconds = |told, refused: &[i64]| {
            judged(told, refused.iter().copied()).err().map(|off| off.0.seconds)
        };
        let told = |seconds| Some(ClockOffset { seconds, witnesses: 3 });
        assert_eq!(seconds(None, &[]), None);
        assert_eq!(seconds(None, &[7200]), Some(7200));
        assert_eq!(seconds(None, &[90_000, 7200, 7201]), Some(7201));
        assert_eq!(seconds(told(2), &[7200, 7200]), None, "the holders' clocks are wrong");
        assert_eq!(seconds(told(-7200), &[7200]), Some(-7200));
    }
}
