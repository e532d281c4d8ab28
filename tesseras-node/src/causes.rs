//! Why something failed, as data for `tes`, which finds the words.

use tesseras_core::ports::StoreError;
use tesseras_replication::UnpackError;
use tesseras_replication::clock::ClockOff;
use tesseras_replication::collect::CollectError;
use tesseras_replication::erasure::ErasureError;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::publish::PublishError;
use tesseras_replication::status::StatusError;
use tesseras_rpc::problem::Cause;

/// Why a publication failed, if `tes` knows better words.
pub fn of_publish(error: &PublishError) -> Option<Cause> {
    match error {
        PublishError::ClockOff(off) => Some(of_clock(off)),
        PublishError::Collect(error) => of_collect(error),
        PublishError::Erasure(ErasureError::Store(error))
        | PublishError::Damaged(UnpackError::Store(error))
        | PublishError::Store(error) => of_store(error),
        _ => None,
    }
}

/// Why a fetch failed, if `tes` knows better words.
pub fn of_fetch(error: &FetchError) -> Option<Cause> {
    match error {
        FetchError::ClockOff(off) => Some(of_clock(off)),
        FetchError::OtherHash { answered, silent, .. } => {
            Some(Cause::OtherHash { answered: *answered as u64, silent: *silent as u64 })
        }
        FetchError::AllSilent { silent, .. } => {
            Some(Cause::HoldersSilent { silent: *silent as u64 })
        }
        FetchError::Collect(error) => of_collect(error),
        FetchError::Unpack(UnpackError::Store(error)) | FetchError::Store(error) => of_store(error),
        _ => None,
    }
}

/// Why it is not known how a tessera is, if `tes` knows better words.
pub fn of_status(error: &StatusError) -> Option<Cause> {
    match error {
        StatusError::ClockOff(off) => Some(of_clock(off)),
        StatusError::Store(error) => of_store(error),
        _ => None,
    }
}

/// A wrong clock.
pub fn of_clock(off: &ClockOff) -> Cause {
    Cause::ClockOff { seconds: off.0.seconds, witnesses: off.0.witnesses }
}

fn of_collect(error: &CollectError) -> Option<Cause> {
    match error {
        CollectError::NoSpace { needed, free } => {
            Some(Cause::NoSpace { needed: *needed, free: *free })
        }
        CollectError::Erasure(ErasureError::Store(error)) | CollectError::Store(error) => {
            of_store(error)
        }
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<Cause> {
    matches!(error, StoreError::Full { .. }).then_some(Cause::DiskFull)
}
