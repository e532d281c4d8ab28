//! Why a capsule was not published.

use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::PlanError;
use tesseras_core::ports::StoreError;
use tesseras_core::units::MIB;
use thiserror::Error;

use crate::clock::ClockOff;
use crate::collect::CollectError;
use crate::dossier::DossierError;
use crate::erasure::ErasureError;
use crate::library::KeepError;
use crate::policy::causes::Causes;
use crate::ports::UnpackError;
use crate::workshop::EncodeError;

/// Why a capsule was not published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// This node's clock seems wrong, and no other node's attestation was valid.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// It is not in the library.
    #[error("{0} is not in the library of this node")]
    NotInLibrary(TesseraHash),
    /// Another request is publishing it.
    #[error("{0} is being published already")]
    InProgress(TesseraHash),
    /// It was stopped by a request to this node.
    #[error("the publication of {0} was stopped")]
    Stopped(TesseraHash),
    /// Its creator is not on this node, and no plan signed by its creator was found.
    #[error("no plan of {0} that its creator signed is kept here, and no holder gave one")]
    NoSignedPlan(TesseraHash),
    /// A different plan is already kept.
    #[error("another plan of this tessera was signed before; a plan never changes")]
    PlanConflict,
    /// No node would hold a piece.
    #[error("no other node would hold a piece{}", reason(refusals))]
    NobodyEligible {
        /// The reasons, without duplicates.
        refusals: Vec<String>,
        /// The reasons as counts.
        causes: Box<Causes>,
    },
    /// There is too little room for a readable placement, so nothing was sent.
    #[error(
        "nothing was sent: the nodes that would keep pieces ({}) have too little room; each would \
         have to take {} MiB{}",
        causes.willing,
        causes.bytes_per_node.div_ceil(MIB),
        reason(refusals)
    )]
    NoRoom {
        /// Why others refused, without duplicates.
        refusals: Vec<String>,
        /// The room that there is.
        causes: Box<Causes>,
    },
    /// The pieces placed do not suffice to read it back.
    #[error("it cannot be read back: {}{}", too_few(*placed, *needed), reason(refusals))]
    TooFew {
        /// How many have a holder.
        placed: usize,
        /// How many are needed.
        needed: usize,
        /// Why others refused, without duplicates.
        refusals: Vec<String>,
        /// The answers to the offers.
        causes: Box<Causes>,
    },
    /// The pieces are placed, and too few holders are known to have heard that they are published:
    /// nobody else would find or repair them. This node goes on telling them.
    #[error(
        "the pieces are placed, but {} could be told that they are published; this node goes on \
         trying",
        only(*told, *holders)
    )]
    Untold {
        /// How many holders know it.
        told: usize,
        /// How many hold pieces.
        holders: usize,
    },
    /// The stored dossier or the plan is not valid.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// The plan cannot be made.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The codec or a store failed while encoding.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// Pieces could not be prepared.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The capsule in the library is damaged.
    #[error("the capsule stored here cannot be published: {0}")]
    Damaged(#[from] UnpackError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn too_few(placed: usize, needed: usize) -> String {
    match needed {
        1 => "no node holds a whole copy".to_owned(),
        _ => format!("holders were found for only {placed} of the {needed} pieces needed"),
    }
}

fn only(told: usize, holders: usize) -> String {
    match told {
        0 => format!("none of their {holders} holders"),
        _ => format!("only {told} of their {holders} holders"),
    }
}

fn reason(refusals: &[String]) -> String {
    if refusals.is_empty() { String::new() } else { format!(" ({})", refusals.join("; ")) }
}

impl From<EncodeError> for PublishError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::Erasure(error) => Self::Erasure(error),
            EncodeError::Plan(error) => Self::Plan(error),
            EncodeError::Store(error) => Self::Store(error),
        }
    }
}

impl From<KeepError> for PublishError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Dossier(error) => Self::Dossier(error),
            KeepError::PlanConflict => Self::PlanConflict,
            KeepError::Store(error) => Self::Store(error),
        }
    }
}
