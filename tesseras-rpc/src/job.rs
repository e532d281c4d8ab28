//! The state of a node's background jobs, as data and as one line of text each.

use std::fmt;

use serde::{Deserialize, Serialize};
use tesseras_core::time::{ClockOffset, Timestamp};
use tesseras_core::words::count;

/// The state of one job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Its name.
    pub name: String,
    /// Its current state.
    pub state: JobState,
    /// When that state began.
    pub since: Timestamp,
    /// The outcome of its last run; `None` before the first has ended.
    pub outcome: Option<JobOutcome>,
    /// The number of consecutive failures up to its last run.
    pub consecutive_failures: u32,
}

/// The current state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its next run.
    Waiting,
    /// It runs.
    Running,
}

/// The outcome of one run of a job.
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
    /// Publications in the background were continued.
    Published {
        /// How many were completed.
        finished: u64,
        /// How many are not complete yet.
        waiting: u64,
    },
    /// Tesserae were checked and repaired.
    Repaired {
        /// How many tesserae.
        checked: u64,
        /// How many pieces were restored.
        restored: u64,
        /// Of how many tesserae the repair failed.
        failed: u64,
        /// How many were put off because this node's clock seems wrong.
        put_off: u64,
        /// How far the clock is off in that case.
        clock: Option<ClockOffset>,
    },
    /// Peers were stored for the next start.
    Remembered {
        /// How many peers.
        peers: u64,
    },
    /// What nothing refers to was removed.
    Collected {
        /// Files of objects and capsules.
        orphans: u64,
        /// Rows that counted references that do not exist.
        leaked: u64,
        /// Temporary files.
        stale: u64,
        /// Files that could not be removed.
        failed: u64,
    },
    /// Stored objects were re-read.
    Scrubbed {
        /// How many.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// How many of all stored objects are known to be damaged.
        damaged: u64,
    },
    /// The run failed.
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
            Self::Repaired { failed, .. } | Self::Collected { failed, .. } => *failed > 0,
            _ => false,
        }
    }

    /// How far this node's clock is off, if that prevented the job's work.
    pub fn clock(&self) -> Option<ClockOffset> {
        match self {
            Self::Announced { clock, .. } | Self::Repaired { clock, .. } => *clock,
            _ => None,
        }
    }

    /// Whether the operator must act: it failed, the clock prevented its work, or the disk damages what
    /// is stored.
    pub fn is_trouble(&self) -> bool {
        let is_damaged = matches!(self, Self::Scrubbed { damaged: 1.., .. });
        self.is_failure() || self.clock().is_some() || is_damaged
    }
}

/// One line of text.
impl fmt::Display for JobReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.outcome) {
            (JobState::Running, _) => write!(f, "{}: running", self.name),
            (JobState::Waiting, None) => write!(f, "{}: waiting", self.name),
            (JobState::Waiting, Some(outcome)) => write!(f, "{}: {outcome}", self.name),
        }
    }
}

/// One line of text.
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
            Self::Collected { orphans, leaked, stale, failed } => {
                write!(
                    f,
                    "removed {}, corrected {}",
                    count(orphans + stale, "file that nothing needs", "files that nothing needs"),
                    count(*leaked, "reference count", "reference counts")
                )?;
                match failed {
                    0 => Ok(()),
                    _ => write!(f, "; {} could not be removed", count(*failed, "file", "files")),
                }
            }
            Self::Scrubbed { objects, damaged, .. } => {
                write!(f, "re-read {}", count(*objects, "stored file", "stored files"))?;
                match damaged {
                    0 => Ok(()),
                    _ => write!(f, "; {} damaged", count(*damaged, "file is", "files are")),
                }
            }
            Self::Failed { error } => write!(f, "failed: {error}"),
        }
    }
}
