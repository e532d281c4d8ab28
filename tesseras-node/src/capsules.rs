//! The port [`Capsules`] over one data directory: capsules are read as packs, and packs are unpacked
//! into the library.

use std::sync::Arc;

use tesseras_capsule::{
    OpenError, PackReader, StoredCapsule, Unpacking, VerifyError, unpack, verify_opened,
};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    BlobReader, BlobStore, Origin, StoreError, TesseraRecord, TesseraRepository,
};
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Clock;
use tesseras_crypto::NamedManifest;
use tesseras_replication::{Capsules, OpenCapsule, UnpackError, UnpackingCapsule};

/// The capsules of one data directory.
pub struct StoredCapsules {
    /// Where their files are.
    pub blobs: Arc<dyn BlobStore>,
    /// Where they are listed.
    pub library: Arc<dyn TesseraRepository>,
    /// The date that an unpacked capsule gets in the library.
    pub clock: Clock,
}

impl Capsules for StoredCapsules {
    fn open(&self, record: &TesseraRecord) -> Result<Arc<dyn OpenCapsule>, StoreError> {
        let capsule =
            StoredCapsule::of_record(&*self.blobs, record).map_err(backend(record.hash))?;
        Ok(Arc::new(OpenedCapsule { capsule: Arc::new(capsule), blobs: self.blobs.clone() }))
    }

    fn unpack(&self, tessera: &TesseraHash) -> Box<dyn UnpackingCapsule> {
        Box::new(StoredUnpacking {
            tessera: *tessera,
            unpacking: Unpacking::new(*tessera, self.blobs.clone()),
            library: self.library.clone(),
            clock: self.clock.clone(),
        })
    }
}

/// A capsule that is being unpacked into the library.
struct StoredUnpacking {
    tessera: TesseraHash,
    unpacking: Unpacking<Arc<dyn BlobStore>>,
    library: Arc<dyn TesseraRepository>,
    clock: Clock,
}

impl UnpackingCapsule for StoredUnpacking {
    fn advance(
        &mut self,
        pack: &dyn BlobReader,
        available: u64,
        meter: &Meter,
    ) -> Result<u64, UnpackError> {
        self.unpacking.advance(pack, available, meter).map_err(refused)
    }

    fn finish(self: Box<Self>) -> Result<TesseraRecord, UnpackError> {
        let Self { tessera, unpacking, library, clock } = *self;
        unpacking.finish(&*library, Origin::Fetched, clock.now()).map_err(refused)?;
        library.get(&tessera)?.ok_or_else(|| StoreError::Missing(tessera.into()).into())
    }
}

fn refused(error: unpack::UnpackError) -> UnpackError {
    match error {
        unpack::UnpackError::Store(error) => UnpackError::Store(error),
        unpack::UnpackError::NoSpace(error) => UnpackError::NoSpace(error),
        unpack::UnpackError::Short { .. }
        | unpack::UnpackError::Form { .. }
        | unpack::UnpackError::ManifestTooLong(_)
        | unpack::UnpackError::WrongTessera { .. }
        | unpack::UnpackError::Manifest(_)
        | unpack::UnpackError::TooLong
        | unpack::UnpackError::File { .. }
        | unpack::UnpackError::Creator(_)
        | unpack::UnpackError::Signature(_) => UnpackError::Invalid(error.to_string()),
    }
}

/// A capsule of the data directory.
struct OpenedCapsule {
    capsule: Arc<StoredCapsule>,
    blobs: Arc<dyn BlobStore>,
}

impl OpenCapsule for OpenedCapsule {
    fn named(&self) -> &NamedManifest<Arc<[u8]>> {
        self.capsule.named()
    }

    fn signatures(&self) -> &SignaturePair {
        self.capsule.signatures()
    }

    fn creator_pems(&self) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        self.capsule.creator_pems(&*self.blobs).map_err(backend(self.capsule.hash()))
    }

    fn pack(&self) -> Arc<dyn BlobReader> {
        Arc::new(PackReader::new(self.capsule.clone(), self.blobs.clone()))
    }

    fn check(&self) -> Result<(), UnpackError> {
        let report =
            verify_opened(&*self.blobs, &self.capsule, &Meter::silent()).map_err(|error| {
                match error {
                    VerifyError::Store(error) => UnpackError::Store(error),
                    VerifyError::Directory { .. }
                    | VerifyError::NoCapsule { .. }
                    | VerifyError::NotStored(_) => UnpackError::Invalid(error.to_string()),
                }
            })?;
        if report.valid {
            return Ok(());
        }
        let faults: Vec<&str> = report.faults().take(3).map(|f| f.path.as_str()).collect();
        Err(UnpackError::Invalid(format!("it is damaged on this disk ({})", faults.join(", "))))
    }
}

fn backend(tessera: TesseraHash) -> impl Fn(OpenError) -> StoreError {
    move |error| match error {
        OpenError::Store(error) => error,
        OpenError::NotStored(hash) => StoreError::Missing(hash.into()),
        OpenError::Damaged(hash) => StoreError::Corrupt(hash.into()),
        OpenError::Manifest { .. } | OpenError::Meta { .. } | OpenError::TooLong(_) => {
            StoreError::Backend {
                what: format!("opening the capsule {tessera}"),
                source: Box::new(error),
            }
        }
    }
}
