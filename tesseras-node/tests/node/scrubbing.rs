//! The scrub of a node: what rotted on its disk is found, told, and mended from other nodes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::{
    FragmentStore as _, HoldingRepository as _, Origin, TesseraRepository as _,
};
use tesseras_core::publication::PublicationStop;
use tesseras_node::clock;
use tesseras_node::jobs::{Job as _, JobOutcome, ScrubJob};
use tesseras_node::scrub::Scrubber;
use tesseras_rpc::calls::{Scrub, StopPublication};
use tesseras_rpc::messages::{DamagedPart, ScrubReply};
use tesseras_storage::Store;

use crate::network::{MIB, Member, Net, assert_tidy};
use crate::reasons::ask;
use crate::stranger::blob_path;

/// Flips the last bit of a stored object; what it was before.
fn flip(dir: &Path, hash: &ContentHash) -> Vec<u8> {
    let path = blob_path(dir, hash);
    let was = fs::read(&path).unwrap();
    let mut bytes = was.clone();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    was
}

/// A file in a capsule of the library that is no MANIFEST.
pub fn file_of(store: &Store, hash: TesseraHash, suffix: &str) -> ContentHash {
    let record = store.library().get(&hash).unwrap().unwrap();
    let blobs = store.blobs();
    let capsule = tesseras_capsule::StoredCapsule::of_record(&*blobs, &record).unwrap();
    capsule.files().iter().find(|file| file.path.as_str().ends_with(suffix)).unwrap().blake3
}

fn counts(reply: &ScrubReply) -> (u64, u64, u64) {
    (reply.corrupt, reply.repaired, reply.failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_of_a_held_piece_is_found_and_mended_bit_for_bit() {
    for (bytes, seed) in [(2000, 5), (5 * MIB, 6)] {
        let net = Net::of(5).await;
        let owner = &net.nodes[0];
        let (hash, keys) = owner.create(&net.path("album"), bytes, seed);
        owner.publish(hash, &keys).await.unwrap();
        let holder = net.nodes[1..].iter().find(|member| !member.held(hash).is_empty()).unwrap();
        let held = holder.held(hash).remove(0);
        let was = flip(&holder.dir, &held.checksum);
        let found = ask(holder, Scrub {}).await.unwrap();
        assert_eq!(counts(&found), (1, 1, 0), "{found:?}");
        assert_eq!(found.damaged, []);
        let stored = holder.store.object_counts().unwrap();
        assert_eq!((found.checked, found.bytes), (stored.objects, stored.bytes));
        assert!(fs::read(blob_path(&holder.dir, &held.checksum)).unwrap() == was);
        let sound = holder.store.fragments().list_sound_fragments(&hash).unwrap();
        assert!(sound.contains(&held), "it is attested");
        assert!(holder.store.check().unwrap().is_sound());
        assert_eq!(counts(&ask(holder, Scrub {}).await.unwrap()), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_manifest_beside_a_piece_is_mended() {
    let net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    let was = flip(&holder.dir, &hash.into());
    let found = ask(holder, Scrub {}).await.unwrap();
    assert_eq!(counts(&found), (1, 1, 0), "{found:?}");
    assert!(fs::read(blob_path(&holder.dir, &hash.into())).unwrap() == was);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_in_the_library_is_mended_from_the_holders_of_its_capsule() {
    let net = Net::of(4).await;
    let (owner, reader) = (&net.nodes[0], &net.nodes[1]);
    let (hash, keys) = owner.create(&net.path("album"), 2000, 5);
    owner.publish(hash, &keys).await.unwrap();
    reader.fetch(hash).await.unwrap();
    for (member, origin) in [(owner, Origin::Created), (reader, Origin::Fetched)] {
        let voice = file_of(&member.store, hash, ".wav");
        let was = flip(&member.dir, &voice);
        let found = ask(member, Scrub {}).await.unwrap();
        assert_eq!(counts(&found), (1, 1, 0), "{found:?}");
        assert!(fs::read(blob_path(&member.dir, &voice)).unwrap() == was);
        assert_eq!(member.store.library().get(&hash).unwrap().unwrap().origin, origin);
        assert!(member.store.check().unwrap().is_sound());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_else_has_stays_damaged_and_is_named() {
    let net = Net::of(3).await;
    let owner = &net.nodes[0];
    let (hash, _) = owner.create(&net.path("album"), 2000, 5);
    let voice = file_of(&owner.store, hash, ".wav");
    flip(&owner.dir, &voice);
    let found = ask(owner, Scrub {}).await.unwrap();
    assert_eq!(counts(&found), (1, 0, 0), "{found:?}");
    let [damaged] = &found.damaged[..] else { panic!("{found:?}") };
    assert_eq!(damaged.path, blob_path(&owner.dir, &voice).display().to_string());
    assert_eq!((damaged.of[0].hash, damaged.of[0].part), (hash, DamagedPart::Capsule));
    assert!(found.notes.iter().any(|note| note.contains("never published")), "{found:?}");
    assert!(Path::new(&damaged.path).exists(), "it is left for whoever wants to look");
}

fn job(member: &Member, period: Duration) -> ScrubJob {
    let registry = prometheus::Registry::new();
    ScrubJob {
        scrubber: Scrubber::new(&member.store, member.node.replication(), &registry).unwrap(),
        period,
        clock: clock::system(),
        mended: Default::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrub_in_the_background_finds_and_mends_and_reads_nothing_twice() {
    let net = Net::of(4).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 2000, 5);
    owner.publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    let stored = holder.store.object_counts().unwrap();
    // It takes its time: with a long period, nothing is due yet.
    let outcome = job(holder, Duration::from_secs(1 << 40)).run().await;
    let nothing = JobOutcome::Scrubbed { objects: 0, bytes: 0, damaged: 0 };
    assert_eq!(outcome, nothing);
    let begun = holder.store.scrub_round().unwrap().unwrap();
    assert_eq!((begun.after, begun.complete), (None, false));
    let held = holder.held(hash).remove(0);
    let was = flip(&holder.dir, &held.checksum);
    let all = job(holder, Duration::ZERO).run().await;
    let JobOutcome::Scrubbed { objects, .. } = all else { panic!("{all:?}") };
    assert_eq!(objects, stored.objects);
    assert!(holder.store.scrub_round().unwrap().unwrap().complete);
    // The repair of what is damaged here waits for its bandwidth, and nothing else.
    holder.repair(hash).await;
    assert!(fs::read(blob_path(&holder.dir, &held.checksum)).unwrap() == was);
    assert_eq!(job(holder, Duration::from_secs(1 << 40)).run().await, nothing);
    assert_eq!(held.piece, Piece::Whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scrub_in_the_background_goes_on_where_it_was() {
    let net = Net::of(1).await;
    let member = &net.nodes[0];
    let (hash, _) = member.create(&net.path("album"), 2000, 5);
    let stored = member.store.object_counts().unwrap();
    let (mut walk, mut objects) = (member.store.scrub(None), 0);
    while objects < 3 {
        objects += walk.step(1).unwrap().objects;
    }
    let begun = clock::system().now();
    let after = walk.position();
    let round = tesseras_storage::ScrubRound { begun, after, bytes: 10, complete: false };
    member.store.save_scrub_round(&round).unwrap();
    let outcome = job(member, Duration::ZERO).run().await;
    let JobOutcome::Scrubbed { objects, damaged, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((objects, damaged), (stored.objects - 3, 0));
    // What stays damaged is told again and again.
    flip(&member.dir, &file_of(&member.store, hash, ".wav"));
    for _ in 0..2 {
        let outcome = job(member, Duration::ZERO).run().await;
        assert!(matches!(outcome, JobOutcome::Scrubbed { damaged: 1, .. }), "{outcome:?}");
        assert!(outcome.is_trouble());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_while_it_waits_to_be_mended_stays_gone() {
    let net = Net::of(4).await;
    let (owner, reader) = (&net.nodes[0], &net.nodes[1]);
    let mut hashes = Vec::new();
    for seed in 5..15 {
        let (hash, keys) = owner.create(&net.path(&format!("album{seed}")), 200_000, seed);
        owner.publish(hash, &keys).await.unwrap();
        reader.fetch(hash).await.unwrap();
        hashes.push(hash);
    }
    // They are mended in the order of their hashes.
    hashes.sort_unstable();
    let (first, last) = (hashes[0], hashes[9]);
    let voice = file_of(&reader.store, first, ".wav");
    let was = flip(&reader.dir, &voice);
    hashes[1..]
        .iter()
        .for_each(|hash| drop(flip(&reader.dir, &file_of(&reader.store, *hash, ".wav"))));
    let path = blob_path(&reader.dir, &voice);
    let dropping = async {
        while fs::read(&path).unwrap() != was {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ask(reader, StopPublication { hash: last, how: PublicationStop::Drop }).await.unwrap();
        reader.drop_tessera(last);
    };
    let (scrubbed, ()) = tokio::join!(ask(reader, Scrub {}), dropping);
    assert!(scrubbed.unwrap().repaired > 0);
    assert_eq!(reader.store.library().get(&last).unwrap(), None);
    assert!(reader.store.holdings().is_blocked(&last).unwrap());
    assert_tidy(&reader.store, &reader.dir).await;
}
