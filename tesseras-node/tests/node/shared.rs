//! One data directory, several writers: `tes` creates while the node receives.

use tesseras_capsule::verify_stored;
use tesseras_core::code::Piece;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::Meter;

use crate::network::{MIB, Net, assert_tidy, create_in, open};
use crate::stranger::{Goods, Stranger};

const EACH: u8 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn two_libraries_and_a_node_write_to_one_directory_and_lose_nothing() {
    let mut net = Net::new();
    net.join().await;
    let holder = &net.nodes[0];
    let goods = Goods::make(4 * MIB, 20);
    let stranger = Stranger::at("127.0.100.1");
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (dir, albums) = (holder.dir.clone(), net.path("albums"));
            tokio::task::spawn_blocking(move || {
                // As two runs of `tes` would: each with a store of its own, opened every time.
                let create = |n| {
                    let folder = albums.join(format!("{writer}-{n}"));
                    create_in(&open(&dir), &folder, 50_000, 100 + 50 * writer + 2 * n).0
                };
                (0..EACH).map(create).collect::<Vec<_>>()
            })
        })
        .collect();
    for index in 0..24 {
        stranger.put(&holder.contact(), goods.parcel(Piece::Index(index))).await.unwrap();
    }
    let mut hashes = Vec::new();
    for writer in writers {
        hashes.extend(writer.await.unwrap());
    }
    assert_eq!(holder.held(goods.tessera).len(), 24);
    let (library, blobs) = (holder.store.library(), holder.store.blobs());
    assert_eq!(library.list().unwrap().len(), 2 * usize::from(EACH));
    for hash in hashes {
        let report = verify_stored(&*blobs, &*library, &hash, &Meter::silent()).unwrap();
        assert!(report.valid, "{report:?}");
    }
    assert_tidy(&holder.store, &holder.dir).await;
}
