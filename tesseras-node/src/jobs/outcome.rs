//! How a run of a job ended, as data; the words are made where it is shown.

use std::fmt;
use std::sync::Arc;

use tesseras_core::ports::StoreError;
use tesseras_core::time::ClockOffset;
use tesseras_core::words::count;
use thiserror::Error;

/// How one run of a job ended.
#[derive(Debug, Clone)]
pub enum JobOutcome {
    /// There was no peer to announce to.
    NoPeers,
    /// Pieces held here were announced.
    Announced {
        /// How many tesserae.
        tesserae: usize,
        /// How far this node's clock is off, if it is: others may refuse what it announced.
        clock: Option<ClockOffset>,
    },
    /// Publications in the background went on.
    Published {
        /// How many were finished.
        finished: usize,
        /// How many are not finished yet.
        waiting: usize,
    },
    /// Tesserae were looked after.
    Repaired {
        /// How many tesserae.
        checked: usize,
        /// How many pieces were brought back.
        restored: usize,
        /// Of how many tesserae the repair failed.
        failed: usize,
        /// How many were put off because this node's clock seems wrong.
        put_off: usize,
        /// How far it is off then.
        clock: Option<ClockOffset>,
    },
    /// Peers were written down for the next start.
    Remembered {
        /// How many peers.
        peers: usize,
    },
    /// Nothing of it could be done.
    Failed(JobError),
}

/// Why nothing of a job could be done.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum JobError {
    /// A store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// Its work on the disk did not end; a bug.
    #[error("its work on the disk was broken off")]
    BrokenOff,
}

impl From<StoreError> for JobError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<Result<JobOutcome, JobError>> for JobOutcome {
    fn from(result: Result<JobOutcome, JobError>) -> Self {
        result.unwrap_or_else(Self::Failed)
    }
}

impl JobOutcome {
    /// Whether something that should have been done failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Failed(_) => true,
            Self::Repaired { failed, .. } => *failed > 0,
            Self::NoPeers
            | Self::Announced { .. }
            | Self::Published { .. }
            | Self::Remembered { .. } => false,
        }
    }

    /// How far this node's clock is off, where that kept the job from its work.
    pub fn clock(&self) -> Option<ClockOffset> {
        match self {
            Self::Announced { clock, .. } | Self::Repaired { clock, .. } => *clock,
            _ => None,
        }
    }
}

/// One line for people.
impl fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tesserae = |number: &usize| count(*number as u64, "tessera", "tesserae");
        match self {
            Self::NoPeers => f.write_str("no peer is known yet"),
            Self::Announced { tesserae: number, clock } => {
                write!(f, "announced {}", tesserae(number))?;
                match clock {
                    None => Ok(()),
                    Some(offset) => write!(
                        f,
                        "; others may refuse that, so it is repeated soon: this computer's clock \
                         is {offset}; set it right (NTP)"
                    ),
                }
            }
            Self::Published { finished, waiting } => {
                write!(f, "published {finished}, {waiting} go on")
            }
            Self::Repaired { checked, restored, failed, put_off, clock } => {
                let restored = count(*restored as u64, "piece", "pieces");
                write!(f, "checked {}, restored {restored}, {failed} failed", tesserae(checked))?;
                match clock {
                    None => Ok(()),
                    Some(offset) => write!(
                        f,
                        ", {put_off} put off: this computer's clock is {offset}; set it right (NTP)"
                    ),
                }
            }
            Self::Remembered { peers } => {
                write!(f, "{} remembered", count(*peers as u64, "peer", "peers"))
            }
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}
