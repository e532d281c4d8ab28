//! The cache over real files: what it must not hide.

use tesseras_core::ports::{BlobStore as _, FragmentStore as _};

use crate::things::{content, fragment, open, put, read};

#[test]
fn whoever_looks_after_the_disk_is_not_fooled_by_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let cached = store.cached_fragments(1 << 20);
    let bytes = content(1, 5000);
    let held = fragment(1, 1, &bytes);
    put(&store, &held, &bytes).unwrap();
    assert_eq!(read(&*cached.read_fragment(&held).unwrap()), bytes);

    let name = held.checksum.to_string();
    let path = dir.path().join("cas").join(&name[..2]).join(format!("{name}.blob"));
    let mut flipped = bytes.clone();
    flipped[4000] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert_eq!(read(&*cached.read_fragment(&held).unwrap()), bytes, "it is served from memory");
    // What a scrub, and whoever answers for bytes on the disk, reads.
    assert_eq!(store.check().unwrap().lost_pieces, [held]);
    assert_eq!(read(&*store.fragments().read_fragment(&held).unwrap()), flipped);
    assert_eq!(read(&*store.blobs().open(&held.checksum).unwrap()), flipped);
}
