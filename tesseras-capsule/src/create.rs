//! Creates a capsule from a folder: every file is read once, and staged and hashed in the process;
//! then the MANIFEST is signed, and the repository adds all of it or nothing. A capsule that is
//! already in the library is not created again.

use std::path::Path;

use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::manifest::Manifest;
use tesseras_core::path::check_line;
use tesseras_core::ports::{BlobStore, NewTessera, Origin, TesseraRecord, TesseraRepository};
use tesseras_core::time::Timestamp;
use tesseras_crypto::{CreatorKeys, CreatorPublic};
use unicode_normalization::UnicodeNormalization as _;

use crate::create_error::CreateError;
use crate::gather::{Draft, gather};
use crate::meta::rfc_3339;
use crate::null_blob_store::NullBlobStore;
use crate::open::StoredCapsule;
use crate::walk::Skipped;
use tesseras_core::progress::Meter;

/// What the user specifies for a capsule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// Its title; `None` takes the folder's name.
    pub title: Option<String>,
    /// The date of creation, also for the MANIFEST.
    pub created: Timestamp,
    /// The creator's name.
    pub creator_name: Option<String>,
    /// The language of its texts, preferably as BCP 47 (`pt-BR`).
    pub language: Option<String>,
    /// Where its memories come from.
    pub location: Option<String>,
    /// Keywords, without commas.
    pub tags: Vec<String>,
    /// Creates a new tessera even if the library has one with the same content and headers, except
    /// for the date.
    pub again: bool,
}

/// The result of creating a capsule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its hash.
    pub hash: TesseraHash,
    /// The number of memories.
    pub memories: u64,
    /// The number of files in its exported directory.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// Files that were left out, in byte order of the paths.
    pub skipped: Vec<Skipped>,
    /// How many memories contain a GPS location.
    pub places: u64,
    /// Those memories: their paths in the folder.
    pub gps_files: Vec<String>,
    /// Files that are kept although no text of `decode/` describes their format: their paths in the
    /// folder.
    pub undescribed: Vec<String>,
    /// Whether it is new: `false` if this capsule, or one that differs only in its date, was
    /// already in the library. Nothing is created then, and damaged files of that one are repaired.
    pub new: bool,
}

/// Creates a capsule from a folder and adds it to the library.
///
/// Memory use does not depend on the length of a file. Files that are left out are listed in
/// [`Created::skipped`]; nothing is dropped silently. On any error nothing is left behind.
pub fn create(
    folder: &Path,
    options: &CreateOptions,
    keys: &CreatorKeys,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
    progress: &Meter,
) -> Result<Created, CreateError> {
    let public = keys.public();
    let mut made = gather(folder, headers(folder, options)?, &public, blobs, progress)?;
    let known = if options.again { None } else { twin(&made.manifest, blobs, repository)? };
    let is_known = known.is_some();
    let record = match known {
        Some(record) => record,
        None => {
            let text = made.manifest.render();
            let header = |key| made.manifest.header(key).unwrap_or_default().to_owned();
            TesseraRecord {
                hash: TesseraHash::from(made.staging.bytes(text.as_bytes())?.blake3),
                title: header("title"),
                created: header("created"),
                creator: public.id(),
                memories: made.draft.memories,
                files: made.draft.files,
                bytes: made.draft.bytes,
                signatures: keys.sign(text.as_bytes()),
                origin: Origin::Created,
                added: options.created,
            }
        }
    };
    let (mut content, staged) = made.staging.take();
    let manifest = ContentHash::from(record.hash);
    if let Err(at) = content.binary_search(&manifest) {
        content.insert(at, manifest);
    }
    let TesseraRecord { hash, memories, files, bytes, .. } = record;
    if !is_known {
        repository.unblock(&hash)?;
    }
    let new = repository.add(NewTessera { record, content, staged })?;
    let Draft { skipped, places, gps_files, undescribed, .. } = made.draft;
    Ok(Created { hash, memories, files, bytes, skipped, places, gps_files, undescribed, new })
}

/// What the MANIFEST says of the program that made it.
const SOFTWARE: &str = concat!("tesseras ", env!("CARGO_PKG_VERSION"));

/// A capsule of the library by the same creator with the same files and headers, except for its
/// date and the version of the software.
fn twin(
    manifest: &Manifest,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
) -> Result<Option<TesseraRecord>, CreateError> {
    let undated = |manifest: &Manifest| -> Vec<(String, String)> {
        let is_told = |key: &str| !matches!(key, "created" | "software");
        manifest.headers().iter().filter(|(key, _)| is_told(key)).cloned().collect()
    };
    let title = manifest.header("title").unwrap_or_default();
    let may_be = |record: &TesseraRecord| {
        record.creator == manifest.creator()
            && record.memories == manifest.memories()
            && record.title == title
    };
    // Only those that the index cannot tell apart are opened.
    for record in repository.list()?.into_iter().filter(may_be) {
        // An unreadable capsule must not prevent the creation of this one.
        let Ok(other) = StoredCapsule::of_record(blobs, &record) else { continue };
        if other.files() == manifest.files() && undated(other.manifest()) == undated(manifest) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Does everything that [`create`] does, reading every byte, but stores and signs nothing.
pub fn dry_run(
    folder: &Path,
    options: &CreateOptions,
    creator: &CreatorPublic,
    progress: &Meter,
) -> Result<Draft, CreateError> {
    let headers = headers(folder, options)?;
    Ok(gather(folder, headers, creator, &NullBlobStore, progress)?.draft)
}

/// The MANIFEST's headers that the user specifies.
fn headers(folder: &Path, options: &CreateOptions) -> Result<Vec<(String, String)>, CreateError> {
    let mut headers = Vec::new();
    let mut add = |what: &'static str, key: &str, value: &str| {
        let value: String = value.trim().nfc().collect();
        check_line(&value).map_err(|source| CreateError::Header {
            what,
            value: value.clone(),
            source,
        })?;
        headers.push((key.to_owned(), value));
        Ok::<_, CreateError>(())
    };
    match &options.title {
        Some(title) => add("title", "title", title)?,
        None => add("title", "title", &folder_title(folder))?,
    }
    let created =
        i64::try_from(options.created.0).ok().and_then(|at| rfc_3339(at, 0)).unwrap_or_default();
    add("date of creation", "created", &created)?;
    let optional = [
        ("creator's name", "creator-name", &options.creator_name),
        ("language", "language", &options.language),
        ("location", "location", &options.location),
    ];
    for (what, key, value) in optional {
        if let Some(value) = value {
            add(what, key, value)?;
        }
    }
    if let Some(tag) = options.tags.iter().find(|tag| tag.contains(',')) {
        return Err(CreateError::TagWithComma(tag.clone()));
    }
    let tags: Vec<&str> =
        options.tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()).collect();
    if !tags.is_empty() {
        add("list of tags", "tags", &tags.join(", "))?;
    }
    add("name of the software", "software", SOFTWARE)?;
    Ok(headers)
}

/// The folder's own name, if it can be a title.
fn folder_title(folder: &Path) -> String {
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = absolute.file_name().and_then(|name| name.to_str()).map(|name| name.trim());
    let name = name.map(|name| name.nfc().collect::<String>());
    name.filter(|name| check_line(name).is_ok()).unwrap_or_else(|| "Untitled".to_owned())
}
