//! Decides, before anything is stored, which files of a folder become memories, which texts are
//! their context, and whether all of it fits into one tessera.

use std::collections::HashMap;
use std::io::Read as _;
use std::iter::repeat_n;

use tesseras_core::manifest::{MAX_FILES, MAX_MANIFEST_BYTES};

use crate::dirfd::{Folder, state};
use crate::index::ENTRY_BYTES;
use crate::recognise::{Format, HEAD_BYTES, Recognised, pronom, recognise};
use crate::walk::{Found, SkipReason, Skipped, Walk, printable_path};

/// At most so many files of a capsule are not those of a memory: README.decode, keys, descriptions
/// of formats.
const OTHER_FILES: usize = 32;
/// About the length of such a file, in bytes.
const TEXT_BYTES: u64 = 8 * 1024;
/// About the length of a `meta.json`, in bytes.
const META_BYTES: u64 = 1024;

/// A file to be kept.
#[derive(Debug)]
pub(crate) struct Source {
    pub found: Found,
    pub format: Format,
    /// PRONOM's identifier of its format.
    pub pronom: Option<&'static str>,
}

/// The plan for a folder.
#[derive(Debug)]
pub(crate) struct FolderPlan {
    /// All files to be kept, in byte order of their paths.
    pub sources: Vec<Source>,
    /// For each source that is a memory of its own: its index, and that of the text beside it.
    pub memories: Vec<(usize, Option<usize>)>,
    /// For each source that is half of a moving photo: the other half.
    pairs: HashMap<usize, usize>,
    /// Files left out so far.
    pub skipped: Vec<Skipped>,
}

/// More than one tessera can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuch {
    pub memories: usize,
    pub files: usize,
    pub manifest_bytes: u64,
}

impl FolderPlan {
    /// Looks at the start of every file that was found.
    pub fn new(folder: &Folder, walk: Walk) -> Self {
        let mut sources = Vec::new();
        let mut skipped = walk.skipped;
        for found in walk.files {
            match look_at(folder, &found) {
                Ok((format, pronom)) => sources.push(Source { found, format, pronom }),
                Err(reason) => {
                    skipped.push(Skipped { path: printable_path(&found.raw), reason });
                }
            }
        }
        let memories = contexts(&sources);
        let pairs = moving_photos(&sources);
        Self { sources, memories, pairs, skipped }
    }

    /// The other half of a moving photo.
    pub fn pair_of(&self, source: usize) -> Option<&Source> {
        self.pairs.get(&source).map(|other| &self.sources[*other])
    }

    /// The number of bytes to read.
    pub fn bytes(&self) -> u64 {
        self.sources.iter().fold(0, |sum, s| sum.saturating_add(s.found.bytes))
    }

    /// About the length of each file that will be stored: those to be kept, a description of each
    /// memory, and what every capsule has.
    pub fn stored_lengths(&self) -> impl Iterator<Item = u64> + '_ {
        let sources = self.sources.iter().map(|source| source.found.bytes);
        let described = repeat_n(META_BYTES, self.memories.len());
        let always = repeat_n(TEXT_BYTES, OTHER_FILES);
        let index = self.memories.len() as u64 * ENTRY_BYTES;
        sources.chain(described).chain(always).chain([self.manifest_bytes(), index])
    }

    /// The number of digits in memory numbers, so that they sort by name.
    pub fn digits(&self) -> usize {
        self.sources.len().to_string().len().max(4)
    }

    /// Refuses a folder that is too large for a MANIFEST.
    pub fn check_fits(&self) -> Result<(), TooMuch> {
        let contexts = self.memories.iter().filter(|(_, context)| context.is_some()).count();
        let files = OTHER_FILES + 2 * self.memories.len() + contexts;
        let manifest_bytes = self.manifest_bytes();
        if files > MAX_FILES || manifest_bytes > MAX_MANIFEST_BYTES {
            return Err(TooMuch { memories: self.memories.len(), files, manifest_bytes });
        }
        Ok(())
    }

    /// About the length of the MANIFEST, in bytes: too high by less than a tenth.
    fn manifest_bytes(&self) -> u64 {
        // Digests with their labels, a length, and the spaces and line feed of five fields.
        const LINE: usize = 2 * 71 + 12 + 5;
        let directory = "memories/-00000000/".len() + self.digits();
        let bytes = self.memories.iter().fold(64 * 1024_usize, |sum, (main, context)| {
            let format = self.sources[*main].format;
            let media = LINE + directory + "media.".len() + format.extension.len();
            let meta = LINE + directory + "meta.json".len() + "application/json".len();
            let text = LINE + directory + "context.txt".len() + "text/plain".len();
            sum + media + format.mime.len() + meta + if context.is_some() { text } else { 0 }
        });
        bytes as u64
    }
}

fn look_at(folder: &Folder, found: &Found) -> Result<(Format, Option<&'static str>), SkipReason> {
    let unreadable = |e: std::io::Error| SkipReason::of(&e);
    let mut file = folder.file(&found.raw).map_err(unreadable)?;
    if state(&file).map_err(unreadable)?.bytes < found.bytes {
        return Err(SkipReason::Changed);
    }
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(unreadable)?;
    let (_, name) = split(found.path.as_str());
    match recognise(name, &head) {
        Recognised::As(format) => Ok((format, pronom(name, &format, &head))),
        Recognised::Not(reason) => Err(reason),
    }
}

/// Which sources are memories. A `.txt` beside media with the same stem is their context; if the
/// same stem has several texts, the first one is.
fn contexts(sources: &[Source]) -> Vec<(usize, Option<usize>)> {
    let mut texts: HashMap<&str, usize> = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let (stem, extension) = stem(source.found.path.as_str());
        if source.format.is_text() && extension.eq_ignore_ascii_case("txt") {
            texts.entry(stem).or_insert(index);
        }
    }
    let context_of = |source: &Source| {
        let (stem, _) = stem(source.found.path.as_str());
        if source.format.is_text() { None } else { texts.get(stem).copied() }
    };
    let mut is_context = vec![false; sources.len()];
    for source in sources {
        if let Some(text) = context_of(source) {
            is_context[text] = true;
        }
    }
    (0..sources.len())
        .filter(|index| !is_context[*index])
        .map(|index| (index, context_of(&sources[index])))
        .collect()
}

/// Photos and films that telephones make together: one of each, with the same stem.
fn moving_photos(sources: &[Source]) -> HashMap<usize, usize> {
    let mut of_stem: HashMap<&str, [Vec<usize>; 2]> = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let half = match source.format.extension {
            "jpg" | "heic" => 0,
            "mov" | "mp4" => 1,
            _ => continue,
        };
        let (stem, _) = stem(source.found.path.as_str());
        of_stem.entry(stem).or_default()[half].push(index);
    }
    let pairs = of_stem.into_values().filter_map(|[photos, films]| match (&*photos, &*films) {
        ([photo], [film]) => Some([(*photo, *film), (*film, *photo)]),
        _ => None,
    });
    pairs.flatten().collect()
}

/// A path's directory (with its slash) and name.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |at| at + 1))
}

/// A path without its extension, and the extension. A name that starts with its only dot has none.
fn stem(path: &str) -> (&str, &str) {
    let (directory, name) = split(path);
    match name.rfind('.') {
        Some(at) if at > 0 => (&path[..directory.len() + at], &name[at + 1..]),
        _ => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::path::CapsulePath;

    use super::*;
    use crate::recognise::TEXT;
    use crate::texts::{Description, README};

    fn plan(count: usize) -> FolderPlan {
        let source = |n: usize| {
            let path = CapsulePath::new(format!("{n}.txt")).expect("a path");
            let raw = path.as_str().as_bytes().to_vec();
            Source { found: Found { raw, path, bytes: 1 }, format: TEXT, pronom: None }
        };
        let sources: Vec<Source> = (0..count).map(source).collect();
        FolderPlan {
            memories: contexts(&sources),
            pairs: HashMap::new(),
            sources,
            skipped: Vec::new(),
        }
    }

    #[test]
    fn what_no_manifest_could_name_is_refused() {
        assert_eq!(plan(40_000).check_fits(), Ok(()));
        let much = plan(50_000).check_fits().expect_err("too much");
        assert_eq!((much.memories, much.files), (50_000, 100_000 + OTHER_FILES));
        assert!(much.manifest_bytes > MAX_MANIFEST_BYTES);
    }

    #[test]
    fn the_texts_of_a_capsule_with_every_format_are_allowed_for() {
        const README_AND_KEYS: usize = 3;
        assert!(README_AND_KEYS + Description::ALL.len() <= OTHER_FILES);
        let texts = Description::ALL.iter().map(|description| description.text()).chain([README]);
        let bytes: usize = texts.map(str::len).sum();
        assert!(bytes as u64 <= OTHER_FILES as u64 * TEXT_BYTES, "{bytes} bytes");
    }

    #[test]
    fn a_stem_ends_before_the_last_dot() {
        assert_eq!(stem("a.b/c.d.txt"), ("a.b/c.d", "txt"));
        assert_eq!(stem("a.b/.txt"), ("a.b/.txt", ""));
        assert_eq!(stem("plain"), ("plain", ""));
    }
}
