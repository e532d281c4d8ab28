//! HASH.txt: the tessera's hash, which stands in no file that it is made from.

use tesseras_core::ids::TesseraHash;
use tesseras_core::manifest::unlisted;

/// Its content: one line that `b3sum --check` reads.
pub(crate) fn hash_line(hash: &TesseraHash) -> String {
    format!("{hash}  {}\n", unlisted::MANIFEST)
}
