//! Reads each file of the plan once, and stages it with its description.

use std::fs::File;
use std::io::{Cursor, Read as _, Seek as _};
use std::path::Path;

use tesseras_core::manifest::{FileEntry, Manifest, listed, unlisted};
use tesseras_core::path::CapsulePath;
use tesseras_core::ports::{BlobStore, StagedBlob, StoreError};
use tesseras_core::signature::{ED25519_SIGNATURE_BYTES, ML_DSA_65_SIGNATURE_BYTES};
use tesseras_core::sums;
use tesseras_crypto::CreatorPublic;

use crate::create_error::CreateError;
use crate::dates::Date;
use crate::dirfd::{Folder, state};
use crate::exif::{self, Shot};
use crate::folder_plan::{FolderPlan, Source};
use crate::index::{self, Entry};
use crate::meta::{META_VERSION, MemoryType, Meta, rfc_3339};
use crate::pump::Pump;
use crate::recognise::{Format, OTHER_TEXT, TextCheck};
use crate::staging::{Staging, Stored};
use crate::texts::{ALWAYS, Description, README};
use crate::walk::{SkipReason, Skipped, printable_path, walk};
use tesseras_core::progress::Meter;

/// README.decode under a name that opens by a double click.
const README_TXT: &str = "README.txt";
/// How much of a text is kept for the index, in bytes.
const MAX_BEGINNING: usize = 4 * index::MAX_EXCERPT + 4;

/// The result of a dry run: everything but the signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The number of memories.
    pub memories: u64,
    /// The number of files that its exported directory would have.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// Files left out, in byte order of the paths.
    pub skipped: Vec<Skipped>,
    /// How many memories contain a GPS location.
    pub places: u64,
    /// Those memories: their paths in the folder.
    pub gps_files: Vec<String>,
    /// Files that are kept although no text of `decode/` describes their format: their paths in the
    /// folder.
    pub undescribed: Vec<String>,
}

/// All of a capsule but its signatures.
pub(crate) struct Gathered<'a> {
    pub manifest: Manifest,
    pub staging: Staging<&'a dyn BlobStore>,
    pub draft: Draft,
}

/// Reads a folder and stages the files to keep, with all texts of the capsule.
pub(crate) fn gather<'a>(
    path: &Path,
    headers: Vec<(String, String)>,
    creator: &CreatorPublic,
    blobs: &'a dyn BlobStore,
    progress: &Meter,
) -> Result<Gathered<'a>, CreateError> {
    let folder = Folder::open(path)
        .map_err(|source| CreateError::Folder { folder: path.display().to_string(), source })?;
    let folder = Opened { folder, path };
    let mut plan = FolderPlan::new(&folder.folder, walk(&folder.folder)?);
    if plan.memories.is_empty() || plan.skipped.iter().any(|left| left.reason.is_failure()) {
        folder.check_is_there()?;
    }
    if plan.memories.is_empty() {
        return Err(CreateError::Nothing { skipped: sorted(plan.skipped) });
    }
    plan.check_fits().map_err(|much| CreateError::TooMuch {
        memories: much.memories,
        files: much.files,
        manifest_bytes: much.manifest_bytes,
    })?;
    blobs.free_space()?.check(plan.stored_lengths(), 0)?;
    progress.begin(plan.bytes());

    let mut gathering = Gathering {
        folder: &folder,
        digits: plan.digits(),
        staging: Staging::new(blobs),
        pump: Pump::new(),
        entries: Vec::new(),
        skipped: std::mem::take(&mut plan.skipped),
        descriptions: ALWAYS.to_vec(),
        memories: 0,
        gps_files: Vec::new(),
        undescribed: Vec::new(),
        index: Vec::new(),
        progress,
    };
    let mut used = vec![false; plan.sources.len()];
    for (main, context) in &plan.memories {
        let context = context.map(|text| &plan.sources[text]);
        let pair = plan.pair_of(*main);
        if gathering.memory(&plan.sources[*main], context, pair)? {
            used[*main] = true;
        }
    }
    // A text whose media were left out is still a memory.
    for (main, context) in &plan.memories {
        if let Some(text) = *context
            && !used[*main]
            && !plan.memories.iter().any(|(m, c)| *c == Some(text) && used[*m])
            && !std::mem::replace(&mut used[text], true)
        {
            gathering.memory(&plan.sources[text], None, None)?;
        }
    }
    gathering.finish(headers, creator)
}

/// The folder that is read, and where it was.
struct Opened<'w> {
    folder: Folder,
    path: &'w Path,
}

impl Opened<'_> {
    /// Refuses a folder that is no longer there, of which no more than a part could be kept.
    fn check_is_there(&self) -> Result<(), CreateError> {
        match self.folder.has_left(self.path) {
            true => Err(CreateError::Gone { folder: self.path.display().to_string() }),
            false => Ok(()),
        }
    }
}

struct Gathering<'a, 'w> {
    folder: &'w Opened<'w>,
    digits: usize,
    staging: Staging<&'a dyn BlobStore>,
    pump: Pump,
    entries: Vec<FileEntry>,
    skipped: Vec<Skipped>,
    descriptions: Vec<Description>,
    memories: u64,
    gps_files: Vec<String>,
    undescribed: Vec<String>,
    index: Vec<Entry>,
    progress: &'w Meter,
}

/// A file's staged content and its metadata.
struct Read {
    /// Its format, after reading it to its end.
    format: Format,
    /// PRONOM's identifier of that format.
    pronom: Option<&'static str>,
    stored: Stored,
    blob: StagedBlob,
    modified: Option<String>,
    shot: Shot,
    /// How it begins, if it is a text.
    beginning: String,
}

/// Why a file's content was not staged.
enum Stop {
    /// It is left out.
    Skip(SkipReason),
    /// Nothing more can be staged.
    Fail(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Fail(error)
    }
}

impl<'a> Gathering<'a, '_> {
    /// Stages one memory: its file, the text beside it, and the metadata of both. `false` if the
    /// file had to be left out after all.
    fn memory(
        &mut self,
        main: &Source,
        context: Option<&Source>,
        pair: Option<&Source>,
    ) -> Result<bool, CreateError> {
        let Some(read) = self.read(main)? else { return Ok(false) };
        let context = match context.map(|text| (text, self.read(text))) {
            Some((text, Ok(found))) => found.map(|read| (text, read)),
            Some((_, Err(error))) => {
                self.staging.discard(read.blob);
                return Err(error);
            }
            None => None,
        };
        self.memories += 1;
        let digest = read.stored.blake3.to_string();
        let directory =
            format!("memories/{:0width$}-{}", self.memories, &digest[..8], width = self.digits);
        let format = read.format;
        self.descriptions.extend(format.described_by.into_iter().flat_map(Description::with_needs));
        let original = main.found.path.as_str();
        let beside = context.as_ref().map(|(text, read)| (*text, read));
        let meta = described(main, &read, beside, pair);
        if meta.place.is_some() {
            self.gps_files.push(original.to_owned());
        }
        if !meta.described {
            self.undescribed.push(original.to_owned());
        }
        let beginning = context.as_ref().map_or(&read.beginning, |(_, text)| &text.beginning);
        let kind = (format.extension, format.mime);
        self.index.push(Entry::new(&directory, kind, &meta, beginning));
        self.staging.keep(read.blob);
        self.entry(read.stored, format.mime, format!("{directory}/media.{}", format.extension));
        if let Some((_, read)) = context {
            self.staging.keep(read.blob);
            self.entry(read.stored, read.format.mime, format!("{directory}/context.txt"));
        }
        self.text(&meta.render(), "application/json", format!("{directory}/meta.json"))?;
        Ok(true)
    }

    /// Stages a file's content, unless the file has to be left out.
    fn read(&mut self, source: &Source) -> Result<Option<Read>, CreateError> {
        match self.try_read(source) {
            Ok(read) => Ok(Some(read)),
            Err(Stop::Fail(error)) => Err(error.into()),
            Err(Stop::Skip(reason)) => {
                self.folder.check_is_there()?;
                let path = printable_path(&source.found.raw);
                self.skipped.push(Skipped { path, reason });
                Ok(None)
            }
        }
    }

    fn try_read(&mut self, source: &Source) -> Result<Read, Stop> {
        let unreadable = |e: std::io::Error| Stop::Skip(SkipReason::of(&e));
        let mut file = self.folder.folder.file(&source.found.raw).map_err(unreadable)?;
        let before = state(&file).map_err(unreadable)?;
        if before.bytes < source.found.bytes {
            return Err(Stop::Skip(SkipReason::Changed));
        }
        let shot = if source.format.may_have_exif() {
            let shot = exif::read(&file);
            file.rewind().map_err(unreadable)?;
            shot
        } else {
            Shot::default()
        };
        let mut text = source.format.is_text().then(TextCheck::default);
        let mut is_text = true;
        let mut beginning = Vec::new();
        let progress = self.progress;
        let (stored, blob) = self.staging.stream::<Stop>(
            &mut self.pump,
            |buffer| {
                let n = read_some(&mut file, buffer).map_err(unreadable)?;
                if let Some(check) = text.as_mut().filter(|_| is_text) {
                    is_text = check.feed(&buffer[..n]).is_ok();
                    let room = MAX_BEGINNING - beginning.len();
                    beginning.extend_from_slice(&buffer[..n.min(room)]);
                }
                Ok(n)
            },
            |bytes| progress.add(bytes),
        )?;
        let outcome = match state(&file) {
            Err(e) => Err(unreadable(e)),
            Ok(after) if after != before || stored.bytes != before.bytes => {
                Err(Stop::Skip(SkipReason::Changed))
            }
            Ok(_) => Ok(()),
        };
        // A file that only starts as text is kept as well.
        is_text &= text.is_none_or(|check| check.finish().is_ok());
        let format = if is_text { source.format } else { OTHER_TEXT };
        let pronom = source.pronom.filter(|_| is_text);
        let modified = rfc_3339(before.modified, before.nanoseconds);
        let beginning = match is_text {
            true => whole_characters(beginning),
            false => String::new(),
        };
        match outcome {
            Ok(()) => Ok(Read { format, pronom, stored, blob, modified, shot, beginning }),
            Err(stop) => {
                self.staging.discard(blob);
                Err(stop)
            }
        }
    }

    fn text(&mut self, text: &str, mime: &str, path: String) -> Result<(), CreateError> {
        let stored = self.staging.bytes(text.as_bytes())?;
        self.entry(stored, mime, path);
        Ok(())
    }

    /// Stages a text that is made in parts.
    fn parts(
        &mut self,
        parts: impl Iterator<Item = String>,
        mime: &str,
        path: &str,
    ) -> Result<(), CreateError> {
        let mut parts = parts.map(String::into_bytes).map(Cursor::new).fuse();
        let mut part = Cursor::default();
        let (stored, blob) = self.staging.stream::<StoreError>(
            &mut self.pump,
            |buffer| loop {
                match part.read(buffer) {
                    Ok(0) => match parts.next() {
                        Some(next) => part = next,
                        None => return Ok(0),
                    },
                    read => return Ok(read.expect("memory can be read")),
                }
            },
            |_| {},
        )?;
        self.staging.keep(blob);
        self.entry(stored, mime, path.to_owned());
        Ok(())
    }

    fn entry(&mut self, stored: Stored, mime: &str, path: String) {
        self.entries.push(FileEntry {
            blake3: stored.blake3,
            sha256: stored.sha256,
            bytes: stored.bytes,
            mime: mime.to_owned(),
            path: CapsulePath::new(path).expect("made of digits, letters and slashes"),
        });
    }

    /// Adds the fixed parts of a capsule, and writes the MANIFEST.
    fn finish(
        mut self,
        headers: Vec<(String, String)>,
        creator: &CreatorPublic,
    ) -> Result<Gathered<'a>, CreateError> {
        let skipped = sorted(std::mem::take(&mut self.skipped));
        if self.memories == 0 {
            return Err(CreateError::Nothing { skipped });
        }
        for (path, pem) in [
            (listed::ED25519_PEM, creator.ed25519_pem()),
            (listed::ML_DSA_65_PEM, creator.ml_dsa_65_pem()),
        ] {
            self.text(&pem, "application/x-pem-file", path.to_owned())?;
        }
        for path in [listed::README, README_TXT] {
            self.text(README, "text/plain", path.to_owned())?;
        }
        let title = headers.iter().find(|(key, _)| key == "title");
        let title = title.map_or_else(String::new, |(_, title)| title.clone());
        let index = std::mem::take(&mut self.index);
        self.parts(index::text(&title, &index), "text/plain", "INDEX.txt")?;
        self.parts(index::html(&title, &index), "text/html", "INDEX.html")?;
        self.descriptions.sort_unstable();
        self.descriptions.dedup();
        for description in std::mem::take(&mut self.descriptions) {
            self.text(description.text(), "text/plain", description.path().to_owned())?;
        }
        let manifest = Manifest::new(creator.id(), self.memories, headers, self.entries)?;
        let unlisted_bytes = manifest.render().len() as u64
            + (ED25519_SIGNATURE_BYTES + ML_DSA_65_SIGNATURE_BYTES) as u64
            + sums::bytes(&manifest);
        let draft = Draft {
            memories: self.memories,
            files: (manifest.files().len() + unlisted::ALL.len()) as u64,
            bytes: manifest.bytes().saturating_add(unlisted_bytes),
            skipped,
            places: self.gps_files.len() as u64,
            gps_files: self.gps_files,
            undescribed: self.undescribed,
        };
        Ok(Gathered { manifest, staging: self.staging, draft })
    }
}

/// What is known of a memory.
fn described(
    main: &Source,
    read: &Read,
    context: Option<(&Source, &Read)>,
    pair: Option<&Source>,
) -> Meta {
    let (format, original) = (read.format, main.found.path.as_str());
    let context_path = |(text, _): (&Source, &Read)| text.found.path.as_str().to_owned();
    let spelling = |source: &Source| source.found.spelling().map(str::to_owned);
    Meta {
        version: META_VERSION,
        memory_type: if format.is_text() { MemoryType::Reflection } else { MemoryType::Moment },
        original: original.to_owned(),
        original_spelling: spelling(main),
        context: context.map(context_path),
        context_spelling: context.and_then(|(text, _)| spelling(text)),
        album: album_of(original),
        caption: read.shot.caption.clone(),
        pair: pair.map(|other| other.found.path.as_str().to_owned()),
        mime: format.mime.to_owned(),
        pronom: read.pronom.map(str::to_owned),
        bytes: read.stored.bytes,
        date: match &read.shot.taken {
            Some(taken) => Some(Date::of_camera(taken)),
            None => Date::of_names(original),
        },
        taken: read.shot.taken.clone(),
        place: read.shot.place,
        modified: read.modified.clone(),
        context_modified: context.and_then(|(_, read)| read.modified.clone()),
        described: format.is_described(),
    }
}

/// The text that bytes begin with, without a character that is cut off at their end.
fn whole_characters(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned()
    })
}

/// The directory that a file lay in, if it lay in one.
fn album_of(original: &str) -> Option<String> {
    original.rsplit('/').nth(1).map(str::to_owned)
}

fn sorted(mut skipped: Vec<Skipped>) -> Vec<Skipped> {
    skipped.sort_unstable();
    skipped.dedup();
    skipped
}

/// One read, retried if a signal interrupts it.
fn read_some(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
