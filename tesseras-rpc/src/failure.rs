//! Why a request failed: one sentence, and the reason as a code that stays the same between
//! versions. What a person can do next is not said here: `tes` knows its own commands.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tesseras_core::ids::NodeId;
use tesseras_core::ports::StoreError;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence: what failed, and why.
    pub message: String,
    /// The reason as data.
    pub cause: Cause,
}

impl Failure {
    /// A failure with this cause, in these words.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { message: message.into(), cause }
    }
}

/// Why a request failed, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code", content = "data")]
pub enum Cause {
    /// Something that has no code of its own; the message says what.
    Failed,
    /// The node serves as many clients as it can.
    Busy,
    /// The node is stopping.
    Stopping,
    /// The node does not know the request.
    UnknownRequest,
    /// The request did not arrive in time.
    TooSlow,
    /// The answer is longer than an event may be.
    AnswerTooLong,
    /// The node's clock differs from its peers'; see [`crate::problem::Problem::ClockOff`].
    ClockOff {
        /// How far it is ahead, in seconds; negative when behind.
        seconds: i64,
        /// How many peers, each of another network, said so; 0 if several are known, all in one.
        witnesses: u64,
    },
    /// The disk has too little room beside its reserve.
    NoSpace {
        /// Bytes that the task needs.
        needed: u64,
        /// Bytes that are free beyond the reserve.
        free: u64,
    },
    /// The disk is full.
    DiskFull,
    /// Another process holds a lock in the data directory, and did not release it in time.
    Locked,
    /// The index of the data directory was removed or replaced while the node runs.
    IndexGone,
    /// The node's store failed otherwise.
    StoreFailed,
    /// What is stored here is damaged.
    Damaged,
    /// What other nodes gave is not valid.
    NotValid,
    /// No node is known to hold the tessera.
    NotFound,
    /// Nodes have announced something under the key, and those that answered hold nothing of this
    /// tessera: they have dropped or lost it, or the hash is another one that begins the same.
    NoneHoldsIt {
        /// How many answered.
        answered: u64,
        /// How many did not.
        silent: u64,
    },
    /// Holders are known, and none of them answers.
    HoldersSilent {
        /// How many.
        silent: u64,
    },
    /// The holders that answered do not give enough pieces to read it.
    TooFewPieces,
    /// The tessera is not in the node's library.
    NotInLibrary,
    /// The node neither holds nor has published the tessera.
    NotHeld,
    /// The tessera is not published.
    NotPublished,
    /// No plan that the tessera's creator signed is known, and none was given.
    NoSignedPlan,
    /// The plan is not valid, or another one was signed before.
    PlanRefused,
    /// Another request is publishing the tessera.
    InProgress,
    /// The publication or fetch was stopped by another request.
    Stopped,
    /// No other node would keep a piece.
    NobodyEligible {
        /// The node that has the most room of those with too little, if there are such.
        shortage: Option<Box<Shortage>>,
    },
    /// The nodes that would keep pieces have too little room together.
    NoRoom {
        /// As in [`Cause::NobodyEligible`].
        shortage: Option<Box<Shortage>>,
    },
    /// What was placed does not suffice to read the tessera back.
    TooFewPlaced {
        /// As in [`Cause::NobodyEligible`].
        shortage: Option<Box<Shortage>>,
    },
    /// The pieces are placed, and too few holders could be told that they are published. The node
    /// goes on telling them.
    HoldersNotTold,
}

/// The node that comes nearest to having room for a tessera, and what is lacking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// Which node.
    pub node_id: NodeId,
    /// Where it was reached.
    pub address: Option<SocketAddr>,
    /// For how many bytes it has room.
    pub room: u64,
    /// How many bytes each node would have to take.
    pub bytes_per_node: u64,
    /// How many bytes the asking node would have to keep for others to be given that room.
    pub lacking: u64,
}

impl Cause {
    /// The cause of a store error. Errors that only opening a data directory meets have none of
    /// their own here: a node has opened it.
    pub fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Full { .. } => Self::DiskFull,
            StoreError::Missing(_) | StoreError::Corrupt(_) => Self::Damaged,
            StoreError::Locked { .. } => Self::Locked,
            StoreError::Blocked(_) => Self::Stopped,
            StoreError::IndexGone { .. } => Self::IndexGone,
            StoreError::OutOfRange { .. }
            | StoreError::Mismatch { .. }
            | StoreError::NewerFormat { .. }
            | StoreError::OlderVersionRuns { .. }
            | StoreError::IndexMissing { .. }
            | StoreError::IndexDamaged { .. }
            | StoreError::ReadOnly { .. }
            | StoreError::NotOwned { .. }
            | StoreError::Shared { .. }
            | StoreError::Backend { .. } => Self::StoreFailed,
        }
    }
}

/// Gives each variant its code. One without a code does not compile, and the list cannot lack any.
macro_rules! codes {
    ($($variant:ident => $code:literal,)*) => {
        impl Cause {
            /// All codes, in the order of the variants.
            pub const CODES: &[&str] = &[$($code),*];

            /// The code: one word that stays the same between versions.
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $code,)*
                }
            }
        }
    };
}

codes! {
    Failed => "failed",
    Busy => "busy",
    Stopping => "stopping",
    UnknownRequest => "unknown_request",
    TooSlow => "too_slow",
    AnswerTooLong => "answer_too_long",
    ClockOff => "clock_off",
    NoSpace => "no_space",
    DiskFull => "disk_full",
    Locked => "locked",
    IndexGone => "index_gone",
    StoreFailed => "store_failed",
    Damaged => "damaged",
    NotValid => "not_valid",
    NotFound => "not_found",
    NoneHoldsIt => "none_holds_it",
    HoldersSilent => "holders_silent",
    TooFewPieces => "too_few_pieces",
    NotInLibrary => "not_in_library",
    NotHeld => "not_held",
    NotPublished => "not_published",
    NoSignedPlan => "no_signed_plan",
    PlanRefused => "plan_refused",
    InProgress => "in_progress",
    Stopped => "stopped",
    NobodyEligible => "nobody_eligible",
    NoRoom => "no_room",
    TooFewPlaced => "too_few_placed",
    HoldersNotTold => "holders_not_told",
}
