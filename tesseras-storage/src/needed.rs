//! The files that capsules need which the index does not list.

use std::collections::BTreeSet;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::StoreError;

use crate::cas::Cas;
use crate::manifests::manifest;

/// What may be needed to list capsules again.
pub(crate) enum Needed {
    Only(BTreeSet<ContentHash>),
    /// Which files are needed cannot be known: a MANIFEST or the database is missing or damaged.
    All,
}

impl Needed {
    /// The MANIFEST of a capsule and all that it lists.
    pub(crate) fn add(&mut self, cas: &Cas, tessera: &TesseraHash) -> Result<(), StoreError> {
        let Self::Only(files) = self else { return Ok(()) };
        match manifest(cas, tessera)? {
            Some(named) => {
                files.insert((*tessera).into());
                files.extend(named.manifest().files().iter().map(|file| file.blake3));
            }
            None => *self = Self::All,
        }
        Ok(())
    }

    /// Whether a file may be needed.
    pub(crate) fn has(&self, hash: &ContentHash) -> bool {
        match self {
            Self::Only(files) => files.contains(hash),
            Self::All => true,
        }
    }

    /// Whether a MANIFEST that is here names it.
    pub(crate) fn is_known(&self, hash: &ContentHash) -> bool {
        matches!(self, Self::Only(files) if files.contains(hash))
    }
}
