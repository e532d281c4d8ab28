//! How a node's background jobs are, as data, and the one line about each for people.

use std::fmt;

use serde::{Deserialize, Serialize};
use tesseras_core::time::{ClockOffset, Timestamp};
use tesseras_core::words::count;

/// How one job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Its name.
    pub name: String,
    /// What it does now.
    pub state: JobState,
    /// When that state began.
    pub since: Timestamp,
    /// How its last run ended; `None` before that.
    pub outcome: Option<JobOutcome>,
    /// How many of its last runs failed, without one between them that did not.
    pub consecutive_failures: u32,
}

/// What a job does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its time.
    Waiting,
    /// It runs.
    Running,
}

/// How one run of a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum JobOutcome {
    /// There was no peer to announce to.
    NoPeers,
    /// Pieces held here were announced.
    Announced {
        /// How many tesserae.
        tesserae: u64,
        /// How far this node's clock is off, if it is: others may refuse what it announced.
        clock: Option<ClockOffset>,
    },
    /// Publications in the background went on.
    Published {
        /// How many were finished.
        finished: u64,
        /// How many are not finished yet.
        waiting: u64,
    },
    /// Tesserae were looked after.
    Repaired {
        /// How many tesserae.
        checked: u64,
        /// How many pieces were brought back.
        restored: u64,
        /// Of how many tesserae the repair failed.
        failed: u64,
        /// How many were put off because this node's clock seems wrong.
        put_off: u64,
        /// How far it is off then.
        clock: Option<ClockOffset>,
    },
    /// Peers were written down for the next start.
    Remembered {
        /// How many peers.
        peers: u64,
    },
    /// Nothing of it could be done.
    Failed {
        /// The error.
        error: String,
    },
}

impl JobOutcome {
    /// Whether something that should have been done failed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Failed { .. } => true,
            Self::Repaired { failed, .. } => *failed > 0,
            _ => false,
        }
    }

    /// How far this node's clock is off, where that kept the job from its work.
    pub fn clock(&self) -> Option<ClockOffset> {
        match self {
            Self::Announced { clock, .. } | Self::Repaired { clock, .. } => *clock,
            _ => None,
        }
    }

    /// Whether it needs its operator: it failed, or the clock kept it from its work.
    pub fn is_trouble(&self) -> bool {
        self.is_failure() || self.clock().is_some()
    }
}

/// One line for people.
impl fmt::Display for JobReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.outcome) {
            (JobState::Running, _) => write!(f, "{}: running", self.name),
            (JobState::Waiting, None) => write!(f, "{}: waiting", self.name),
            (JobState::Waiting, Some(outcome)) => write!(f, "{}: {outcome}", self.name),
        }
    }
}

/// One line for people.
impl fmt::Display for JobOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tesserae = |number: u64| count(number, "tessera", "tesserae");
        match self {
            Self::NoPeers => f.write_str("no peer is known yet"),
            Self::Announced { tesserae: number, clock } => {
                write!(f, "announced {}", tesserae(*number))?;
                match clock {
                    None => Ok(()),
                    Some(clock) => write!(
                        f,
                        "; others may refuse that, so it is repeated soon: this computer's clock \
                         is {}; set it right (NTP)",
                        clock
                    ),
                }
            }
            Self::Published { finished, waiting } => {
                write!(f, "published {finished}, {waiting} go on")
            }
            Self::Repaired { checked, restored, failed, put_off, clock } => {
                let restored = count(*restored, "piece", "pieces");
                write!(f, "checked {}, restored {restored}, {failed} failed", tesserae(*checked))?;
                match clock {
                    None => Ok(()),
                    Some(clock) => write!(
                        f,
                        ", {put_off} put off: this computer's clock is {}; set it right (NTP)",
                        clock
                    ),
                }
            }
            Self::Remembered { peers } => {
                write!(f, "{} remembered", count(*peers, "peer", "peers"))
            }
            Self::Failed { error } => write!(f, "failed: {error}"),
        }
    }
}
