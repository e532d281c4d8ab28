//! Capsules as packs, and packs as capsules, for replication.

use std::sync::Arc;

use tesseras_capsule::{PackReader, PackStream, StoredCapsule, unpack, verify_stored};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, TesseraRecord, TesseraRepository};
use tesseras_core::progress::Meter;
use tesseras_core::time::Clock;
use tesseras_replication::{Capsules, UnpackError};

/// The capsules of one data directory.
pub struct StoredCapsules {
    /// Where their files are.
    pub blobs: Arc<dyn BlobStore>,
    /// Where they are listed.
    pub library: Arc<dyn TesseraRepository>,
    /// When a capsule came into the library.
    pub clock: Clock,
}

impl Capsules for StoredCapsules {
    fn pack(&self, record: &TesseraRecord) -> Result<Arc<dyn BlobReader>, StoreError> {
        let capsule = StoredCapsule::of_record(&*self.blobs, record).map_err(|error| {
            StoreError::Backend {
                what: format!("opening the capsule {}", record.hash),
                source: Box::new(error),
            }
        })?;
        Ok(Arc::new(PackReader::new(Arc::new(capsule), self.blobs.clone())))
    }

    fn check(&self, record: &TesseraRecord) -> Result<(), UnpackError> {
        let report = verify_stored(&*self.blobs, &*self.library, &record.hash, &Meter::silent())
            .map_err(|error| UnpackError::Invalid(error.to_string()))?;
        if report.valid {
            return Ok(());
        }
        let faults: Vec<&str> = report.faults().take(3).map(|f| f.path.as_str()).collect();
        Err(UnpackError::Invalid(format!("it is damaged on this disk ({})", faults.join(", "))))
    }

    fn unpack(
        &self,
        tessera: &TesseraHash,
        pack: Arc<dyn BlobReader>,
        meter: &Meter,
    ) -> Result<TesseraRecord, UnpackError> {
        let mut reader = PackStream::new(pack);
        let (blobs, library) = (&*self.blobs, &*self.library);
        unpack::unpack(&mut reader, tessera, blobs, library, self.clock.now(), meter).map_err(
            |error| match error {
                unpack::UnpackError::Store(error) => UnpackError::Store(error),
                other => UnpackError::Invalid(other.to_string()),
            },
        )?;
        let missing = || UnpackError::Store(StoreError::Missing((*tessera).into()));
        self.library.get(tessera)?.ok_or_else(missing)
    }
}
