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
    match directory.clock_offset().await {
        Some(offset) => Err(ClockOff(offset)),
        None => Ok(()),
    }
}

/// Fails if this node's clock seems wrong and no other node's attestation was valid in a survey:
/// then nothing shows that holders are missing.
pub(crate) async fn check_clock_after(
    directory: &dyn Directory,
    survey: &Survey,
) -> Result<(), ClockOff> {
    if survey.others_attested { Ok(()) } else { check_clock(directory).await }
}
