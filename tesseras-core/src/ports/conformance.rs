//! The requirements on every implementation of a port, as functions that assert them. Each takes
//! new, empty ports and panics with a reason. The core has no hash function, so BLAKE3 is passed
//! in.

use std::ops::Range;

use super::{
    Account, BlobReader, BlobStore, Charge, FragmentStore, HeldPiece, HintBy, HoldingRepository,
    KnownHolder, NewTessera, Origin, PeerAt, PeerRepository, PlacedPiece, ReciprocityLedger,
    RepairReason, RepairRecord, StagedBlob, StoreError, TesseraRecord, TesseraRepository, Usage,
    Workbench,
};
use crate::code::Piece;
use crate::contact::{Contact, Subnet};
use crate::dossier::Dossier;
use crate::ids::{ContentHash, CreatorId, NodeId, TesseraHash};
use crate::publication::{Publication, PublicationEvent};
use crate::signature::SignaturePair;
use crate::time::Timestamp;

/// BLAKE3-256.
pub type Hash = fn(&[u8]) -> ContentHash;

/// Some bytes that differ for each seed.
fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ seed).collect()
}

fn stage(blobs: &dyn BlobStore, bytes: &[u8]) -> StagedBlob {
    let mut writer = blobs.stage().expect("a blob is begun");
    for chunk in bytes.chunks(1000) {
        writer.write(chunk).expect("bytes are taken");
    }
    writer.finish().expect("a blob is ended")
}

fn read_all(reader: &dyn BlobReader) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(reader.bytes()).expect("a small object")];
    reader.read_at(0, &mut bytes).expect("all of it is read");
    bytes
}

fn assert_missing<T>(outcome: Result<T, StoreError>, hash: &ContentHash) {
    match outcome {
        Err(StoreError::Missing(named)) => assert_eq!(named, *hash, "another object is missing"),
        Err(other) => panic!("expected it to be missing, got: {other}"),
        Ok(_) => panic!("expected it to be missing, got it"),
    }
}

fn tessera(seed: u8) -> TesseraHash {
    TesseraHash::new([seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId::new([seed; 20])
}

fn subnet(seed: u8) -> Subnet {
    Subnet::V4([10, 0, seed])
}

fn fragment(hash: Hash, tessera: TesseraHash, piece: Piece, bytes: &[u8]) -> HeldPiece {
    HeldPiece { tessera, piece, checksum: hash(bytes), bytes: bytes.len() as u64 }
}

fn signatures(seed: u8) -> SignaturePair {
    SignaturePair { ed25519: vec![seed; 64], ml_dsa_65: vec![seed; 3309] }
}

/// [`BlobStore`], as far as possible without a repository that adopts.
pub fn blob_store(blobs: &dyn BlobStore, hash: Hash) {
    for bytes in [content(1, 0), content(2, 1), content(3, 300_000)] {
        let staged = stage(blobs, &bytes);
        assert_eq!(staged.hash, hash(&bytes), "the hash is BLAKE3 of the bytes");
        assert_eq!(staged.bytes, bytes.len() as u64, "the length is counted");
        let named = staged.hash;
        assert!(!blobs.contains(&named).expect("asked"), "what is staged is not stored");
        assert_missing(blobs.open(&named), &named);
        blobs.discard(staged);
    }
    let one = stage(blobs, b"twice");
    let two = stage(blobs, b"twice");
    assert_ne!(one.name, two.name, "each staged blob has a name of its own");
    blobs.discard(one);
    blobs.discard(two);
    assert!(blobs.free_space().expect("asked").check([1], 0).is_ok(), "there is room");
}

/// [`FragmentStore`], with the [`BlobStore`] that stages for it.
pub fn fragment_store(fragments: &dyn FragmentStore, blobs: &dyn BlobStore, hash: Hash) {
    let charge = Charge::Peer(PeerAt { id: node(1), subnet: subnet(1) });
    let bytes: Vec<Vec<u8>> = (0..4).map(|i| content(i, 5000 + usize::from(i))).collect();
    let held: Vec<HeldPiece> = vec![
        fragment(hash, tessera(1), Piece::Whole, &bytes[0]),
        fragment(hash, tessera(1), Piece::Index(0), &bytes[1]),
        fragment(hash, tessera(1), Piece::Index(71), &bytes[2]),
        fragment(hash, tessera(2), Piece::Index(3), &bytes[3]),
        // Equal content under another key.
        fragment(hash, tessera(3), Piece::Index(9), &bytes[1]),
    ];
    let bytes_of = |f: &HeldPiece| bytes.iter().find(|b| hash(b) == f.checksum).expect("known");
    assert_eq!(fragments.totals().expect("asked"), (0, 0), "the store must be empty at first");

    for fragment in held.iter().rev() {
        assert_missing(fragments.read_fragment(fragment), &fragment.checksum);
        assert!(!fragments.delete_fragment(fragment).expect("asked"), "it was not held");
        let staged = stage(blobs, bytes_of(fragment));
        fragments.store_fragment(fragment, staged, &charge).expect("it is stored");
    }
    for fragment in &held {
        let reader = fragments.read_fragment(fragment).expect("it is held");
        assert_eq!(&read_all(&*reader), bytes_of(fragment), "the bytes come back");
        ranges(&*reader, bytes_of(fragment));
        assert!(blobs.contains(&fragment.checksum).expect("asked"), "its object is stored");
    }
    let sum = held.iter().map(|f| f.bytes).sum();
    assert_eq!(fragments.totals().expect("asked"), (5, sum), "equal content counts twice");
    let listed = fragments.list_fragments(&tessera(1)).expect("asked");
    assert_eq!(listed, held[..3], "the whole first, then by index");
    assert_eq!(fragments.list_fragments(&tessera(9)).expect("asked"), []);

    fragment_refusals(fragments, blobs, hash, &held, &bytes);
    fragment_damage(fragments, blobs, &held, &bytes);
    held_pages(fragments);

    // One of two equal contents is deleted; the other keeps its bytes.
    assert!(fragments.delete_fragment(&held[4]).expect("asked"), "it was held");
    assert!(!fragments.delete_fragment(&held[4]).expect("asked"), "it is gone");
    assert_missing(fragments.read_fragment(&held[4]), &held[4].checksum);
    let reader = fragments.read_fragment(&held[1]).expect("the other one is held");
    assert_eq!(&read_all(&*reader), &bytes[1]);
    for fragment in &held[..4] {
        assert!(fragments.delete_fragment(fragment).expect("asked"), "it was held");
        assert!(!blobs.contains(&fragment.checksum).expect("asked"), "its object is gone");
    }
    // A reader can still read deleted bytes.
    assert_eq!(&read_all(&*reader), &bytes[1]);
    assert_eq!(fragments.totals().expect("asked"), (0, 0));
}

fn ranges(reader: &dyn BlobReader, bytes: &[u8]) {
    let length = bytes.len();
    for (start, end) in [(0, 1), (17, 1234), (length - 1, length), (length, length)] {
        let mut buffer = vec![0; end - start];
        reader.read_at(start as u64, &mut buffer).expect("the range lies in it");
        assert_eq!(buffer, bytes[start..end]);
    }
    for (offset, wanted) in [(0, length + 1), (length as u64, 1), (u64::MAX, 1)] {
        let outcome = reader.read_at(offset, &mut vec![0; wanted]);
        assert!(matches!(outcome, Err(StoreError::OutOfRange { .. })), "{outcome:?}");
    }
    chunks(reader, bytes);
}

fn chunks(reader: &dyn BlobReader, bytes: &[u8]) {
    let length = bytes.len();
    for limit in [1, 1234, length - 1, length, usize::MAX] {
        let (mut at, mut found) = (0, Vec::new());
        while found.len() < length {
            let chunk = reader.read_chunk(at, limit).expect("there is more");
            assert_eq!(chunk.len(), limit.min(length - found.len()), "as much as is asked for");
            at += chunk.len() as u64;
            found.extend_from_slice(&chunk);
        }
        assert_eq!(found, bytes);
    }
    for (offset, limit) in [(0, 0), (length as u64, 10)] {
        assert!(reader.read_chunk(offset, limit).expect("it lies in it").is_empty());
    }
    for offset in [length as u64 + 1, u64::MAX] {
        let outcome = reader.read_chunk(offset, 1);
        assert!(matches!(outcome, Err(StoreError::OutOfRange { .. })), "{outcome:?}");
    }
}

fn fragment_damage(
    fragments: &dyn FragmentStore,
    blobs: &dyn BlobStore,
    held: &[HeldPiece],
    bytes: &[Vec<u8>],
) {
    let listed = || {
        let sound = fragments.list_sound_fragments(&tessera(1)).expect("asked");
        let attestable = fragments.list_attestable_fragments(&tessera(1)).expect("asked");
        assert_eq!(attestable, sound, "the bytes of each are there");
        (sound, fragments.count_damaged().expect("asked"))
    };
    assert_eq!(listed(), (held[..3].to_vec(), 0));
    let unknown = HeldPiece { piece: Piece::Index(70), ..held[1] };
    assert!(!fragments.mark_damaged(&unknown).expect("asked"), "it is not held");
    // Its bytes are also those of another piece.
    assert!(fragments.mark_damaged(&held[1]).expect("asked"), "it is held");
    assert_eq!(listed(), (vec![held[0], held[2]], 2));
    assert_eq!(fragments.list_sound_fragments(&tessera(3)).expect("asked"), []);
    assert_eq!(fragments.list_fragments(&tessera(1)).expect("asked"), held[..3], "still held");
    let again = stage(blobs, &bytes[1]);
    fragments.store_fragment(&held[1], again, &repair(1, 1)).expect("it is stored again");
    assert_eq!(listed(), (held[..3].to_vec(), 0));
}

fn fragment_refusals(
    fragments: &dyn FragmentStore,
    blobs: &dyn BlobStore,
    hash: Hash,
    held: &[HeldPiece],
    bytes: &[Vec<u8>],
) {
    let totals = fragments.totals().expect("asked");
    let again = stage(blobs, &bytes[0]);
    fragments.store_fragment(&held[0], again, &repair(1, 1)).expect("it is held already");

    let other = content(77, 5000);
    let lies = [
        // Other bytes than given in the plan; another length.
        HeldPiece {
            checksum: hash(b"promised"),
            ..fragment(hash, tessera(4), Piece::Whole, &other)
        },
        HeldPiece { bytes: 4999, ..fragment(hash, tessera(4), Piece::Whole, &other) },
        // Other bytes in the place of a held piece.
        fragment(hash, tessera(1), Piece::Whole, &other),
    ];
    for lie in &lies {
        let outcome = fragments.store_fragment(lie, stage(blobs, &other), &repair(1, 1));
        assert!(matches!(outcome, Err(StoreError::Mismatch { .. })), "{outcome:?}");
        assert_missing(fragments.read_fragment(lie), &lie.checksum);
        assert!(!fragments.delete_fragment(lie).expect("asked"), "it is not held");
    }
    assert!(!blobs.contains(&hash(&other)).expect("asked"), "what was refused is not stored");
    assert_eq!(fragments.totals().expect("asked"), totals, "nothing changed");
    let reader = fragments.read_fragment(&held[0]).expect("it is held as before");
    assert_eq!(read_all(&*reader), bytes[0]);
}

fn held_pages(fragments: &dyn FragmentStore) {
    let page = |after: Option<u8>, limit| {
        fragments.held_tesserae(after.map(tessera).as_ref(), limit).expect("asked")
    };
    assert_eq!(page(None, 10), [tessera(1), tessera(2), tessera(3)], "each once, in byte order");
    assert_eq!(page(None, 2), [tessera(1), tessera(2)]);
    assert_eq!(page(Some(2), 2), [tessera(3)]);
    assert_eq!(page(Some(3), 2), []);
    assert_eq!(page(None, 0), []);
}

/// [`TesseraRepository`], with the [`BlobStore`] that stages for it.
pub fn tessera_repository(library: &dyn TesseraRepository, blobs: &dyn BlobStore, hash: Hash) {
    let (first, second) = (content(1, 3000), content(2, 4000));
    let (photo, letter) = (content(3, 70_000), content(4, 10));
    let record = |manifest: &[u8], added, origin| TesseraRecord {
        hash: hash(manifest).into(),
        title: "Grandmother's garden \u{1f33b}".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        creator: CreatorId::new([7; 32]),
        memories: 2,
        files: 9,
        bytes: 73_010,
        signatures: signatures(5),
        origin,
        added: Timestamp(added),
    };
    let one = record(&first, 100, Origin::Created);
    let two = record(&second, 200, Origin::Fetched);
    let add = |record: &TesseraRecord, content: &[&Vec<u8>], staged: &[&Vec<u8>]| {
        library.add(NewTessera {
            record: record.clone(),
            content: content.iter().map(|b| hash(b)).collect(),
            staged: staged.iter().map(|b| stage(blobs, b)).collect(),
        })
    };
    assert_eq!(library.list().expect("asked"), [], "the library must be empty at first");

    // Something is missing: nothing is changed.
    assert_missing(add(&one, &[&first, &photo, &letter], &[&first, &photo]), &hash(&letter));
    assert_eq!(library.get(&one.hash).expect("asked"), None);
    for bytes in [&first, &photo] {
        assert!(!blobs.contains(&hash(bytes)).expect("asked"), "all or nothing");
    }

    // The same photo twice, and once more under the next capsule's name.
    assert!(add(&one, &[&first, &photo, &letter], &[&first, &photo, &photo, &letter]).expect("ok"));
    assert!(add(&two, &[&second, &photo], &[&second]).expect("the photo is stored already"));
    assert!(!add(&one, &[&first, &photo, &letter], &[&first, &photo, &letter]).expect("ok"));
    assert_eq!(library.get(&one.hash).expect("asked").as_ref(), Some(&one));
    assert_eq!(library.list().expect("asked"), [two.clone(), one.clone()], "newest first");
    let reader = blobs.open(&hash(&photo)).expect("the photo is stored");
    assert_eq!(read_all(&*reader), photo);
    prefixes(library, &[one.hash, two.hash]);

    assert_eq!(library.remove(&one.hash).expect("asked").as_ref(), Some(&one));
    assert_eq!(library.remove(&one.hash).expect("asked"), None, "it is gone");
    assert_eq!(library.get(&one.hash).expect("asked"), None);
    for (bytes, stays) in [(&first, false), (&letter, false), (&photo, true), (&second, true)] {
        assert_eq!(blobs.contains(&hash(bytes)).expect("asked"), stays, "what is named stays");
    }
    assert_eq!(library.remove(&two.hash).expect("asked").as_ref(), Some(&two));
    assert!(!blobs.contains(&hash(&photo)).expect("asked"), "nothing names it any more");
    assert_eq!(library.list().expect("asked"), []);
}

fn prefixes(library: &dyn TesseraRepository, hashes: &[TesseraHash]) {
    for hash in hashes {
        let text = hash.to_string();
        for length in [4, 5, 16, 64] {
            let found = library.find(&text[..length], 10).expect("asked");
            assert_eq!(found, [*hash], "{}", &text[..length]);
        }
    }
    let mut all = hashes.to_vec();
    all.sort_unstable();
    assert_eq!(library.find("", 10).expect("asked"), all, "every hash begins with nothing");
    assert_eq!(library.find("", 1).expect("asked").len(), 1, "the limit is kept");
    for none in ["xyz", "0000000000", &"f".repeat(65)] {
        assert_eq!(library.find(none, 10).expect("asked"), [], "{none}");
    }
}

/// [`HoldingRepository`], with the [`BlobStore`] behind it and the [`TesseraRepository`] beside it.
pub fn holding_repository(
    holdings: &dyn HoldingRepository,
    library: &dyn TesseraRepository,
    blobs: &dyn BlobStore,
    hash: Hash,
) {
    let dossier = Dossier {
        manifest: content(1, 200_000),
        manifest_signatures: signatures(1),
        ed25519_pem: content(2, 113),
        ml_dsa_65_pem: content(3, 2700),
        plan: content(4, 3000),
        plan_signatures: signatures(2),
    };
    let name = TesseraHash::from(hash(&dossier.manifest));
    assert_eq!(holdings.dossier(&name).expect("asked"), None);
    assert_eq!(holdings.plan(&name).expect("asked"), None);
    assert!(holdings.put_dossier(&name, &dossier).expect("it is kept"));
    assert!(holdings.put_dossier(&name, &dossier).expect("it is kept already"));
    let rival = Dossier { plan: content(5, 3000), ..dossier.clone() };
    assert!(!holdings.put_dossier(&name, &rival).expect("asked"), "the first plan stays");
    assert_eq!(holdings.dossier(&name).expect("asked").as_ref(), Some(&dossier));
    assert_eq!(holdings.plan(&name).expect("asked").as_ref(), Some(&dossier.plan));
    let wrong = holdings.put_dossier(&tessera(1), &dossier);
    assert!(matches!(wrong, Err(StoreError::Mismatch { .. })), "{wrong:?}");

    publications(holdings, &name);
    holders(holdings, &name);
    placements(holdings, &name);
    repairs(holdings, &name);

    assert!(!holdings.is_blocked(&name).expect("asked"));
    holdings.block(&name, Timestamp(5)).expect("it is kept out");
    holdings.block(&name, Timestamp(6)).expect("it is kept out already");
    assert!(holdings.is_blocked(&name).expect("asked"));
    assert_eq!(holdings.dossier(&name).expect("asked"), None);
    assert_eq!(holdings.publication(&name).expect("asked"), Publication::default());
    assert_eq!(holdings.list_publications().expect("asked"), []);
    assert_eq!(holdings.known_holders(&name).expect("asked"), []);
    assert_eq!(holdings.placements(&name).expect("asked"), []);
    assert_eq!(holdings.last_repair(&name).expect("asked"), None);
    assert!(!blobs.contains(&name.into()).expect("asked"), "nothing names the MANIFEST now");
    let kept = holdings.put_dossier(&name, &dossier);
    assert!(matches!(kept, Err(StoreError::Blocked(of)) if of == name), "{kept:?}");
    assert!(!blobs.contains(&name.into()).expect("asked"), "nothing was stored");
    library.unblock(&name).expect("it is let in");
    library.unblock(&name).expect("it is in already");
    assert!(!holdings.is_blocked(&name).expect("asked"));
    assert!(holdings.put_dossier(&name, &dossier).expect("it is kept again"));
    let wanted = PublicationEvent::Wanted;
    let noted = holdings.note_publication_unless_dropped(&name, wanted).expect("asked");
    assert_eq!(noted, None, "it is not in the library");
    assert_eq!(holdings.list_publications().expect("asked"), []);
    holdings.block(&name, Timestamp(7)).expect("it is kept out");
}

fn publications(holdings: &dyn HoldingRepository, name: &TesseraHash) {
    let known = || holdings.publication(name).expect("asked");
    let list = || holdings.list_publications().expect("asked");
    assert_eq!(known(), Publication::default(), "a dossier alone publishes nothing");
    assert_eq!(list(), []);
    let mut expected = Publication::default();
    for event in [
        PublicationEvent::Confirmed,
        PublicationEvent::Wanted,
        PublicationEvent::Told,
        PublicationEvent::Wanted,
        PublicationEvent::Published,
        PublicationEvent::Untold,
        PublicationEvent::Stopped,
    ] {
        expected = expected.after(event);
        assert_eq!(holdings.note_publication(name, event).expect("it is noted"), expected);
        assert_eq!(known(), expected);
        assert_eq!(list(), [(*name, expected)]);
    }
}

fn contact(number: u16) -> Contact {
    let mut id = [0; 20];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let [high, low] = number.to_be_bytes();
    let addresses =
        vec![([10, 1, high, low], 4000).into(), ([0, 1, 2, 3, 4, 5, 6, number], 9).into()];
    Contact { id: NodeId::new(id), addresses }
}

fn holders(holdings: &dyn HoldingRepository, name: &TesseraHash) {
    let all = || holdings.known_holders(name).expect("asked");
    let known = || all().into_iter().map(|known| known.contact).collect::<Vec<_>>();
    let remember = |contacts: &[Contact], now| {
        holdings.remember_holders(name, contacts, Timestamp(now)).expect("they are remembered");
    };
    assert_eq!(known(), []);
    remember(&[contact(1), contact(2)], 10);
    remember(&[contact(3)], 20);
    let moved = Contact { addresses: contact(9).addresses, ..contact(1) };
    remember(std::slice::from_ref(&moved), 30);
    assert_eq!(known(), [moved, contact(3), contact(2)], "last seen first, at its last address");
    remember(&[contact(2)], 5);
    assert_eq!(known()[2], contact(2), "old news changes nothing");
    let seen: Vec<_> = all().iter().map(|known| known.seen).collect();
    assert_eq!(seen, [30, 20, 10].map(|seen| Some(Timestamp(seen))));
    let many: Vec<Contact> = (100..356).map(contact).collect();
    remember(&many, 40);
    assert_eq!(known(), many, "256 are remembered, the oldest go");
    remember(&[contact(1)], 50);
    assert_eq!((known().len(), known()[0].id), (256, contact(1).id));
    assert_eq!(holdings.known_holders(&tessera(1)).expect("asked"), [], "each tessera has its own");
    hints(holdings);
    dates_in_the_future(holdings);
}

/// The numbers of these contacts.
fn contacts(numbers: Range<u16>) -> Vec<Contact> {
    numbers.map(contact).collect()
}

/// Who is only named does not count as seen, and displaces nobody who does.
fn hints(holdings: &dyn HoldingRepository) {
    let name = tessera(3);
    let known = || holdings.known_holders(&name).expect("asked");
    let count = |range: Range<u16>| {
        let among = |known: &KnownHolder| contacts(range.clone()).contains(&known.contact);
        known().iter().filter(|known| among(known)).count()
    };
    let hint = |numbers, by, now| {
        holdings.note_hints(&name, &contacts(numbers), by, Timestamp(now)).expect("noted");
    };
    let seen = |numbers, now| {
        let seen = contacts(numbers);
        holdings.remember_holders(&name, &seen, Timestamp(now)).expect("they are remembered");
    };
    seen(0..1, 50);
    let moved = Contact { addresses: contact(9).addresses, ..contact(0) };
    holdings.note_hints(&name, &[moved], HintBy::Placer, Timestamp(100)).expect("noted");
    hint(1000..1100, HintBy::Stranger, 100);
    hint(1100..1200, HintBy::Stranger, 100);
    assert_eq!((count(1000..1200), count(1000..1000 + 32)), (32, 32), "the first ones stay");
    assert_eq!(known()[0], KnownHolder { contact: contact(0), seen: Some(Timestamp(50)) });
    assert!(known()[1..].iter().all(|known| known.seen.is_none()), "nobody else was seen");
    hint(1020..1140, HintBy::Placer, 100);
    assert_eq!((count(1020..1140), count(1000..1020)), (120, 8), "what the placer names stays");
    assert_eq!(known()[1].contact, contact(1020), "and comes first");
    hint(2000..2128, HintBy::Placer, 110);
    assert_eq!((count(2000..2128), known().len()), (128, 129));
    hint(1000..1010, HintBy::Stranger, 100);
    assert_eq!(count(1000..1010), 0, "there is no room");
    seen(2000..2001, 101);
    assert_eq!(known()[0], KnownHolder { contact: contact(2000), seen: Some(Timestamp(101)) });
    seen(3000..3255, 102);
    assert_eq!((known().len(), count(3000..3255)), (256, 255), "hints go first");
    seen(4000..4001, 100 + 31 * 86_400);
    assert_eq!(known().len(), 1, "the rest was not seen for 30 days");
}

/// The clock was wrong when these were recorded.
fn dates_in_the_future(holdings: &dyn HoldingRepository) {
    let name = tessera(4);
    let known = || holdings.known_holders(&name).expect("asked");
    let seen = |numbers, now| {
        let seen = contacts(numbers);
        holdings.remember_holders(&name, &seen, Timestamp(now)).expect("they are remembered");
    };
    let year = 365 * 86_400;
    seen(1..3, 3 * year);
    seen(3..4, year + 900);
    seen(1..2, year);
    let dates: Vec<_> = known().iter().map(|k| (k.contact.clone(), k.seen)).collect();
    let date = |number, seen: Option<u64>| (contact(number), seen.map(Timestamp));
    assert_eq!(dates, [date(3, Some(year + 900)), date(1, Some(year)), date(2, None)]);
    seen(4..5, year + 31 * 86_400);
    assert_eq!(known().len(), 1);
}

fn repairs(holdings: &dyn HoldingRepository, name: &TesseraHash) {
    let last = || holdings.last_repair(name).expect("asked");
    assert_eq!(last(), None);
    for (number, reason) in [
        (1, None),
        (2, Some(RepairReason::Asked)),
        (3, Some(RepairReason::Endangered)),
        (4, Some(RepairReason::Turn)),
    ] {
        let at = Timestamp(number.into());
        let (by, pieces, silent) = (node(number), number.into(), 2 * u64::from(number));
        let repair = RepairRecord { by, at, pieces, silent, reason };
        holdings.record_repair(name, &repair).expect("it is recorded");
        assert_eq!(last(), Some(repair), "the last one counts");
    }
    assert_eq!(holdings.last_repair(&tessera(1)).expect("asked"), None, "each has its own");
}

fn placements(holdings: &dyn HoldingRepository, name: &TesseraHash) {
    let placed = |piece, holder, bytes| PlacedPiece { piece, holder: node(holder), bytes };
    let all = [
        placed(Piece::Whole, 3, 10),
        placed(Piece::Index(0), 2, 7),
        placed(Piece::Index(0), 4, 7),
        placed(Piece::Index(10), 1, 7),
    ];
    for piece in all.iter().rev() {
        for _ in 0..2 {
            holdings.record_placement(name, piece, Timestamp(1)).expect("it is recorded");
        }
    }
    assert_eq!(holdings.placements(name).expect("asked"), all, "each once, in order");
    holdings.forget_placement(name, &all[1]).expect("it is forgotten");
    holdings.forget_placement(name, &all[1]).expect("it is forgotten already");
    assert_eq!(holdings.placements(name).expect("asked"), [all[0], all[2], all[3]]);
}

fn peer_at(id: u8, near: u8) -> PeerAt {
    PeerAt { id: node(id), subnet: subnet(near) }
}

fn repair(id: u8, near: u8) -> Charge {
    Charge::Repair(peer_at(id, near))
}

/// [`ReciprocityLedger`], with the ports whose operations it counts.
pub fn reciprocity_ledger(
    ledger: &dyn ReciprocityLedger,
    fragments: &dyn FragmentStore,
    holdings: &dyn HoldingRepository,
    blobs: &dyn BlobStore,
    hash: Hash,
) {
    let account = |peer| ledger.account(&node(peer)).expect("asked");
    let usage = |near| ledger.usage(&peer_at(9, near)).expect("asked");
    assert_eq!(account(1), Account::default());
    assert_eq!(usage(1), Usage::default());

    let store = |index: u8, length: usize, charge: Charge| {
        let bytes = content(index, length);
        let fragment = fragment(hash, tessera(1), Piece::Index(index), &bytes);
        fragments.store_fragment(&fragment, stage(blobs, &bytes), &charge).expect("it is stored");
        fragment
    };
    let peer = |id, near| Charge::Peer(peer_at(id, near));
    let first = store(0, 100, peer(1, 1));
    store(1, 50, peer(1, 2));
    store(2, 30, peer(2, 1));
    store(3, 900, repair(3, 8));
    store(4, 100, repair(3, 9));
    let has_placed = |peer, of| ledger.has_placed(&node(peer), &tessera(of)).expect("asked");
    assert!(has_placed(1, 1) && has_placed(2, 1) && has_placed(3, 1));
    assert!(!has_placed(9, 1) && !has_placed(1, 2));
    let indebted = |indebted, indebted_in_subnet| Usage {
        total: 1180,
        repair: 1000,
        indebted,
        indebted_in_subnet,
        ..Usage::default()
    };
    parts_of_repairs(ledger);
    assert_eq!(account(1), Account { stored_for: 150, stored_by: 0 });
    let each = [usage(1), usage(2), usage(3)];
    assert_eq!(each, [indebted(180, 130), indebted(180, 50), indebted(180, 0)]);

    let place = |holder, bytes| {
        let placed = PlacedPiece { piece: Piece::Whole, holder: node(holder), bytes };
        holdings.record_placement(&tessera(2), &placed, Timestamp(1)).expect("it is recorded");
        placed
    };
    place(1, 150);
    assert!(!account(1).is_positive(), "even is not positive");
    assert_eq!(usage(1), indebted(180, 130));
    let more = place(1, 151);
    assert_eq!(account(1), Account { stored_for: 150, stored_by: 151 });
    assert_eq!((usage(1), usage(2)), (indebted(30, 30), indebted(30, 0)));
    place(9, 500);
    assert_eq!(account(9), Account { stored_for: 0, stored_by: 500 });

    holdings.forget_placement(&tessera(2), &more).expect("it is forgotten");
    assert_eq!(usage(1), indebted(180, 130));
    assert!(fragments.delete_fragment(&first).expect("asked"));
    assert_eq!(account(1), Account { stored_for: 50, stored_by: 0 });
    assert_eq!(usage(1), Usage { total: 1080, ..indebted(80, 30) });
    dossiers_are_charged(ledger, fragments, holdings, blobs, hash);
}

/// A dossier counts on the account of the first piece of its tessera.
fn dossiers_are_charged(
    ledger: &dyn ReciprocityLedger,
    fragments: &dyn FragmentStore,
    holdings: &dyn HoldingRepository,
    blobs: &dyn BlobStore,
    hash: Hash,
) {
    let stored_for = |peer| ledger.account(&node(peer)).expect("asked").stored_for;
    let usage = || ledger.usage(&peer_at(9, 9)).expect("asked");
    let (before, (_, held)) = (usage(), fragments.totals().expect("asked"));
    let is_confirmed = |name: &TesseraHash| holdings.publication(name).expect("asked").confirmed;
    for (number, charge) in [(10, Charge::Peer(peer_at(20, 1))), (11, repair(21, 1))] {
        let dossier = dossier(number);
        let name = TesseraHash::from(hash(&dossier.manifest));
        holdings.put_dossier(&name, &dossier).expect("it is kept");
        let is_repair = matches!(charge, Charge::Repair(_));
        for (index, charge) in [(0, charge), (1, Charge::Peer(peer_at(22, 1)))] {
            let bytes = content(number + 100 + index, 10);
            let held = fragment(hash, name, Piece::Index(index), &bytes);
            for _ in 0..2 {
                let staged = stage(blobs, &bytes);
                fragments.store_fragment(&held, staged, &charge).expect("it is stored");
            }
        }
        assert_eq!(
            is_confirmed(&name),
            is_repair,
            "only what is repaired is known to be published"
        );
    }
    let each = dossier(10).stored_bytes();
    assert_eq!([20, 21, 22].map(stored_for), [10 + each, 0, 20]);
    let added = 40 + 2 * each;
    let after = usage();
    assert_eq!(after.total, before.total + added);
    assert_eq!(after.repair, before.repair + 10 + each);
    assert_eq!(after.indebted, before.indebted + 30 + each);
    assert_eq!(ledger.usage(&peer_at(21, 9)).expect("asked").repair_by_peer, 10 + each);
    assert_eq!(fragments.totals().expect("asked").1, held + added);
}

fn dossier(number: u8) -> Dossier {
    Dossier {
        manifest: content(number, 20_000),
        manifest_signatures: signatures(1),
        ed25519_pem: content(2, 113),
        ml_dsa_65_pem: content(3, 2700),
        plan: content(4, 3000),
        plan_signatures: signatures(2),
    }
}

/// Of 1000 bytes that node 3 placed as repairs, 900 from one neighbourhood.
fn parts_of_repairs(ledger: &dyn ReciprocityLedger) {
    let parts = |id, near| {
        let usage = ledger.usage(&peer_at(id, near)).expect("asked");
        (usage.repair_by_peer, usage.repair_in_subnet)
    };
    assert_eq!([parts(3, 8), parts(3, 1), parts(1, 9)], [(1000, 900), (1000, 0), (0, 100)]);
}

/// [`PeerRepository`].
pub fn peer_repository(peers: &dyn PeerRepository) {
    let known = |limit| peers.known_peers(limit).expect("asked");
    let remember = |contacts: &[Contact], now| {
        peers.remember_peers(contacts, Timestamp(now)).expect("they are remembered");
    };
    assert_eq!(known(10), []);
    remember(&[contact(1), contact(2)], 10);
    remember(&[contact(2), contact(3)], 20);
    assert_eq!(known(10), [contact(2), contact(3), contact(1)], "last seen first");
    assert_eq!(known(1), [contact(2)]);
    let silent = |number, failures, until| {
        let id = contact(number).id;
        crate::peer_memory::SilentPeer { id, failures, until: Timestamp(until) }
    };
    assert_eq!(peers.silent_peers().expect("asked"), []);
    peers.remember_silent(&[silent(1, 3, 500), silent(77, 1, 500)]).expect("remembered");
    assert_eq!(peers.silent_peers().expect("asked"), [silent(1, 3, 500)], "77 is not known");
    remember(&[contact(1)], 20);
    assert_eq!(peers.silent_peers().expect("asked"), [silent(1, 3, 500)]);
    peers.remember_silent(&[silent(2, 1, 600)]).expect("remembered");
    assert_eq!(peers.silent_peers().expect("asked"), [silent(2, 1, 600)]);
    let many: Vec<Contact> = (1000..2024).map(contact).collect();
    remember(&many, 30);
    assert_eq!(peers.silent_peers().expect("asked"), []);
    assert_eq!(known(5000), many, "1024 are remembered, those unseen for longest go");
}

/// [`Workbench`], with the [`BlobStore`] that stages for it, and what knows which tesserae are blocked.
pub fn workbench(
    workbench: &dyn Workbench,
    holdings: &dyn HoldingRepository,
    blobs: &dyn BlobStore,
    hash: Hash,
) {
    let (shared, own) = (content(1, 3000), content(2, 2000));
    let pin = |name, bytes, now| {
        workbench.pin(&tessera(name), stage(blobs, bytes), Timestamp(now)).expect("it is pinned");
    };
    let opened = |name, bytes: &[u8]| workbench.open(&tessera(name), &hash(bytes));
    assert_eq!(workbench.pinned(&tessera(1)).expect("asked"), []);
    assert_missing(opened(1, &own), &hash(&own));
    for _ in 0..2 {
        pin(1, &shared, 10);
        pin(1, &own, 10);
    }
    pin(2, &shared, 20);
    let mut both = [hash(&shared), hash(&own)];
    both.sort_unstable();
    let mut pinned = workbench.pinned(&tessera(1)).expect("asked");
    pinned.sort_unstable();
    assert_eq!(pinned, both, "each once");
    assert_eq!(read_all(&*opened(1, &own).expect("it is pinned")), own);
    assert!(!blobs.contains(&hash(&own)).expect("asked"), "it is not a stored object");
    assert_missing(opened(2, &own), &hash(&own));

    workbench.unpin(&tessera(1)).expect("it is released");
    workbench.unpin(&tessera(1)).expect("it is released already");
    assert_eq!(workbench.pinned(&tessera(1)).expect("asked"), []);
    assert_eq!(read_all(&*opened(2, &shared).expect("another task's stays")), shared);
    workbench.unpin_before(Timestamp(20)).expect("nothing is that old");
    opened(2, &shared).expect("pinned at that time is not before it");
    pin(3, &own, 5);
    pin(3, &shared, 30);
    workbench.unpin_before(Timestamp(21)).expect("it is released");
    assert_missing(opened(2, &shared), &hash(&shared));
    opened(3, &own).expect("its task pinned something later");
    workbench.unpin(&tessera(3)).expect("it is released");

    pin(4, &own, 30);
    pin(5, &own, 30);
    holdings.block(&tessera(4), Timestamp(30)).expect("it is blocked");
    let refused = workbench.pin(&tessera(4), stage(blobs, &shared), Timestamp(30));
    assert!(matches!(refused, Err(StoreError::Blocked(_))), "{refused:?}");
    assert_eq!(workbench.pinned(&tessera(4)).expect("asked"), [], "nothing stays");
    holdings.block(&tessera(5), Timestamp(30)).expect("it is blocked");
    workbench.unpin_before(Timestamp(0)).expect("it is released");
    assert_eq!(workbench.pinned(&tessera(5)).expect("asked"), [], "however new it is");
}
