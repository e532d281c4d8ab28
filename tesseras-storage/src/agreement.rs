//! Compares the index with what names the stored files beside it: the MANIFEST of each listed
//! tessera, whose hash is its name, so that it proves itself; and the rows of held pieces, whose
//! objects must be listed. A hash with a flipped bit is a hash of nothing, so the rows alone would
//! say that nothing refers to a file.
//!
//! One MANIFEST is in memory at a time. Rows are looked up in each copy that SQLite keeps of them:
//! the table, and the index by which references are counted.

use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, params};
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::unlisted;
use tesseras_core::ports::{HeldPiece, StoreError, TesseraRepository as _};
use tesseras_crypto::NamedManifest;

use crate::cas::{Cas, object_bytes};
use crate::columns::{count, tessera_hash, to_integer};
use crate::expected_row::ExpectedRow;
use crate::fragment::held_piece;
use crate::library::SqliteLibrary;
use crate::manifests::readable_manifest;

/// The most disagreements that are listed; a comparison ends there.
pub const MAX_DISAGREEMENTS: usize = 1000;

/// Where the index and what is stored do not agree: one of the two is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disagreement {
    /// A tessera is listed whose MANIFEST is missing or damaged: which files it needs is not known.
    Manifest(TesseraHash),
    /// A tessera is listed of which nothing is stored: it is that of another one, with a flipped bit.
    Tessera(TesseraHash),
    /// The index has another title, date or other data of a tessera than its MANIFEST and its signature
    /// file.
    Row(TesseraHash),
    /// The index does not list a file with a tessera whose MANIFEST names it.
    File {
        /// The tessera.
        tessera: TesseraHash,
        /// The path of the file in it.
        path: String,
        /// The hash of the file.
        object: ContentHash,
    },
    /// The index does not list the object that a held piece is.
    Piece(HeldPiece),
    /// The index does not list the MANIFEST that is kept beside pieces of a tessera.
    Dossier(TesseraHash),
}

impl Disagreement {
    /// Whether the damage is in the index, so that
    /// [`Store::rebuild_library`](crate::Store::rebuild_library) may mend it; otherwise it is in a
    /// stored file.
    pub fn is_in_index(&self) -> bool {
        !matches!(self, Self::Manifest(_))
    }

    /// The tessera that it is about.
    pub fn tessera(&self) -> TesseraHash {
        match self {
            Self::Manifest(tessera)
            | Self::Tessera(tessera)
            | Self::Row(tessera)
            | Self::Dossier(tessera)
            | Self::File { tessera, .. } => *tessera,
            Self::Piece(held) => held.tessera,
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(tessera) => {
                write!(f, "the MANIFEST of {tessera} is missing or damaged")
            }
            Self::Tessera(tessera) => {
                write!(f, "the index lists {tessera}, and nothing of it is stored")
            }
            Self::Row(tessera) => {
                write!(
                    f,
                    "the index has another title, date or length of {tessera} than its MANIFEST, or \
                     another date than its file in library/"
                )
            }
            Self::File { tessera, path, object } => {
                write!(f, "the index does not list {path} of {tessera}, which is {object}")
            }
            Self::Piece(HeldPiece { tessera, piece, checksum, .. }) => {
                write!(f, "the index does not list {checksum}, which is {piece} of {tessera}")
            }
            Self::Dossier(tessera) => {
                write!(f, "the index does not list the MANIFEST beside the pieces of {tessera}")
            }
        }
    }
}

/// Compares what refers to stored files; at most [`MAX_DISAGREEMENTS`] are returned.
pub(crate) fn disagreements(
    cas: &Cas,
    library: &SqliteLibrary,
) -> Result<Vec<Disagreement>, StoreError> {
    let mut found = of_held(cas)?;
    for tessera in library.hashes()? {
        if found.len() >= MAX_DISAGREEMENTS {
            break;
        }
        found.extend(of_listed(cas, library, &tessera)?);
    }
    found.truncate(MAX_DISAGREEMENTS);
    Ok(found)
}

/// The listed tesserae whose row is not what it must be; at most [`MAX_DISAGREEMENTS`]. Nothing is
/// garbage or not because of these.
pub(crate) fn of_rows(cas: &Cas, library: &SqliteLibrary) -> Result<Vec<Disagreement>, StoreError> {
    let mut found = Vec::new();
    for tessera in library.hashes()? {
        let Some(expected) = expected_row(cas, library, &tessera) else { continue };
        let what = "comparing the row of a tessera";
        if found.len() < MAX_DISAGREEMENTS && !cas.database().read(what, |c| expected.agrees(c))? {
            found.push(Disagreement::Row(tessera));
        }
    }
    Ok(found)
}

/// What the row of a tessera must be, as far as its files can be read.
pub(crate) fn expected_row(
    cas: &Cas,
    library: &SqliteLibrary,
    tessera: &TesseraHash,
) -> Option<ExpectedRow> {
    let named = readable_manifest(cas, tessera)?;
    let kept = library.signature_file(tessera).unwrap_or_else(|error| {
        tracing::warn!(%tessera, %error, "a signature file could not be read");
        None
    });
    ExpectedRow::new(tessera, &named, kept.as_ref())
}

/// Those of a tessera of the library; none if it is not listed any more.
pub(crate) fn of_listed(
    cas: &Cas,
    library: &SqliteLibrary,
    tessera: &TesseraHash,
) -> Result<Vec<Disagreement>, StoreError> {
    let Some(named) = readable_manifest(cas, tessera) else {
        let is_listed = library.get(tessera)?.is_some();
        return Ok(match is_listed {
            true => vec![without_manifest(cas, tessera)?],
            false => Vec::new(),
        });
    };
    cas.database()
        .read("comparing a tessera with its MANIFEST", |c| files_not_listed(c, tessera, &named))
}

fn without_manifest(cas: &Cas, tessera: &TesseraHash) -> Result<Disagreement, StoreError> {
    let object = ContentHash::from(*tessera);
    let bytes = cas.database().read("looking up an object", |c| object_bytes(c, &object))?;
    Ok(match bytes {
        Some(_) => Disagreement::Manifest(*tessera),
        None => Disagreement::Tessera(*tessera),
    })
}

fn files_not_listed(
    connection: &Connection,
    tessera: &TesseraHash,
    named: &NamedManifest<Vec<u8>>,
) -> rusqlite::Result<Vec<Disagreement>> {
    let is_listed = connection
        .prepare_cached("SELECT 1 FROM tesserae WHERE hash = ?1")?
        .exists([tessera.as_bytes()])?;
    if !is_listed {
        return Ok(Vec::new());
    }
    let mut listed = connection.prepare_cached(
        "SELECT bytes FROM objects WHERE hash = ?2
            AND EXISTS (SELECT 1 FROM tessera_content INDEXED BY sqlite_autoindex_tessera_content_1
                        WHERE tessera = ?1 AND object = ?2)
            AND EXISTS (SELECT 1 FROM tessera_content INDEXED BY tessera_content_by_object
                        WHERE tessera = ?1 AND object = ?2)",
    )?;
    let mut found = Vec::new();
    let itself = (unlisted::MANIFEST, ContentHash::from(*tessera), named.bytes().len() as u64);
    let files = named.manifest().files().iter();
    let files = files.map(|file| (file.path.as_str(), file.blake3, file.bytes));
    for (path, object, bytes) in std::iter::once(itself).chain(files) {
        let row = listed
            .query_row(params![tessera.as_bytes(), object.as_bytes()], |row| count(row, 0))
            .optional()?;
        if row != Some(bytes) && found.len() < MAX_DISAGREEMENTS {
            let path = path.to_owned();
            found.push(Disagreement::File { tessera: *tessera, path, object });
        }
    }
    Ok(found)
}

/// Those of what is held for others; at most [`MAX_DISAGREEMENTS`].
pub(crate) fn of_held(cas: &Cas) -> Result<Vec<Disagreement>, StoreError> {
    let most = to_integer(MAX_DISAGREEMENTS as u64);
    cas.database().read("comparing held pieces with the objects", |connection| {
        let mut found: Vec<Disagreement> = connection
            .prepare_cached(
                "SELECT tessera FROM dossiers
                 WHERE NOT EXISTS (SELECT 1 FROM objects WHERE hash = tessera) LIMIT ?1",
            )?
            .query_map([most], |row| Ok(Disagreement::Dossier(tessera_hash(row, 0)?)))?
            .collect::<Result<_, _>>()?;
        let mut pieces = connection.prepare_cached(
            "SELECT tessera, piece, checksum, bytes
             FROM fragments AS held INDEXED BY sqlite_autoindex_fragments_1
             WHERE NOT EXISTS (SELECT 1 FROM objects WHERE hash = held.checksum)
                OR NOT EXISTS (SELECT 1 FROM fragments AS copy INDEXED BY fragments_by_checksum
                               WHERE copy.checksum = held.checksum
                                 AND copy.tessera = held.tessera AND copy.piece = held.piece)
             LIMIT ?1",
        )?;
        for piece in pieces.query_map([most], held_piece)? {
            found.push(Disagreement::Piece(piece?));
        }
        found.truncate(MAX_DISAGREEMENTS);
        Ok(found)
    })
}
