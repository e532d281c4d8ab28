//! Shared by all answers to other nodes: their collaborators, and how refusals are reported.

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_wire::codec::Refusal;

use crate::dossier::VerifiedDossier;
use crate::holder::{Holder, NotAdmitted, StoredDossierError};
use crate::messages::refusal;
use crate::peers::Peers;
use crate::ports::Directory;

/// The only text that a peer gets with [`refusal::DECLINED`].
const DECLINED: &str = "it is not accepted here";
/// Dossiers longer than this, in bytes, are handled one at a time.
pub(super) const LARGE_DOSSIER: u64 = 1024 * 1024;

/// The result of an answer.
pub(super) type Outcome<T> = Result<T, Refusal>;

/// The collaborators of an answer.
pub(crate) struct Service<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) directory: &'a dyn Directory,
}

impl Service<'_> {
    /// Refuses what this node's owner created or does not want. The peer is not told why.
    pub(super) async fn refuse_unwanted(&self, tessera: TesseraHash) -> Outcome<()> {
        match self.holder.unwanted(tessera).await.map_err(internal)? {
            None => Ok(()),
            Some(why) => {
                tracing::debug!(%tessera, why, "declined");
                Err(Refusal::new(refusal::DECLINED, DECLINED))
            }
        }
    }

    pub(super) async fn stored_dossier(
        &self,
        tessera: TesseraHash,
    ) -> Outcome<Option<VerifiedDossier>> {
        self.holder.stored_dossier(tessera).await.map_err(|error| match error {
            StoredDossierError::Store(error) => internal(error),
            StoredDossierError::Damaged(_) | StoredDossierError::Lost(_) => {
                Refusal::new(Refusal::INTERNAL, "the dossier kept here is damaged")
            }
        })
    }
}

pub(super) fn internal(error: StoreError) -> Refusal {
    if let StoreError::Blocked(tessera) = error {
        tracing::debug!(%tessera, "declined: it was dropped here in the meantime");
        return Refusal::new(refusal::DECLINED, DECLINED);
    }
    tracing::error!(%error, "the store failed");
    match error {
        StoreError::Full { .. } => Refusal::new(refusal::DECLINED, DECLINED),
        StoreError::Locked { .. } => Refusal::new(Refusal::BUSY, "the store is busy"),
        StoreError::Blocked(_)
        | StoreError::Missing(_)
        | StoreError::Corrupt(_)
        | StoreError::OutOfRange { .. }
        | StoreError::Mismatch { .. }
        | StoreError::NewerFormat { .. }
        | StoreError::OlderVersionRuns { .. }
        | StoreError::IndexMissing { .. }
        | StoreError::IndexGone { .. }
        | StoreError::IndexDamaged { .. }
        | StoreError::ReadOnly { .. }
        | StoreError::NotOwned { .. }
        | StoreError::Shared { .. }
        | StoreError::Backend { .. } => Refusal::new(Refusal::INTERNAL, "the store failed"),
    }
}

/// The refusal for a limit: it discloses only what is about the peer itself.
pub(super) fn refuse(error: NotAdmitted) -> Refusal {
    match error {
        NotAdmitted::Store(error) => internal(error),
        NotAdmitted::Limit(limit) if limit.code() == refusal::DECLINED => {
            tracing::debug!(why = %limit, "declined");
            Refusal::new(refusal::DECLINED, DECLINED)
        }
        NotAdmitted::Limit(limit) => Refusal::new(limit.code(), limit.to_string()),
    }
}

pub(super) fn not_held() -> Refusal {
    Refusal::new(refusal::NOT_HELD, "it is not held here")
}
