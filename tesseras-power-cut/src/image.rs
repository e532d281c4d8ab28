//! One possible content of a disk after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::step::FileId;

/// What a name refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(FileId),
}

/// Names and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    pub(crate) names: BTreeMap<PathBuf, Node>,
    pub(crate) contents: BTreeMap<FileId, Vec<u8>>,
}

impl Image {
    /// Writes it below an empty directory. What lies in a directory whose own name was lost is lost
    /// with it.
    pub fn write_to(&self, root: &Path) -> io::Result<()> {
        // A directory comes before what lies in it.
        for (name, node) in &self.names {
            let path = root.join(name);
            if !path.parent().is_some_and(Path::is_dir) {
                continue;
            }
            match node {
                Node::Directory => std::fs::create_dir(&path)?,
                Node::File(file) => {
                    let bytes = self.contents.get(file).map_or(&[][..], Vec::as_slice);
                    std::fs::write(&path, bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Drops the bytes of files without a name, which can get none any more.
    pub(crate) fn forget_nameless(&mut self) {
        let named: BTreeSet<FileId> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Directory => None,
            })
            .collect();
        self.contents.retain(|file, _| named.contains(file));
    }

    pub(crate) fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) {
        let content = self.contents.entry(file).or_default();
        let at = usize::try_from(at).expect("a test writes files that fit into memory");
        if content.len() < at + bytes.len() {
            content.resize(at + bytes.len(), 0);
        }
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn truncate(&mut self, file: FileId, length: u64) {
        let length = usize::try_from(length).expect("a test writes files that fit into memory");
        self.contents.entry(file).or_default().resize(length, 0);
    }
}
