//! Bytes that rot on a disk: nothing damaged is published or believed, and what others still have
//! comes back.

use std::fs;
use std::path::Path;

use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::plan::SignedPlan;
use tesseras_core::ports::{
    BlobStore as _, FragmentStore as _, HeldPiece, TesseraRepository as _, Workbench as _,
};
use tesseras_core::progress::silent;
use tesseras_replication::messages::{Attestation, Request, refusal};
use tesseras_replication::publish::PublishError;
use tesseras_replication::status::HealthState;
use tesseras_rpc::calls::Repair;
use tesseras_wire::codec::Refusal;

use crate::network::{MIB, Member, Net};
use crate::reasons::ask;
use crate::stranger::{Goods, NoAnswer, Stranger, blob_path};

/// Flips one bit of a stored object.
fn rot(dir: &Path, hash: &ContentHash) {
    let path = blob_path(dir, hash);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
}

fn rot_if_stored(dir: &Path, hash: &ContentHash) {
    if blob_path(dir, hash).exists() {
        rot(dir, hash);
    }
}

/// Removes the last byte of a stored object.
fn cut_off(dir: &Path, hash: &ContentHash) {
    let file = fs::OpenOptions::new().write(true).open(blob_path(dir, hash)).unwrap();
    file.set_len(file.metadata().unwrap().len() - 1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_capsule_is_never_published_and_creating_it_again_mends_it() {
    let net = Net::of(3).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 2000, 5);
    let record = owner.store.library().get(&hash).unwrap().unwrap();
    let blobs = owner.store.blobs();
    let capsule = tesseras_capsule::StoredCapsule::of_record(&*blobs, &record).unwrap();
    let voice = capsule.files().iter().find(|f| f.path.as_str().ends_with(".wav")).unwrap();
    rot(&owner.dir, &voice.blake3);
    let refused = owner.publish(hash, &keys).await.unwrap_err();
    assert!(matches!(refused, PublishError::Damaged(_)), "{refused}");
    // The same bytes again, hashed on their way in, replace the damaged ones.
    let (other, _) = owner.create(&net.path("album again"), 2000, 5);
    let report = tesseras_capsule::verify_directory(
        &exported(owner, other, &net.path("x")),
        None,
        &tesseras_core::progress::Meter::silent(),
    );
    assert!(report.unwrap().valid);
    assert!(owner.store.check().unwrap().is_sound());
    assert!(blobs.contains(&voice.blake3).unwrap());
    owner.publish(hash, &keys).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parity_that_a_power_cut_spoilt_is_computed_again() {
    let net = Net::of(8).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 4 * MIB, 5);
    let replication = owner.node.replication();
    let plan = replication.draft_plan(hash, &silent()).await.unwrap();
    let pinned = owner.store.workbench().pinned(&hash).unwrap();
    assert_eq!(pinned.len(), 8);
    let pieces = owner.dir.join("tmp/tasks").join(hash.to_string());
    fs::write(pieces.join(pinned[0].to_string()), vec![0; 100]).unwrap();
    let signed = SignedPlan { signatures: keys.sign(&plan), plan };
    let published = replication.publish(hash, signed, &silent()).await.unwrap();
    assert_eq!((published.placed, published.refusals), (24, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_away_for_a_moment_has_lost_nothing() {
    let net = Net::of(1).await;
    let holder = &net.nodes[0];
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(1000, 20));
    stranger.put(&holder.contact(), goods.parcel(Piece::Whole)).await.unwrap();
    let (cas, away) = (holder.dir.join("cas"), holder.dir.join("away"));
    fs::rename(&cas, &away).unwrap();
    fs::create_dir(&cas).unwrap();
    let get = || async { stranger.get(&holder.contact(), goods.tessera, Piece::Whole, 0).await };
    let attested = || attested(&stranger, holder, goods.tessera);
    assert_eq!(get().await.unwrap_err(), Refusal::INTERNAL);
    assert_eq!(attested().await.unwrap_err(), Refusal::INTERNAL);
    fs::remove_dir(&cas).unwrap();
    assert_eq!(get().await.unwrap_err(), Refusal::INTERNAL);
    assert_eq!(attested().await.unwrap_err(), Refusal::INTERNAL);
    fs::rename(&away, &cas).unwrap();
    assert_eq!(attested().await.unwrap(), [Piece::Whole]);
    assert!(get().await.unwrap() == goods.bytes(Piece::Whole));
    assert_eq!(holder.store.fragments().list_sound_fragments(&goods.tessera).unwrap().len(), 1);
}

/// The pieces that a holder attests to a stranger.
async fn attested(
    stranger: &Stranger,
    holder: &Member,
    tessera: TesseraHash,
) -> Result<Vec<Piece>, NoAnswer> {
    let request = Request::Attest { tessera, nonce: [7; 32] };
    let attestation: Attestation = stranger.ask(&holder.contact(), &request, None).await?;
    Ok(attestation.pieces.into_iter().map(|attested| attested.piece).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_whose_file_is_gone_or_cut_off_is_not_attested_and_is_accepted_again() {
    let net = Net::of(1).await;
    let holder = &net.nodes[0];
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(4 * MIB, 20));
    let all = [Piece::Index(0), Piece::Index(1), Piece::Index(2)];
    for piece in all {
        stranger.put(&holder.contact(), goods.parcel(piece)).await.unwrap();
    }
    let attested = || attested(&stranger, holder, goods.tessera);
    assert_eq!(attested().await.unwrap(), all);
    let held = holder.held(goods.tessera);
    fs::remove_file(blob_path(&holder.dir, &held[0].checksum)).unwrap();
    cut_off(&holder.dir, &held[2].checksum);
    assert_eq!(attested().await.unwrap(), [Piece::Index(1)]);
    assert_eq!(holder.store.fragments().count_damaged().unwrap(), 2);
    for piece in [Piece::Index(0), Piece::Index(2)] {
        stranger.put(&holder.contact(), goods.parcel(piece)).await.unwrap();
    }
    assert_eq!(attested().await.unwrap(), all);
    assert!(holder.store.check().unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_whose_file_is_gone_is_not_counted_and_is_replaced_by_repair() {
    for (bytes, seed) in [(2000, 5), (4 * MIB, 6)] {
        let net = Net::of(9).await;
        let owner = &net.nodes[0];
        let (hash, keys) = owner.create(&net.path("album"), bytes, seed);
        owner.publish(hash, &keys).await.unwrap();
        let holder = net.nodes[1..].iter().find(|member| !member.held(hash).is_empty()).unwrap();
        let gone = holder.held(hash).into_iter().find(|held| held.piece != Piece::Whole);
        let gone = gone.unwrap_or_else(|| holder.held(hash).remove(0));
        let counts = async || {
            let placement = owner.health(hash).await.placement;
            placement.get(&holder.contact().id).is_some_and(|held| held.contains(&gone.piece))
        };
        assert!(counts().await);
        fs::remove_file(blob_path(&holder.dir, &gone.checksum)).unwrap();
        assert!(!counts().await);
        let repaired = holder.repair(hash).await;
        assert!(repaired.restored > 0, "{repaired:?}");
        assert!(counts().await);
        assert_eq!(holder.store.fragments().count_damaged().unwrap(), 0);
        assert!(holder.store.check().unwrap().is_sound());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_finds_by_itself_that_the_file_of_a_piece_is_gone() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    fs::remove_file(blob_path(&holder.dir, &holder.held(hash)[0].checksum)).unwrap();
    let repaired = holder.repair(hash).await;
    assert_eq!(repaired.restored, 1, "{repaired:?}");
    assert_eq!(holder.node.replication().replaced_pieces(), 1);
    assert!(holder.store.check().unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_whose_directory_alone_is_gone_is_damaged() {
    let net = Net::of(1).await;
    let holder = &net.nodes[0];
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(1000, 20));
    stranger.put(&holder.contact(), goods.parcel(Piece::Whole)).await.unwrap();
    let checksum = holder.held(goods.tessera)[0].checksum.to_string();
    fs::remove_dir_all(holder.dir.join("cas").join(&checksum[..2])).unwrap();
    let got = stranger.get(&holder.contact(), goods.tessera, Piece::Whole, 0).await;
    assert_eq!(got.err().as_deref(), Some(refusal::NOT_HELD));
    assert_eq!(holder.store.fragments().list_sound_fragments(&goods.tessera).unwrap(), []);
}

fn exported(
    member: &crate::network::Member,
    hash: tesseras_core::ids::TesseraHash,
    to: &Path,
) -> std::path::PathBuf {
    member.export(hash, to);
    let mut entries = fs::read_dir(to).unwrap();
    entries.next().unwrap().unwrap().path()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_whole_copy_rotted_fetches_from_others() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 5 * MIB, 5);
    let want = net.nodes[0].export(hash, &net.path("want"));
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    let whole = holder.held(hash).into_iter().find(|f| f.piece == Piece::Whole).unwrap();
    rot(&holder.dir, &whole.checksum);
    holder.fetch(hash).await.unwrap();
    assert!(holder.export(hash, &net.path("got")) == want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_small_copy_is_replaced_by_a_fetch() {
    let net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    let whole = holder.held(hash).remove(0);
    rot(&holder.dir, &whole.checksum);
    assert!(!holder.store.check().unwrap().is_sound());
    holder.fetch(hash).await.unwrap();
    assert!(holder.store.check().unwrap().is_sound(), "the held piece is mended, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_copy_that_was_cut_off_is_replaced_by_a_fetch() {
    let net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    let whole = holder.held(hash).remove(0);
    cut_off(&holder.dir, &whole.checksum);
    holder.fetch(hash).await.unwrap();
    assert!(holder.store.check().unwrap().is_sound(), "the held piece is mended, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dossier_sent_with_a_piece_replaces_a_rotten_manifest() {
    let net = Net::of(1).await;
    let holder = &net.nodes[0];
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(4 * MIB, 20));
    for piece in [Piece::Index(0), Piece::Index(1)] {
        rot_if_stored(&holder.dir, &goods.tessera.into());
        stranger.put(&holder.contact(), goods.parcel(piece)).await.unwrap();
    }
    assert_eq!(holder.held(goods.tessera).len(), 2);
    assert!(holder.store.check().unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_manifest_hides_no_piece_and_is_mended_by_repair() {
    let net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    let want = net.nodes[0].export(hash, &net.path("want"));
    net.nodes[0].publish(hash, &keys).await.unwrap();
    // One holder lost its pack, the other its MANIFEST: together they still have both.
    let (one, two) = (&net.nodes[1], &net.nodes[2]);
    rot(&one.dir, &one.held(hash)[0].checksum);
    rot(&two.dir, &hash.into());
    one.fetch(hash).await.unwrap();
    assert!(one.export(hash, &net.path("got")) == want);
    two.repair(hash).await;
    assert!(two.store.check().unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_found_rotten_is_no_longer_attested_and_is_accepted_again() {
    let mut net = Net::of(3).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let rotten = net.nodes[1].held(hash).remove(0);
    rot(&net.nodes[1].dir, &rotten.checksum);
    assert!(net.nodes[2].store.fragments().delete_fragment(&rotten).unwrap());
    let reader = net.join().await;
    net.nodes[reader].fetch(hash).await.unwrap_err();
    let health = net.nodes[reader].health(hash).await;
    assert_eq!((health.state, health.live), (HealthState::Unreachable, 0), "{health:?}");
    net.nodes[0].publish(hash, &keys).await.unwrap();
    assert!(net.nodes[1].store.check().unwrap().is_sound());
    net.nodes[reader].fetch(hash).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_capsule_in_the_library_is_mended_by_fetching_it() {
    let net = Net::of(3).await;
    let owner = &net.nodes[0];
    let (hash, keys) = owner.create(&net.path("album"), 2000, 5);
    owner.publish(hash, &keys).await.unwrap();
    rot(&owner.dir, &hash.into());
    assert!(!owner.store.check().unwrap().is_sound());
    assert!(owner.fetch(hash).await.unwrap().holders > 0);
    assert!(owner.store.check().unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_piece_is_replaced_by_repair_though_nothing_is_missing_elsewhere() {
    for (bytes, seed) in [(2000, 5), (4 * MIB, 6)] {
        let net = Net::of(9).await;
        let owner = &net.nodes[0];
        let (hash, keys) = owner.create(&net.path("album"), bytes, seed);
        owner.publish(hash, &keys).await.unwrap();
        let holder = net.nodes[1..].iter().find(|member| !member.held(hash).is_empty()).unwrap();
        let store = holder.store.fragments();
        let rotten = holder.held(hash).remove(0);
        rot(&holder.dir, &rotten.checksum);
        assert!(store.mark_damaged(&rotten).unwrap());
        let repaired = holder.repair(hash).await;
        assert!(repaired.restored > 0, "{repaired:?}");
        assert_eq!(store.count_damaged().unwrap(), 0);
        assert!(holder.store.check().unwrap().is_sound());
        let counted = |member: &Member| member.node.replication().replaced_pieces();
        assert_eq!((counted(holder), counted(owner)), (1, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_asked_for_reads_what_the_node_holds_itself() {
    let net = Net::of(4).await;
    let (hash, keys) = net.nodes[0].create(&net.path("album"), 2000, 5);
    net.nodes[0].publish(hash, &keys).await.unwrap();
    let holder = &net.nodes[1];
    rot(&holder.dir, &holder.held(hash)[0].checksum);
    for hash in [Some(hash), None] {
        let repaired = ask(holder, Repair { hash }).await.unwrap();
        assert_eq!(repaired.restored, u64::from(hash.is_some()), "{repaired:?}");
        assert_eq!(repaired.damaged, u64::from(hash.is_some()), "{repaired:?}");
        assert_eq!(repaired.replaced, repaired.damaged, "{repaired:?}");
    }
    assert!(holder.store.check().unwrap().is_sound());
    assert_eq!(holder.store.fragments().count_damaged().unwrap(), 0);
    rot(&holder.dir, &holder.held(hash)[0].checksum);
    assert_eq!(ask(holder, Repair { hash: None }).await.unwrap().restored, 1);
}

/// Puts a file in the place of an object's directory: opening the object fails, which says nothing
/// about the object.
fn keep_from_being_opened(dir: &Path, hash: &ContentHash) {
    let directory = blob_path(dir, hash).parent().unwrap().to_owned();
    fs::remove_dir_all(&directory).unwrap();
    fs::write(directory, b"in the way").unwrap();
}

/// Whether no other stored object is in the directory of this one.
fn is_alone(dir: &Path, hash: &ContentHash) -> bool {
    fs::read_dir(blob_path(dir, hash).parent().unwrap()).unwrap().count() == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_that_cannot_be_read_keeps_no_other_tessera_from_being_repaired() {
    let net = Net::of(4).await;
    let (owner, holder) = (&net.nodes[0], &net.nodes[1]);
    let mut pieces = Vec::new();
    for seed in [5, 7, 9] {
        let (hash, keys) = owner.create(&net.path(&format!("album {seed}")), 2000, seed);
        owner.publish(hash, &keys).await.unwrap();
        pieces.push((hash, holder.held(hash)[0].checksum));
    }
    let is_alone = |(_, piece): &(_, _)| is_alone(&holder.dir, piece);
    let at = pieces.iter().position(is_alone).expect("256 directories");
    let (unread, piece) = pieces.remove(at);
    keep_from_being_opened(&holder.dir, &piece);
    rot(&holder.dir, &pieces[0].1);
    let repaired = ask(holder, Repair { hash: None }).await.unwrap();
    let counts = (repaired.checked, repaired.restored, repaired.failed);
    assert_eq!(counts, (3, 1, 1), "{repaired:?}");
    assert!(repaired.notes.iter().any(|note| note.contains(&unread.to_string())), "{repaired:?}");
    ask(holder, Repair { hash: Some(unread) }).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_piece_is_recorded_though_another_of_its_tessera_cannot_be_read() {
    let net = Net::of(1).await;
    let holder = &net.nodes[0];
    let (stranger, goods) = (Stranger::at("127.0.100.1"), Goods::make(4 * MIB, 20));
    for piece in [Piece::Index(0), Piece::Index(1), Piece::Index(2)] {
        stranger.put(&holder.contact(), goods.parcel(piece)).await.unwrap();
    }
    let mut held = holder.held(goods.tessera);
    let is_alone = |piece: &HeldPiece| is_alone(&holder.dir, &piece.checksum);
    let at = held.iter().position(is_alone).expect("256 directories");
    keep_from_being_opened(&holder.dir, &held.remove(at).checksum);
    for piece in held {
        rot(&holder.dir, &piece.checksum);
    }
    holder.node.replication().verify_held(goods.tessera).await.unwrap_err();
    assert_eq!(holder.store.fragments().count_damaged().unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_piece_that_does_not_exist_says_nothing_about_the_copy_that_does() {
    let mut net = Net::new();
    let at = net.join().await;
    let holder = &net.nodes[at];
    let stranger = Stranger::at("127.0.100.1");
    for (bytes, seed, absent) in [(5 * MIB, 40, Piece::Index(20)), (100, 20, Piece::Index(0))] {
        let goods = Goods::make(bytes, seed);
        let to = holder.contact();
        stranger.put(&to, goods.parcel(Piece::Whole)).await.unwrap();
        let got = stranger.get(&to, goods.tessera, absent, 0).await;
        assert_eq!(got.unwrap_err(), "not_held");
        assert_eq!(holder.store.fragments().count_damaged().unwrap(), 0);
        stranger.get(&to, goods.tessera, Piece::Whole, 0).await.unwrap();
    }
}
