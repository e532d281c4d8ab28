//! SHA256SUMS: the list that `sha256sum -c` checks, made from the MANIFEST alone.

use std::fmt::Write as _;

use crate::ids::Sha256Digest;
use crate::manifest::{Manifest, unlisted};

/// The SHA-256 of the three files that the MANIFEST does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlistedDigests {
    /// Of the MANIFEST.
    pub manifest: Sha256Digest,
    /// Of its Ed25519 signature.
    pub ed25519_signature: Sha256Digest,
    /// Of its ML-DSA-65 signature.
    pub ml_dsa_65_signature: Sha256Digest,
}

/// The text of SHA256SUMS: `<hex>  <path>` of every file but itself, in byte order of the paths.
pub fn render(manifest: &Manifest, digests: &UnlistedDigests) -> String {
    let mut lines: Vec<(&str, &Sha256Digest)> =
        manifest.files().iter().map(|f| (f.path.as_str(), &f.sha256)).collect();
    lines.push((unlisted::MANIFEST, &digests.manifest));
    lines.push((unlisted::ED25519_SIGNATURE, &digests.ed25519_signature));
    lines.push((unlisted::ML_DSA_65_SIGNATURE, &digests.ml_dsa_65_signature));
    lines.sort_unstable_by_key(|(path, _)| *path);
    let mut out = String::with_capacity(bytes(manifest) as usize);
    for (path, digest) in lines {
        writeln!(out, "{digest}  {path}").expect("writing to a String cannot fail");
    }
    out
}

/// The length of SHA256SUMS, which follows from the paths.
pub fn bytes(manifest: &Manifest) -> u64 {
    let line = |path: &str| (2 * Sha256Digest::LEN + 2 + path.len() + 1) as u64;
    manifest.files().iter().map(|f| line(f.path.as_str())).sum::<u64>()
        + line(unlisted::MANIFEST)
        + line(unlisted::ED25519_SIGNATURE)
        + line(unlisted::ML_DSA_65_SIGNATURE)
}
