//! Why something failed, for `tes`: the message of the error, and the reason as data. What a person
//! can do about it is not known here. No wildcard hides a variant: a new one needs a cause.

#![warn(clippy::wildcard_enum_match_arm)]

use std::fmt::Display;

use tesseras_core::ports::{NoSpace, StoreError};
use tesseras_replication::causes::Causes;
use tesseras_replication::clock::ClockOff;
use tesseras_replication::collect::CollectError;
use tesseras_replication::erasure::ErasureError;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::publish::PublishError;
use tesseras_replication::repair::RepairError;
use tesseras_replication::status::StatusError;
use tesseras_replication::{PrepareError, UnpackError};
use tesseras_rpc::failure::{Cause, Failure, Shortage};

use crate::scrub::ScrubError;

/// Why a publication failed.
pub(crate) fn of_publish(error: PublishError) -> Failure {
    let cause = match &error {
        PublishError::ClockOff(off) => clock(off),
        PublishError::NotInLibrary(_) => Cause::NotInLibrary,
        PublishError::InProgress(_) => Cause::InProgress,
        PublishError::Stopped(_) => Cause::Stopped,
        PublishError::NoSignedPlan(_) => Cause::NoSignedPlan,
        PublishError::PlanConflict | PublishError::Dossier(_) | PublishError::Plan(_) => {
            Cause::PlanRefused
        }
        PublishError::NobodyEligible { causes, .. } => {
            Cause::NobodyEligible { shortage: shortage(causes) }
        }
        PublishError::NoRoom { causes, .. } => Cause::NoRoom { shortage: shortage(causes) },
        PublishError::TooFew { causes, .. } => Cause::TooFewPlaced { shortage: shortage(causes) },
        PublishError::Untold { .. } => Cause::HoldersNotTold,
        PublishError::Erasure(error) => erasure(error),
        PublishError::Collect(error) => collect(error),
        PublishError::Damaged(UnpackError::Invalid(_)) => Cause::Damaged,
        PublishError::Damaged(error) => unpack(error),
        PublishError::Store(error) => Cause::of_store(error),
    };
    Failure::new(cause, error.to_string())
}

/// Why a fetch failed.
pub(crate) fn of_fetch(error: FetchError) -> Failure {
    let cause = match &error {
        FetchError::ClockOff(off) => clock(off),
        FetchError::NoHolders(_) => Cause::NotFound,
        FetchError::NoneHoldsIt { answered, silent, .. } => {
            Cause::NoneHoldsIt { answered: *answered as u64, silent: *silent as u64 }
        }
        FetchError::AllSilent { silent, .. } => Cause::HoldersSilent { silent: *silent as u64 },
        FetchError::NoDossier(_) => Cause::NotValid,
        FetchError::Collect(error) => collect(error),
        FetchError::Unpack(error) => unpack(error),
        FetchError::Dropped(_) => Cause::Stopped,
        FetchError::Store(error) => Cause::of_store(error),
    };
    Failure::new(cause, error.to_string())
}

/// Why a tessera was not repaired.
pub(crate) fn of_repair(error: &RepairError) -> Failure {
    let cause = match error {
        RepairError::ClockOff(off) => clock(off),
        RepairError::NotHeld(_) => Cause::NotHeld,
        RepairError::NotPublished(_) => Cause::NotPublished,
        RepairError::DamagedDossier(_) => Cause::NotValid,
        RepairError::Collect(error) => collect(error),
        RepairError::Deadline(_) => Cause::Failed,
        RepairError::Store(error) => Cause::of_store(error),
    };
    Failure::new(cause, error.to_string())
}

/// Why the state of a tessera could not be determined.
pub(crate) fn of_status(error: StatusError) -> Failure {
    let cause = match &error {
        StatusError::ClockOff(off) => clock(off),
        StatusError::Store(error) => Cause::of_store(error),
    };
    Failure::new(cause, error.to_string())
}

/// A wrong clock.
pub(crate) fn of_clock(off: &ClockOff) -> Failure {
    Failure::new(clock(off), off.to_string())
}

/// A store that failed.
pub(crate) fn of_store(error: StoreError) -> Failure {
    Failure::new(Cause::of_store(&error), error.to_string())
}

/// A scrub that failed.
pub(crate) fn of_scrub(error: ScrubError) -> Failure {
    match error {
        ScrubError::Store(error) => of_store(error),
        ScrubError::BrokenOff => other(error),
    }
}

/// Anything else.
pub(crate) fn other(error: impl Display) -> Failure {
    Failure::new(Cause::Failed, error.to_string())
}

/// The node stops.
pub(crate) fn stopping() -> Failure {
    Failure::new(Cause::Stopping, "the node is stopping")
}

fn clock(off: &ClockOff) -> Cause {
    Cause::ClockOff { seconds: off.0.seconds, witnesses: off.0.witnesses }
}

fn collect(error: &CollectError) -> Cause {
    match error {
        CollectError::TooFew { .. } => Cause::TooFewPieces,
        CollectError::Prepare(error) => prepare(error),
        CollectError::Unpack(error) => unpack(error),
    }
}

fn prepare(error: &PrepareError) -> Cause {
    match error {
        PrepareError::NoSpace(error) => no_space(*error),
        PrepareError::Erasure(error) => erasure(error),
        PrepareError::Store(error) => Cause::of_store(error),
        PrepareError::FalsePlan(_) => Cause::PlanRefused,
    }
}

fn erasure(error: &ErasureError) -> Cause {
    match error {
        ErasureError::Store(error) => Cause::of_store(error),
        ErasureError::TooFew { .. } => Cause::TooFewPieces,
        ErasureError::Codec(_) => Cause::Failed,
    }
}

fn unpack(error: &UnpackError) -> Cause {
    match error {
        UnpackError::Invalid(_) => Cause::NotValid,
        UnpackError::NoSpace(error) => no_space(*error),
        UnpackError::Store(error) => Cause::of_store(error),
    }
}

fn no_space(error: NoSpace) -> Cause {
    match error {
        NoSpace::Bytes { needed, free } => Cause::NoSpace { needed, free },
        NoSpace::Files { .. } => Cause::DiskFull,
    }
}

/// The node that comes nearest to having room.
fn shortage(causes: &Causes) -> Option<Box<Shortage>> {
    let best = causes.short.first()?;
    Some(Box::new(Shortage {
        node_id: best.contact.id,
        address: best.contact.addresses.first().copied(),
        room: best.room,
        bytes_per_node: causes.bytes_per_node,
        lacking: causes.lacking,
    }))
}
