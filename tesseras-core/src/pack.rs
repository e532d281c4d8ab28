//! The pack: the deterministic tar of a capsule's directory, described but never held in memory.
//!
//! [`PackLayout`] maps each byte of the pack to its source, so that any range of it can be read
//! from stored files. The form is fixed by pack version 1: POSIX ustar, a pax header only for a
//! path over 100 bytes or a file of 8 GiB and more (POSIX.1-2001), MANIFEST first, then byte order
//! of the paths, two zero blocks at the end.

use crate::append::Append as _;
use crate::code::MAX_PACK_BYTES;
use crate::ids::{ContentHash, TesseraHash};
use crate::manifest::{Manifest, unlisted};
use crate::signature::{ED25519_SIGNATURE_BYTES, ML_DSA_65_SIGNATURE_BYTES};
use crate::sums;

/// The unit of a tar.
pub const BLOCK: u64 = 512;
/// The longest name that fits a ustar header, in bytes.
const MAX_NAME_BYTES: usize = 100;
/// The largest length that fits eleven octal digits.
const MAX_OCTAL_SIZE: u64 = 0o77_777_777_777;

/// The source of the bytes of one file of the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackSource {
    /// The MANIFEST.
    Manifest,
    /// The raw Ed25519 signature over the MANIFEST.
    Ed25519Signature,
    /// The raw ML-DSA-65 signature over the MANIFEST.
    MlDsa65Signature,
    /// SHA256SUMS.
    Sums,
    /// A file that the MANIFEST lists, by its content hash.
    File(ContentHash),
}

/// One file of the pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntry {
    /// Its path in the tar, including the directory.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// The source of its bytes.
    pub source: PackSource,
    /// The offset of its header in the pack.
    pub offset: u64,
    /// The offset of its bytes in the pack.
    pub data_offset: u64,
}

impl PackEntry {
    /// The offset of the next entry.
    fn end(&self) -> u64 {
        self.data_offset + padded(self.bytes)
    }
}

/// A run of the pack's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Bytes of headers.
    Header(Vec<u8>),
    /// Bytes of one file: `bytes` of them, from `offset` on.
    File {
        /// The file.
        source: PackSource,
        /// The offset in the file.
        offset: u64,
        /// The number of bytes.
        bytes: u64,
    },
    /// Padding.
    Zeros(u64),
}

/// The source of every byte of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackLayout {
    entries: Vec<PackEntry>,
    bytes: u64,
}

/// The directory that a tessera is exported to, and that its pack unpacks to.
pub fn directory_name(tessera: &TesseraHash) -> String {
    format!("tessera-{}", tessera.short())
}

impl PackLayout {
    /// The layout of the capsule that a MANIFEST of `manifest_bytes` bytes describes.
    /// `None` if the files are too long for any pack (over [`MAX_PACK_BYTES`]).
    pub fn new(tessera: &TesseraHash, manifest: &Manifest, manifest_bytes: u64) -> Option<Self> {
        let mut files: Vec<(&str, u64, PackSource)> = manifest
            .files()
            .iter()
            .map(|f| (f.path.as_str(), f.bytes, PackSource::File(f.blake3)))
            .collect();
        files.extend([
            (
                unlisted::ED25519_SIGNATURE,
                ED25519_SIGNATURE_BYTES as u64,
                PackSource::Ed25519Signature,
            ),
            (
                unlisted::ML_DSA_65_SIGNATURE,
                ML_DSA_65_SIGNATURE_BYTES as u64,
                PackSource::MlDsa65Signature,
            ),
            (unlisted::SHA256SUMS, sums::bytes(manifest), PackSource::Sums),
        ]);
        files.sort_unstable_by_key(|(path, ..)| *path);
        files.insert(0, (unlisted::MANIFEST, manifest_bytes, PackSource::Manifest));

        let directory = directory_name(tessera);
        let mut entries = Vec::with_capacity(files.len());
        let mut offset: u64 = 0;
        for (path, bytes, source) in files {
            if bytes > MAX_PACK_BYTES || offset > MAX_PACK_BYTES {
                return None;
            }
            let path = format!("{directory}/{path}");
            let data_offset = offset + header(&path, bytes).len() as u64;
            let entry = PackEntry { path, bytes, source, offset, data_offset };
            offset = entry.end();
            entries.push(entry);
        }
        let bytes = offset + 2 * BLOCK;
        (bytes <= MAX_PACK_BYTES).then_some(Self { entries, bytes })
    }

    /// The length of the pack.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The files of the pack, in order.
    pub fn entries(&self) -> &[PackEntry] {
        &self.entries
    }

    /// The run of bytes that starts at `offset`, at most `limit` long; `None` at the end. To read a
    /// longer range, call it again with the end of the last run.
    pub fn segment(&self, offset: u64, limit: u64) -> Option<Segment> {
        if offset >= self.bytes || limit == 0 {
            return None;
        }
        let at = self.entries.partition_point(|e| e.offset <= offset);
        let entry = &self.entries[at.checked_sub(1).expect("the first entry begins at 0")];
        let data_end = entry.data_offset + entry.bytes;
        Some(if offset < entry.data_offset {
            let bytes = header(&entry.path, entry.bytes);
            let from = (offset - entry.offset) as usize;
            let to = bytes.len().min(from.saturating_add(limit.try_into().unwrap_or(usize::MAX)));
            Segment::Header(bytes[from..to].to_vec())
        } else if offset < data_end {
            Segment::File {
                source: entry.source,
                offset: offset - entry.data_offset,
                bytes: limit.min(data_end - offset),
            }
        } else {
            let end = if at == self.entries.len() { self.bytes } else { entry.end() };
            Segment::Zeros(limit.min(end - offset))
        })
    }
}

fn padded(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// The header blocks of a file: one ustar header, preceded by a pax header if needed.
pub fn header(path: &str, bytes: u64) -> Vec<u8> {
    let mut pax = String::new();
    if path.len() > MAX_NAME_BYTES {
        pax_record(&mut pax, "path", path);
    }
    if bytes > MAX_OCTAL_SIZE {
        pax_record(&mut pax, "size", &bytes.to_string());
    }
    let mut out = Vec::with_capacity(512);
    if !pax.is_empty() {
        out.extend(ustar_block("PaxHeader", pax.len() as u64, b'x'));
        out.extend(pax.as_bytes());
        out.resize(padded(out.len() as u64) as usize, 0);
    }
    let name = &path[..path.floor_char_boundary(MAX_NAME_BYTES)];
    let size = if bytes > MAX_OCTAL_SIZE { 0 } else { bytes };
    out.extend(ustar_block(name, size, b'0'));
    out
}

/// Appends `LEN key=value\n`, where LEN counts itself.
fn pax_record(out: &mut String, key: &str, value: &str) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    out.append_line(format_args!("{len} {key}={value}"));
}

fn ustar_block(name: &str, bytes: u64, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{bytes:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000\0");
    put(337, b"0000000\0");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
