//! Forged records, and attempts to fill a store.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};
use tesseras_crypto::NodeKeys;
use tesseras_crypto::node::NodePublic;
use tesseras_dht::config::{RECORD_LIFETIME, RECORDS_PER_KEY};
use tesseras_dht::engine::{Bootstrap, Effect, Engine, Event, InboundId, Moment};
use tesseras_dht::messages::{DhtRequest, DhtResponse};
use tesseras_dht::records::{RecordError, RecordStore, StoreRefusal};
use tesseras_dht::{DhtConfig, HolderRecord, NodeIdentity};

use crate::world::{config, keys};

const WALL: Timestamp = Timestamp(1_700_000_000);
const KEY: DhtKey = DhtKey::new([5; 20]);

fn listening(ip: [u8; 4]) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from(ip).into(), 4433)
}

fn record(keys: &NodeKeys, ip: [u8; 4], date: Timestamp) -> HolderRecord {
    HolderRecord::sign(keys, KEY, &[listening(ip)], date)
}

struct Shelf {
    store: RecordStore,
    rng: StdRng,
}

impl Shelf {
    fn new(config: &DhtConfig) -> Self {
        let store = RecordStore::new(NodeId::new([0; 20]), config);
        Self { store, rng: StdRng::seed_from_u64(1) }
    }

    /// Has a new node announce KEY from an IP.
    fn announce(&mut self, ip: [u8; 4]) -> Result<(), StoreRefusal> {
        let keys = keys(&mut self.rng);
        self.store.insert(
            record(&keys, ip, WALL),
            NodeIdentity::public(&keys).id(),
            ip.into(),
            WALL,
        )
    }
}

#[test]
fn the_signed_bytes_are_fixed_for_ever() {
    let keys = NodeKeys::from_parts(&[1; 32], [2; 8]);
    let addresses = [listening([192, 0, 2, 1]), "[2001:db8::1]:1".parse().expect("an address")];
    let record = HolderRecord::sign(&keys, KEY, &addresses, Timestamp(0x0102));
    let expected = [
        b"tesseras-holder-record 1".as_slice(),
        &[5; 20],
        &record.public_key,
        &[2; 8],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[2],
        &[4, 192, 0, 2, 1, 0x11, 0x51],
        &[6, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
    ];
    assert_eq!(record.signed_bytes(), expected.concat());
    assert_eq!(record.check(&keys, 0, Timestamp(0x0102)), Ok(()));
}

#[test]
fn a_record_is_believed_only_if_all_of_it_is_true() {
    let mut rng = StdRng::seed_from_u64(2);
    let keys = keys(&mut rng);
    let reader = NodeKeys::from_parts(&[9; 32], [0; 8]);
    let check = |record: &HolderRecord| record.check(&reader, 0, WALL);
    let good = record(&keys, [192, 0, 2, 1], WALL);
    assert_eq!(check(&good), Ok(()));

    let mut forged = good.clone();
    forged.signature[3] ^= 1;
    assert_eq!(check(&forged), Err(RecordError::Signature));
    let mut moved = good.clone();
    moved.addresses = vec![listening([192, 0, 2, 2])];
    assert_eq!(check(&moved), Err(RecordError::Signature));
    let mut other = good.clone();
    other.key = DhtKey::new([6; 20]);
    assert_eq!(check(&other), Err(RecordError::Signature));
    let mut renamed = good.clone();
    renamed.nonce[0] ^= 1;
    assert_eq!(check(&renamed), Err(RecordError::Signature));
    let mut homeless = good.clone();
    homeless.addresses.clear();
    assert_eq!(check(&homeless), Err(RecordError::Addresses));
    let mut crowd = good.clone();
    crowd.addresses = (1..=5).map(|n| listening([192, 0, 2, n])).collect();
    assert_eq!(check(&crowd), Err(RecordError::Addresses));
    let nowhere = record(&keys, [0, 0, 0, 0], WALL);
    assert_eq!(check(&nowhere), Err(RecordError::Addresses));

    let future = WALL.plus(CLOCK_TOLERANCE);
    assert_eq!(check(&record(&keys, [192, 0, 2, 1], future)), Ok(()));
    let too_far = future.plus(Duration::from_secs(1));
    assert_eq!(check(&record(&keys, [192, 0, 2, 1], too_far)), Err(RecordError::Future));
    let old = Timestamp(WALL.0 - RECORD_LIFETIME.as_secs());
    assert_eq!(check(&record(&keys, [192, 0, 2, 1], old)), Ok(()));
    let too_old = Timestamp(old.0 - 1);
    assert_eq!(check(&record(&keys, [192, 0, 2, 1], too_old)), Err(RecordError::Expired));

    let lazy = (0..=255_u8)
        .map(|n| NodeKeys::from_parts(&[n; 32], [0; 8]))
        .find(|keys| keys.public().work_bits() < 8)
        .expect("most have not worked");
    let worked = NodeKeys::generate(8).expect("randomness");
    let with_work = |keys| record(keys, [192, 0, 2, 1], WALL).check(&reader, 8, WALL);
    assert_eq!(with_work(&lazy), Err(RecordError::Work));
    assert_eq!(with_work(&worked), Ok(()));
}

#[test]
fn one_key_cannot_be_flooded() {
    let mut shelf = Shelf::new(&config());
    assert_eq!(shelf.announce([198, 51, 100, 1]), Ok(()));
    assert_eq!(shelf.announce([198, 51, 100, 2]), Ok(()));
    assert_eq!(shelf.announce([198, 51, 100, 3]), Err(StoreRefusal::SubnetFull));
    for n in 0..(RECORDS_PER_KEY - 2) {
        assert_eq!(shelf.announce([10, 0, 0, n as u8]), Ok(()), "local networks are excepted");
    }
    assert_eq!(shelf.announce([203, 0, 113, 9]), Err(StoreRefusal::KeyFull));
    assert_eq!(shelf.store.len(), RECORDS_PER_KEY);
    let (first, more) = shelf.store.page(&KEY, 0, WALL);
    let (second, last) = shelf.store.page(&KEY, 1, WALL);
    assert!(more && !last);
    assert_eq!(first.len() + second.len(), RECORDS_PER_KEY);
    assert!(shelf.store.page(&KEY, u32::MAX, WALL).0.is_empty());

    shelf.store.expire(WALL.plus(RECORD_LIFETIME + Duration::from_secs(1)));
    assert!(shelf.store.is_empty());
}

#[test]
fn a_holder_that_comes_itself_goes_before_hearsay_of_its_neighbourhood() {
    let mut shelf = Shelf::new(&config());
    let gossip = NodeId::new([1; 20]);
    for _ in 0..2 {
        let keys = keys(&mut shelf.rng);
        let hearsay = record(&keys, [198, 51, 100, 1], WALL);
        assert_eq!(shelf.store.insert(hearsay, gossip, [203, 0, 113, 1].into(), WALL), Ok(()));
    }
    assert_eq!(shelf.announce([198, 51, 100, 7]), Ok(()));
    assert_eq!(shelf.store.len(), 2);
}

#[test]
fn the_newest_of_a_holder_wins_and_takes_no_second_place() {
    let mut shelf = Shelf::new(&config());
    let keys = keys(&mut shelf.rng);
    let id = NodeIdentity::public(&keys).id();
    let mut insert =
        |ip: [u8; 4], date| shelf.store.insert(record(&keys, ip, date), id, IpAddr::from(ip), WALL);
    assert_eq!(insert([198, 51, 100, 1], WALL), Ok(()));
    assert_eq!(insert([198, 51, 100, 2], Timestamp(WALL.0 + 5)), Ok(()));
    assert_eq!(insert([198, 51, 100, 3], WALL), Err(StoreRefusal::Older));
    let (records, _) = shelf.store.page(&KEY, 0, WALL);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].addresses, [listening([198, 51, 100, 2])]);
}

#[test]
fn nobody_gets_more_than_a_share_and_a_full_store_keeps_what_is_near() {
    let config = DhtConfig { max_records: 40, ..config() };
    let mut shelf = Shelf::new(&config);
    for announcer in 0..5 {
        let keys = keys(&mut shelf.rng);
        let id = NodeIdentity::public(&keys).id();
        for n in 0..20 {
            let mut key: [u8; 20] = shelf.rng.random();
            key[0] = 0x80 | announcer;
            let record =
                HolderRecord::sign(&keys, DhtKey::new(key), &[listening([10, 0, 0, 1])], WALL);
            let kept = shelf.store.insert(record, id, [10, 0, 0, 1].into(), WALL);
            if n >= 16 && kept.is_err() {
                assert!(shelf.store.announced_by(&id) <= 16);
            }
        }
        assert!(shelf.store.len() <= 40 && shelf.store.announced_by(&id) <= 16);
    }
    assert_eq!(shelf.store.len(), 40);
    // Our own id is zero, so this key is nearer than all the others.
    assert_eq!(shelf.announce([10, 0, 0, 2]), Ok(()));
    assert_eq!(shelf.store.len(), 40);
    let keys = keys(&mut shelf.rng);
    let far = DhtKey::new([0xff; 20]);
    let record = HolderRecord::sign(&keys, far, &[listening([10, 0, 0, 1])], WALL);
    let id = NodeIdentity::public(&keys).id();
    let refused = shelf.store.insert(record, id, [10, 0, 0, 1].into(), WALL);
    assert_eq!(refused, Err(StoreRefusal::StoreFull));
}

/// Keys that count what they verify.
struct Counting {
    keys: NodeKeys,
    verified: Arc<AtomicUsize>,
}

impl NodeIdentity for Counting {
    fn public(&self) -> NodePublic {
        self.keys.public()
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.keys.sign(bytes)
    }

    fn verify(&self, signer: &NodePublic, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.verified.fetch_add(1, Ordering::SeqCst);
        signer.verify(bytes, signature)
    }
}

#[test]
fn what_is_sent_again_is_not_verified_again_and_after_a_forgery_nothing_is() {
    let mut rng = StdRng::seed_from_u64(4);
    let verified = Arc::new(AtomicUsize::new(0));
    let counting = Counting { keys: keys(&mut rng), verified: Arc::clone(&verified) };
    let mut engine = Engine::new(config(), Arc::new(counting), Bootstrap::default());
    let (from, remote) = (NodeId::new([7; 20]), listening([192, 0, 2, 9]));
    let mut announce_at = |wall, records: Vec<HolderRecord>| {
        let request = DhtRequest::Announce { records };
        let asked = Event::Asked { inbound: InboundId(1), from, remote, request };
        let moment = Moment { elapsed: Duration::ZERO, wall };
        let effects = engine.handle(moment, &mut StdRng::seed_from_u64(1), asked);
        let stored = effects.into_iter().find_map(|effect| match effect {
            Effect::Answer { answer: Ok(DhtResponse::Announced(answer)), .. } => {
                Some(answer.stored)
            }
            _ => None,
        });
        (stored, verified.swap(0, Ordering::SeqCst))
    };
    let good = record(&keys(&mut rng), [192, 0, 2, 1], WALL);
    assert_eq!(announce_at(WALL, vec![good.clone(); 64]), (Some(64), 1));
    assert_eq!(announce_at(WALL, vec![good.clone()]), (Some(1), 0));
    let mut forged = record(&keys(&mut rng), [192, 0, 2, 2], WALL);
    forged.signature[3] ^= 1;
    assert_eq!(announce_at(WALL, vec![forged; 64]), (Some(0), 1));
    let later = WALL.plus(RECORD_LIFETIME + Duration::from_secs(1));
    assert_eq!(announce_at(later, vec![good]), (Some(0), 0), "it has expired");
}
