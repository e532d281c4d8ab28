//! SHA256SUMS as it is found on a disk: a second witness, for when the MANIFEST is damaged.

use std::collections::BTreeMap;

use tesseras_core::ids::Sha256Digest;
use tesseras_core::manifest::MAX_FILES;
use tesseras_core::path::CapsulePath;

/// The longest SHA256SUMS that is read: every line is shorter than its MANIFEST's counterpart, but
/// for three that have none there.
pub(super) const MAX_SUMS_BYTES: u64 = tesseras_core::manifest::MAX_MANIFEST_BYTES + 4096;

/// Digests by path; `None` unless every line is `<hex>  <path>`, in byte order of the paths.
pub(super) fn parse(bytes: &[u8]) -> Option<BTreeMap<String, Sha256Digest>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut sums = BTreeMap::new();
    for line in text.strip_suffix('\n')?.split('\n') {
        let (digest, path) = line.split_once("  ")?;
        let path = CapsulePath::new(path).ok()?;
        let after =
            sums.last_key_value().is_none_or(|(last, _): (&String, _)| last < &path.to_string());
        if !after || sums.len() > MAX_FILES + 3 {
            return None;
        }
        sums.insert(path.as_str().to_owned(), digest.parse().ok()?);
    }
    Some(sums)
}

/// What SHA256SUMS says of one file, even where other lines of it are damaged.
pub(super) fn line_of(bytes: &[u8], path: &str) -> Option<Sha256Digest> {
    bytes.split(|b| *b == b'\n').find_map(|line| {
        let (digest, rest) = line.split_at_checked(2 * Sha256Digest::LEN)?;
        let named = rest.strip_prefix(b"  ")? == path.as_bytes();
        if named { std::str::from_utf8(digest).ok()?.parse().ok() } else { None }
    })
}
