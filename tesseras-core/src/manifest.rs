//! The MANIFEST: the plain text that names every file of a capsule, and whose hash identifies the
//! tessera.
//!
//! A given manifest has exactly one text: [`Manifest::parse`] refuses anything that
//! [`Manifest::render`] would write differently.

use thiserror::Error;

use crate::append::Append as _;
use crate::ids::{ContentHash, CreatorId, Sha256Digest};
use crate::path::{CapsulePath, TextError, check_line};

/// The longest MANIFEST, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 16 * 1024 * 1024;
/// The most files that a MANIFEST may name.
pub const MAX_FILES: usize = 100_000;
/// The most header lines; far more than are defined.
pub const MAX_HEADERS: usize = 1000;
/// The only pack version there is.
pub const PACK_VERSION: u32 = 1;

/// The first line of every MANIFEST of this version.
pub const FIRST_LINE: &str = "tesseras-manifest 1";

/// Names of the files that a MANIFEST does not list, because they are made from it.
pub mod unlisted {
    /// The MANIFEST itself.
    pub const MANIFEST: &str = "MANIFEST";
    /// The raw Ed25519 signature over it.
    pub const ED25519_SIGNATURE: &str = "MANIFEST.ed25519.sig";
    /// The raw ML-DSA-65 signature over it.
    pub const ML_DSA_65_SIGNATURE: &str = "MANIFEST.ml-dsa-65.sig";
    /// The SHA-256 of every file but itself.
    pub const SHA256SUMS: &str = "SHA256SUMS";
    /// The tessera's hash, which is the BLAKE3-256 of the MANIFEST, in the form that `b3sum --check`
    /// reads. It is written beside an exported capsule for people, and is not part of its pack.
    pub const HASH: &str = "HASH.txt";
    /// All that a capsule has.
    pub const ALL: [&str; 4] = [MANIFEST, ED25519_SIGNATURE, ML_DSA_65_SIGNATURE, SHA256SUMS];
}

/// Names of the files that every MANIFEST lists.
pub mod listed {
    /// The creator's public Ed25519 key.
    pub const ED25519_PEM: &str = "identity/creator.ed25519.pem";
    /// The creator's public ML-DSA-65 key.
    pub const ML_DSA_65_PEM: &str = "identity/creator.ml-dsa-65.pem";
    /// How to read the capsule without software.
    pub const README: &str = "README.decode";
}

/// One file of a capsule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// BLAKE3-256 of its bytes.
    pub blake3: ContentHash,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// Its length.
    pub bytes: u64,
    /// Its media type (RFC 6838), without parameters.
    pub mime: String,
    /// Its path in the capsule.
    pub path: CapsulePath,
}

/// The content of a MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    headers: Vec<(String, String)>,
    files: Vec<FileEntry>,
    creator: CreatorId,
    memories: u64,
}

/// Why a text is not a MANIFEST. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// Longer than [`MAX_MANIFEST_BYTES`].
    #[error("the MANIFEST has {0} bytes; at most {MAX_MANIFEST_BYTES} are allowed")]
    TooLong(u64),
    /// Not UTF-8.
    #[error("the MANIFEST is not UTF-8 (byte {0})")]
    NotUtf8(usize),
    /// The first line is not [`FIRST_LINE`]: it is not a MANIFEST, or has another version.
    #[error("the MANIFEST begins with {0:?}, not with {FIRST_LINE:?}")]
    Version(String),
    /// The last line does not end with a line feed.
    #[error("the MANIFEST does not end with a line feed")]
    Unterminated,
    /// More than [`MAX_FILES`] files or [`MAX_HEADERS`] headers.
    #[error("the MANIFEST names too many {0}")]
    TooMany(&'static str),
    /// A line is neither a header nor a file.
    #[error("MANIFEST line {line}: {reason}")]
    Line {
        /// The line.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A path or value is not allowed in a capsule.
    #[error("MANIFEST line {line}: {source}")]
    Text {
        /// The line.
        line: usize,
        /// Why not.
        source: TextError,
    },
    /// A required header is missing or invalid.
    #[error("the MANIFEST has no usable {0:?} header")]
    Missing(&'static str),
    /// A pack version that this software does not know.
    #[error("pack version {0:?} is not known to this version of the software")]
    PackVersion(String),
    /// A path is also a directory of another path.
    #[error("{0:?} is both a file and a directory")]
    FileAndDirectory(String),
    /// A file that every capsule has is not listed.
    #[error("the MANIFEST does not list {0:?}")]
    NotListed(&'static str),
}

impl Manifest {
    /// Builds a manifest: headers in the given order, files sorted by path.
    ///
    /// The headers `pack`, `creator` and `memories` are added here.
    pub fn new(
        creator: CreatorId,
        memories: u64,
        headers: Vec<(String, String)>,
        mut files: Vec<FileEntry>,
    ) -> Result<Self, ManifestError> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut all = vec![("pack".to_owned(), PACK_VERSION.to_string())];
        all.extend(headers);
        all.push(("creator".to_owned(), creator.to_string()));
        all.push(("memories".to_owned(), memories.to_string()));
        let text = Self { headers: all, files, creator, memories }.render();
        Self::parse(text.as_bytes())
    }

    /// Parses a MANIFEST. Refuses anything that is not exactly as [`Manifest::render`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong(bytes.len() as u64));
        }
        let text =
            std::str::from_utf8(bytes).map_err(|e| ManifestError::NotUtf8(e.valid_up_to()))?;
        let body = text
            .strip_prefix(FIRST_LINE)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or_else(|| ManifestError::Version(text.chars().take(40).collect()))?;
        if !text.ends_with('\n') {
            return Err(ManifestError::Unterminated);
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        let mut files: Vec<FileEntry> = Vec::new();
        for (number, line) in body.split_terminator('\n').enumerate() {
            let number = number + 2;
            if line.starts_with("blake3:") {
                let entry = parse_file(line, number)?;
                if files.last().is_some_and(|last| last.path >= entry.path) {
                    return Err(at(number, "its path is not after the path before it"));
                }
                if files.len() == MAX_FILES {
                    return Err(ManifestError::TooMany("files"));
                }
                files.push(entry);
            } else {
                if !files.is_empty() {
                    return Err(at(number, "neither a file nor the end"));
                }
                let (key, value) = parse_header(line, number)?;
                if headers.iter().any(|(known, _)| *known == key) {
                    return Err(at(number, format!("the header {key:?} is given twice")));
                }
                if headers.len() == MAX_HEADERS {
                    return Err(ManifestError::TooMany("headers"));
                }
                headers.push((key, value));
            }
        }
        refuse_file_and_directory(&files)?;
        for name in [listed::ED25519_PEM, listed::ML_DSA_65_PEM, listed::README] {
            if files.binary_search_by(|f| f.path.as_str().cmp(name)).is_err() {
                return Err(ManifestError::NotListed(name));
            }
        }
        let find = |key: &str| headers.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let pack = find("pack").ok_or(ManifestError::Missing("pack"))?;
        if pack != PACK_VERSION.to_string() {
            return Err(ManifestError::PackVersion(pack.to_owned()));
        }
        let creator = find("creator")
            .and_then(|v| v.parse().ok())
            .ok_or(ManifestError::Missing("creator"))?;
        let memories =
            find("memories").and_then(parse_number).ok_or(ManifestError::Missing("memories"))?;
        Ok(Self { headers, files, creator, memories })
    }

    /// The MANIFEST as text.
    pub fn render(&self) -> String {
        let mut out = format!("{FIRST_LINE}\n");
        for (key, value) in &self.headers {
            out.append_line(format_args!("{key}: {value}"));
        }
        for f in &self.files {
            out.append_line(format_args!(
                "blake3:{} sha256:{} {} {} {}",
                f.blake3, f.sha256, f.bytes, f.mime, f.path
            ));
        }
        out
    }

    /// The value of a header.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All headers, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// All files, in byte order of their paths.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// The file at a path.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        let at = self.files.binary_search_by(|f| f.path.as_str().cmp(path)).ok()?;
        Some(&self.files[at])
    }

    /// The creator that signed it.
    pub fn creator(&self) -> CreatorId {
        self.creator
    }

    /// The number of memories in its header.
    pub fn memories(&self) -> u64 {
        self.memories
    }

    /// The total length of all listed files, in bytes; saturates.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, f| sum.saturating_add(f.bytes))
    }

    /// The length of each file that the library stores of the capsule, the MANIFEST of
    /// `manifest_bytes` bytes among them.
    pub fn stored_lengths(&self, manifest_bytes: u64) -> impl Iterator<Item = u64> + '_ {
        self.files.iter().map(|file| file.bytes).chain([manifest_bytes])
    }
}

fn at(line: usize, reason: impl Into<String>) -> ManifestError {
    ManifestError::Line { line, reason: reason.into() }
}

/// Parses a decimal number in its only valid form: no sign, no leading zero.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn parse_header(line: &str, number: usize) -> Result<(String, String), ManifestError> {
    let (key, value) =
        line.split_once(": ").ok_or_else(|| at(number, "neither \"key: value\" nor a file"))?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if key.is_empty() || key.len() > 64 || !key.bytes().all(plain) {
        return Err(at(number, "a key has 1 to 64 of a-z, 0-9 and \"-\""));
    }
    check_line(value).map_err(|source| ManifestError::Text { line: number, source })?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_file(line: &str, number: usize) -> Result<FileEntry, ManifestError> {
    let mut fields = line.splitn(5, ' ');
    let mut field = || fields.next().ok_or_else(|| at(number, "a file has five fields"));
    let digest = |text: &str, label: &str| {
        text.strip_prefix(label).map(str::to_owned).ok_or_else(|| at(number, "unknown digest"))
    };
    let blake3 =
        digest(field()?, "blake3:")?.parse().map_err(|e| at(number, format!("BLAKE3: {e}")))?;
    let sha256 =
        digest(field()?, "sha256:")?.parse().map_err(|e| at(number, format!("SHA-256: {e}")))?;
    let bytes = parse_number(field()?).ok_or_else(|| at(number, "the length is not a number"))?;
    let mime = field()?;
    if !is_mime(mime) {
        return Err(at(number, "the fourth field is not a media type"));
    }
    let path = CapsulePath::new(field()?)
        .map_err(|source| ManifestError::Text { line: number, source })?;
    if unlisted::ALL.contains(&path.as_str()) || path.as_str() == unlisted::HASH {
        return Err(at(number, format!("{path} cannot list itself")));
    }
    Ok(FileEntry { blake3, sha256, bytes, mime: mime.to_owned(), path })
}

/// A media type without parameters: type "/" subtype, each at most 127 restricted-name characters
/// (RFC 6838 section 4.2).
fn is_mime(text: &str) -> bool {
    let name = |part: &str| {
        (1..=127).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| name(kind) && name(subtype))
}

/// Files are in byte order, so the files inside a directory with the name of a file would follow
/// that file. Also fast for paths of thousands of components, which untrusted input may contain.
fn refuse_file_and_directory(files: &[FileEntry]) -> Result<(), ManifestError> {
    for name in files.iter().map(|f| f.path.as_str()).chain(unlisted::ALL).chain([unlisted::HASH]) {
        let inside = format!("{name}/");
        let at = files.partition_point(|f| f.path.as_str() < inside.as_str());
        if files.get(at).is_some_and(|f| f.path.as_str().starts_with(&inside)) {
            return Err(ManifestError::FileAndDirectory(name.to_owned()));
        }
    }
    Ok(())
}
