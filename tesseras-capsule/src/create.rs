//! Makes a capsule of a folder: every file is read once, staged and hashed on the way; then the
//! MANIFEST is signed, and the repository takes all of it or nothing. What is in the library already
//! is not made a second time.

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

/// What a person says of a capsule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateOptions {
    /// Its title; `None` takes the folder's name.
    pub title: Option<String>,
    /// When it is made. Also stands in the MANIFEST.
    pub created: Timestamp,
    /// The creator's name.
    pub creator_name: Option<String>,
    /// The language of its texts, best as BCP 47 (`pt-BR`).
    pub language: Option<String>,
    /// Where its memories come from.
    pub location: Option<String>,
    /// Words to find it by. None of them holds a comma.
    pub tags: Vec<String>,
    /// Makes a new tessera also where one with the same content and headers, all but the date, is
    /// in the library already.
    pub again: bool,
}

/// A capsule that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its name.
    pub hash: TesseraHash,
    /// How many memories.
    pub memories: u64,
    /// How many files in its exported directory.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// What was left out, in byte order of the paths.
    pub skipped: Vec<Skipped>,
    /// How many memories say where they were taken.
    pub places: u64,
    /// Which they are: their paths in the folder.
    pub gps_files: Vec<String>,
    /// Which files are kept though no text of `decode/` describes their kind: their paths in the
    /// folder.
    pub undescribed: Vec<String>,
    /// Whether it is new: `false` if this capsule, or one that differs in its date alone, was in
    /// the library already. Nothing is made then, and damaged files of that one are mended.
    pub new: bool,
}

/// Makes a capsule of a folder and adds it to the library.
///
/// Memory stays the same whatever the length of a file. What is left out stands in
/// [`Created::skipped`]; nothing is dropped in silence. On any error nothing stays behind.
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
    let new = repository.add(NewTessera { record, content, staged })?;
    let Draft { skipped, places, gps_files, undescribed, .. } = made.draft;
    Ok(Created { hash, memories, files, bytes, skipped, places, gps_files, undescribed, new })
}

/// A capsule of the library by the same creator that names the same files and says the same of
/// them, but for its date.
fn twin(
    manifest: &Manifest,
    blobs: &dyn BlobStore,
    repository: &dyn TesseraRepository,
) -> Result<Option<TesseraRecord>, CreateError> {
    let undated = |manifest: &Manifest| -> Vec<(String, String)> {
        manifest.headers().iter().filter(|(key, _)| key != "created").cloned().collect()
    };
    for record in repository.list()? {
        if record.creator != manifest.creator() || record.memories != manifest.memories() {
            continue;
        }
        // That one cannot be read now does not keep this one from being made.
        let Ok(other) = StoredCapsule::of_record(blobs, &record) else { continue };
        if other.files() == manifest.files() && undated(other.manifest()) == undated(manifest) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Does all that [`create`] does, reading every byte, but stores and signs nothing.
pub fn dry_run(
    folder: &Path,
    options: &CreateOptions,
    creator: &CreatorPublic,
    progress: &Meter,
) -> Result<Draft, CreateError> {
    let headers = headers(folder, options)?;
    Ok(gather(folder, headers, creator, &NullBlobStore, progress)?.draft)
}

/// The MANIFEST's headers that come from a person.
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
    Ok(headers)
}

/// The folder's own name, where it can be a title.
fn folder_title(folder: &Path) -> String {
    let absolute = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = absolute.file_name().and_then(|name| name.to_str()).map(|name| name.trim());
    let name = name.map(|name| name.nfc().collect::<String>());
    name.filter(|name| check_line(name).is_ok()).unwrap_or_else(|| "Untitled".to_owned())
}
