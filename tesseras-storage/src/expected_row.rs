//! What the row of a listed capsule must be: its MANIFEST says what is in it, and its signature file how
//! it came here and when. The row is compared in SQL, since one with a flipped bit may be one that
//! cannot be read.

use rusqlite::{Connection, Transaction, params};
use tesseras_core::ids::TesseraHash;
use tesseras_core::pack::PackLayout;
use tesseras_core::ports::{Origin, TesseraRecord};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;
use tesseras_crypto::NamedManifest;

use crate::columns::{from_origin, to_integer};
use crate::signature_files::SignatureFile;

/// What a row must be, except for the signatures.
pub(crate) struct ExpectedRow {
    record: TesseraRecord,
    /// Whether how and when it came here is known, too.
    has_signature_file: bool,
}

impl ExpectedRow {
    /// The row of the capsule with this MANIFEST; `None` if its files are too long for any pack, so
    /// that it was never listed.
    pub(crate) fn new(
        hash: &TesseraHash,
        named: &NamedManifest<Vec<u8>>,
        kept: Option<&SignatureFile>,
    ) -> Option<Self> {
        let (manifest, bytes) = (named.manifest(), named.bytes().len() as u64);
        let layout = PackLayout::new(hash, manifest, bytes)?;
        let signatures = SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() };
        let (origin, added) =
            kept.map_or((Origin::Fetched, Timestamp(0)), |kept| (kept.origin, kept.added));
        let record =
            TesseraRecord::of_manifest(*hash, manifest, &layout, signatures, origin, added);
        Some(Self { record, has_signature_file: kept.is_some() })
    }

    /// Whether the row, if there is one, is this one.
    pub(crate) fn agrees(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let record = &self.record;
        let differs = connection
            .prepare_cached(
                "SELECT 1 FROM tesserae WHERE hash = ?1 AND NOT (title = ?2 AND created = ?3
                    AND creator = ?4 AND memories = ?5 AND files = ?6 AND bytes = ?7
                    AND (?8 = 0 OR (origin = ?9 AND added = ?10)))",
            )?
            .exists(params![
                record.hash.as_bytes(),
                record.title,
                record.created,
                record.creator.as_bytes(),
                to_integer(record.memories),
                to_integer(record.files),
                to_integer(record.bytes),
                self.has_signature_file,
                from_origin(record.origin),
                to_integer(record.added.0),
            ])?;
        Ok(!differs)
    }

    /// Makes the row this one, if there is one.
    pub(crate) fn write(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let record = &self.record;
        tx.prepare_cached(
            "UPDATE tesserae SET title = ?2, created = ?3, creator = ?4, memories = ?5, files = ?6,
                bytes = ?7, origin = IIF(?8, ?9, origin), added = IIF(?8, ?10, added)
             WHERE hash = ?1",
        )?
        .execute(params![
            record.hash.as_bytes(),
            record.title,
            record.created,
            record.creator.as_bytes(),
            to_integer(record.memories),
            to_integer(record.files),
            to_integer(record.bytes),
            self.has_signature_file,
            from_origin(record.origin),
            to_integer(record.added.0),
        ])?;
        Ok(())
    }
}
