//! `library/<tessera>.signatures`: the data of a capsule that is neither in its MANIFEST nor in any
//! of its files. With these files and the objects, the library can be listed again without the
//! database.
//!
//! They are not objects: pieces of strangers are among the objects, and must not become part of the
//! library.

use std::io;
use std::path::{Path, PathBuf};

use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{Origin, StoreError, TesseraRecord};
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;

use crate::error::io_error;
use crate::regular;

/// The directory below the data directory.
pub(crate) const DIRECTORY: &str = "library";
/// Their file name extension.
const EXTENSION: &str = "signatures";
/// The first line of every such file of this version.
const FIRST_LINE: &str = "tesseras-signatures 1";
/// The longest one that is read, in bytes; they have about 7 KiB.
const MAX_BYTES: u64 = 16 * 1024;

/// The content of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignatureFile {
    /// The tessera whose MANIFEST is signed.
    pub(crate) tessera: TesseraHash,
    /// How the capsule came here.
    pub(crate) origin: Origin,
    /// When it was added to the library.
    pub(crate) added: Timestamp,
    /// The signatures of the MANIFEST; not verified yet.
    pub(crate) signatures: SignaturePair,
}

impl SignatureFile {
    /// The data to keep of a capsule.
    pub(crate) fn of(record: &TesseraRecord) -> Self {
        Self {
            tessera: record.hash,
            origin: record.origin,
            added: record.added,
            signatures: record.signatures.clone(),
        }
    }

    /// As text.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("{FIRST_LINE}\n");
        let origin = match self.origin {
            Origin::Created => "created",
            Origin::Fetched => "fetched",
        };
        out.append(format_args!(
            "tessera: {}\norigin: {origin}\nadded: {}\ned25519: {}\nml-dsa-65: {}\n",
            self.tessera,
            self.added.0,
            hex::encode(&self.signatures.ed25519),
            hex::encode(&self.signatures.ml_dsa_65)
        ));
        out
    }

    /// Reads the text of [`SignatureFile::render`]; `None` if it is not exactly that.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(": ");
        let file = Self {
            tessera: value("tessera")?.parse().ok()?,
            origin: match value("origin")? {
                "created" => Origin::Created,
                "fetched" => Origin::Fetched,
                _ => return None,
            },
            added: Timestamp(value("added")?.parse().ok()?),
            signatures: SignaturePair {
                ed25519: hex::decode(value("ed25519")?).ok()?,
                ml_dsa_65: hex::decode(value("ml-dsa-65")?).ok()?,
            },
        };
        (file.render() == text).then_some(file)
    }

    /// Reads the file of a tessera; `None` if it is missing or damaged.
    pub(crate) fn read(root: &Path, tessera: &TesseraHash) -> Result<Option<Self>, StoreError> {
        let path = path(root, tessera);
        let Some(bytes) = regular::read_whole(&path, MAX_BYTES)? else { return Ok(None) };
        let Ok(text) = String::from_utf8(bytes) else { return Ok(None) };
        Ok(Self::parse(&text).filter(|file| file.tessera == *tessera))
    }
}

/// The path of a tessera's file, below the directory of all of them.
pub(crate) fn path(root: &Path, tessera: &TesseraHash) -> PathBuf {
    root.join(format!("{tessera}.{EXTENSION}"))
}

/// The tesserae that have such a file, in order.
pub(crate) fn all(root: &Path) -> Result<Vec<TesseraHash>, StoreError> {
    let fail = |e| io_error("reading", root, e);
    let entries = match std::fs::read_dir(root) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(fail)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(fail)?.path();
        let stem = name.file_stem().and_then(|stem| stem.to_str());
        if let Some(hash) = stem.and_then(|stem| stem.parse().ok())
            && path(root, &hash) == name
        {
            found.push(hash);
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> SignatureFile {
        SignatureFile {
            tessera: TesseraHash::new([0xab; 32]),
            origin: Origin::Created,
            added: Timestamp(1_800_000_000),
            signatures: SignaturePair { ed25519: vec![0x01, 0xff], ml_dsa_65: vec![0x20] },
        }
    }

    #[test]
    fn the_text_of_version_1_stays_readable() {
        let text = format!(
            "tesseras-signatures 1\ntessera: {}\norigin: created\nadded: 1800000000\n\
             ed25519: 01ff\nml-dsa-65: 20\n",
            "ab".repeat(32)
        );
        assert_eq!(file().render(), text);
        assert_eq!(SignatureFile::parse(&text), Some(file()));
    }

    #[test]
    fn any_other_text_is_refused() {
        let text = file().render();
        for end in 0..text.len() {
            assert_eq!(SignatureFile::parse(&text[..end]), None, "cut at {end}");
        }
        for (from, to) in [
            ("01ff", "01FF"),
            ("01ff", "01f"),
            ("created", "made"),
            ("1800000000", "+1800000000"),
            ("signatures 1", "signatures 2"),
            ("ed25519", "ed448"),
            ("20\n", "20\nmore: x\n"),
        ] {
            assert_eq!(SignatureFile::parse(&text.replace(from, to)), None, "{from} to {to}");
        }
    }

    #[test]
    fn only_files_of_such_a_name_are_listed_and_only_whole_ones_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(DIRECTORY);
        assert_eq!(all(&root).unwrap(), []);
        std::fs::create_dir(&root).unwrap();
        let hash = file().tessera;
        assert_eq!(SignatureFile::read(&root, &hash).unwrap(), None);
        std::fs::write(path(&root, &hash), file().render()).unwrap();
        for other in ["x.signatures", "README", &format!("{hash}.plan"), &hash.to_string()] {
            std::fs::write(root.join(other), file().render()).unwrap();
        }
        assert_eq!(all(&root).unwrap(), [hash]);
        assert_eq!(SignatureFile::read(&root, &hash).unwrap(), Some(file()));
        let other = TesseraHash::new([0xcd; 32]);
        std::fs::write(path(&root, &other), file().render()).unwrap();
        assert_eq!(SignatureFile::read(&root, &other).unwrap(), None, "it is about another one");
        for damaged in [&b"\xff\xfe"[..], &[b'x'; 3 * MAX_BYTES as usize]] {
            std::fs::write(path(&root, &hash), damaged).unwrap();
            assert_eq!(SignatureFile::read(&root, &hash).unwrap(), None);
        }
    }
}
