//! Holder records: signed statements that a node holds something of a tessera, accepted from any
//! messenger, valid for 48 hours, and used only as hints (the STORE of Kademlia, bounded so that
//! nobody can fill it).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tesseras_core::contact::{Contact, MAX_ADDRESSES, Subnet};
use tesseras_core::ids::{DhtKey, Distance, NodeId};
use tesseras_core::time::{CLOCK_TOLERANCE, Timestamp};
use tesseras_crypto::{NodeKeys, NodePublic};
use thiserror::Error;

use crate::config::{
    DhtConfig, RECORD_LIFETIME, RECORDS_PER_KEY, RECORDS_PER_PAGE, RECORDS_PER_SUBNET,
};
use tesseras_core::address;

/// Domain string at the start of a record's signed bytes.
pub const RECORD_DOMAIN: &[u8] = b"tesseras-holder-record 1";

/// A node's own keys, and the verification of other nodes' signatures. A port, so that tests can count
/// what is verified.
pub trait NodeIdentity: Send + Sync + 'static {
    /// This node's public key and nonce.
    fn public(&self) -> NodePublic;
    /// Signs bytes as this node.
    fn sign(&self, bytes: &[u8]) -> [u8; 64];
    /// Whether `signer` signed these bytes.
    fn verify(&self, signer: &NodePublic, bytes: &[u8], signature: &[u8; 64]) -> bool;
}

impl NodeIdentity for NodeKeys {
    fn public(&self) -> NodePublic {
        NodeKeys::public(self)
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        NodeKeys::sign(self, bytes)
    }

    fn verify(&self, signer: &NodePublic, bytes: &[u8], signature: &[u8; 64]) -> bool {
        signer.verify(bytes, signature)
    }
}

/// A node's signed statement that it holds something of this tessera, with the addresses at which
/// it listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderRecord {
    /// The tessera's key.
    pub key: DhtKey,
    /// The holder's raw Ed25519 public key.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
    /// The nonce of the holder's proof of work.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 8],
    /// Addresses at which the holder listens; one to four.
    pub addresses: Vec<SocketAddr>,
    /// When the holder signed it.
    pub date: Timestamp,
    /// The holder's signature over [`HolderRecord::signed_bytes`].
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

/// Why a record is invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It is of another key than was asked for.
    #[error("record is of another key")]
    WrongKey,
    /// It has no address, too many, or one that cannot be dialled.
    #[error("record has no usable list of addresses")]
    Addresses,
    /// It has expired.
    #[error("record has expired")]
    Expired,
    /// Its date is further in the future than clocks may differ.
    #[error("record is dated in the future")]
    Future,
    /// The NodeId's proof of work is below what the network requires.
    #[error("the proof of work of the record's node is too low")]
    Work,
    /// Its signature does not verify.
    #[error("record has an invalid signature")]
    Signature,
}

/// Why a valid record is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreRefusal {
    /// A newer one of the same holder and key is already kept.
    #[error("a newer record is already kept")]
    Older,
    /// The key has reached its limit of records.
    #[error("the limit of records for this key is reached")]
    KeyFull,
    /// The holder's neighbourhood has reached its limit for this key.
    #[error("the limit of records for this neighbourhood is reached")]
    SubnetFull,
    /// The announcer has reached its share of the store.
    #[error("the limit of records for this announcer is reached")]
    AnnouncerFull,
    /// The store is full of records that are nearer to this node.
    #[error("the store is full")]
    StoreFull,
}

impl HolderRecord {
    /// Signs a record of this node. Addresses beyond the fourth are left out.
    pub fn sign(
        identity: &dyn NodeIdentity,
        key: DhtKey,
        addresses: &[SocketAddr],
        date: Timestamp,
    ) -> Self {
        let public = identity.public();
        let mut record = Self {
            key,
            public_key: public.public_key,
            nonce: public.nonce,
            addresses: addresses.iter().copied().take(MAX_ADDRESSES).collect(),
            date,
            signature: [0; 64],
        };
        record.signature = identity.sign(&record.signed_bytes());
        record
    }

    /// The bytes under the signature: [`RECORD_DOMAIN`], key (20), public key (32), nonce (8),
    /// date in seconds (8, big-endian), number of addresses (1), and for each address 4 or 6 (1),
    /// the IP (4 or 16) and the port (2, big-endian).
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_DOMAIN.len() + 69 + self.addresses.len() * 19);
        bytes.extend_from_slice(RECORD_DOMAIN);
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.public_key);
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.date.0.to_be_bytes());
        bytes.push(u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&ip.octets());
                }
            }
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        bytes
    }

    /// The holder's key and nonce.
    pub fn public(&self) -> NodePublic {
        NodePublic { public_key: self.public_key, nonce: self.nonce }
    }

    /// The holder.
    pub fn node(&self) -> NodeId {
        self.public().id()
    }

    /// The holder's id and the addresses in the record.
    pub fn contact(&self) -> Contact {
        Contact { id: self.node(), addresses: self.addresses.clone() }
    }

    /// Whether its lifetime is over.
    pub fn is_expired(&self, wall: Timestamp) -> bool {
        wall.since(self.date) > RECORD_LIFETIME
    }

    /// Checks everything that can be checked from the record alone, the cheapest first.
    pub fn check(
        &self,
        identity: &dyn NodeIdentity,
        work_bits: u32,
        wall: Timestamp,
    ) -> Result<(), RecordError> {
        let addresses = &self.addresses;
        if addresses.is_empty()
            || addresses.len() > MAX_ADDRESSES
            || !addresses.iter().copied().all(address::is_dialable)
        {
            return Err(RecordError::Addresses);
        }
        if self.date > wall.plus(CLOCK_TOLERANCE) {
            return Err(RecordError::Future);
        }
        if self.is_expired(wall) {
            return Err(RecordError::Expired);
        }
        let public = self.public();
        if public.work_bits() < work_bits {
            return Err(RecordError::Work);
        }
        if !identity.verify(&public, &self.signed_bytes(), &self.signature) {
            return Err(RecordError::Signature);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Stored {
    record: HolderRecord,
    /// The neighbourhood it is counted in; `None` on local networks.
    subnet: Option<Subnet>,
    /// Whether the holder delivered it itself, so that `subnet` is its real neighbourhood.
    direct: bool,
}

/// The records that a node keeps for others, in order of their distance from it.
#[derive(Debug)]
pub struct RecordStore {
    own: NodeId,
    capacity: usize,
    per_announcer: usize,
    records: BTreeMap<(Distance, NodeId), Stored>,
    announcers: BTreeMap<NodeId, usize>,
}

impl RecordStore {
    /// An empty store of a node.
    pub fn new(own: NodeId, config: &DhtConfig) -> Self {
        Self {
            own,
            capacity: config.max_records,
            per_announcer: config.records_per_announcer(),
            records: BTreeMap::new(),
            announcers: BTreeMap::new(),
        }
    }

    /// How many records are kept.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records of one announcer are kept.
    pub fn announced_by(&self, node: &NodeId) -> usize {
        self.announcers.get(node).copied().unwrap_or(0)
    }

    /// Whether just this record is kept and still valid, so that it need not be checked again.
    pub fn holds(&self, record: &HolderRecord, wall: Timestamp) -> bool {
        let kept = self.records.get(&(self.own.distance(&record.key), record.node()));
        kept.is_some_and(|kept| kept.record == *record && !record.is_expired(wall))
    }

    /// Keeps a record that was [checked](HolderRecord::check). `from` is the node that delivered it
    /// and its IP: a record delivered by its holder counts in the neighbourhood that it came from,
    /// and takes precedence over one that merely names the same neighbourhood.
    pub fn insert(
        &mut self,
        record: HolderRecord,
        from: NodeId,
        remote: IpAddr,
        wall: Timestamp,
    ) -> Result<(), StoreRefusal> {
        let node = record.node();
        let place = (self.own.distance(&record.key), node);
        let direct = from == node;
        let ip =
            if direct { remote } else { record.addresses.first().map_or(remote, SocketAddr::ip) };
        let subnet = Subnet::of(ip).limited();
        if let Some(kept) = self.records.get_mut(&place) {
            if record.date < kept.record.date {
                return Err(StoreRefusal::Older);
            }
            if record.date > kept.record.date {
                // A record delivered by another node must not move a holder to another
                // neighbourhood.
                if direct || !kept.direct {
                    kept.subnet = subnet;
                    kept.direct = direct;
                }
                kept.record = record;
            }
            return Ok(());
        }
        self.expire_key(&record.key, wall);
        if self.announced_by(&node) >= self.per_announcer {
            return Err(StoreRefusal::AnnouncerFull);
        }
        let of_key: Vec<_> = self.of_key(&record.key).collect();
        if of_key.len() >= RECORDS_PER_KEY {
            return Err(StoreRefusal::KeyFull);
        }
        let mut displaced = None;
        if subnet.is_some() {
            let mut neighbours = of_key.iter().filter(|(_, kept)| kept.subnet == subnet);
            if neighbours.clone().count() >= RECORDS_PER_SUBNET {
                displaced = neighbours.find(|(_, kept)| direct && !kept.direct).map(|(p, _)| **p);
                if displaced.is_none() {
                    return Err(StoreRefusal::SubnetFull);
                }
            }
        }
        if displaced.is_none() && self.records.len() >= self.capacity {
            displaced = self.records.keys().next_back().copied().filter(|last| place.0 < last.0);
            if displaced.is_none() {
                return Err(StoreRefusal::StoreFull);
            }
        }
        if let Some(displaced) = displaced {
            self.remove(&displaced);
        }
        *self.announcers.entry(node).or_default() += 1;
        self.records.insert(place, Stored { record, subnet, direct });
        Ok(())
    }

    /// One page of the live records of a key, in order of the holders' ids, and whether there is
    /// another.
    pub fn page(&self, key: &DhtKey, page: u32, wall: Timestamp) -> (Vec<HolderRecord>, bool) {
        let skip = (page as usize).saturating_mul(RECORDS_PER_PAGE);
        let mut live = self
            .of_key(key)
            .map(|(_, kept)| &kept.record)
            .filter(|record| !record.is_expired(wall))
            .skip(skip);
        let records = live.by_ref().take(RECORDS_PER_PAGE).cloned().collect();
        (records, live.next().is_some())
    }

    /// Drops expired records.
    pub fn expire(&mut self, wall: Timestamp) {
        let gone: Vec<_> = self
            .records
            .iter()
            .filter(|(_, kept)| kept.record.is_expired(wall))
            .map(|(place, _)| *place)
            .collect();
        for place in gone {
            self.remove(&place);
        }
    }

    fn of_key(&self, key: &DhtKey) -> impl Iterator<Item = (&(Distance, NodeId), &Stored)> {
        let distance = self.own.distance(key);
        let first = (distance, NodeId::new([0; NodeId::LEN]));
        let last = (distance, NodeId::new([0xff; NodeId::LEN]));
        self.records.range(first..=last)
    }

    fn expire_key(&mut self, key: &DhtKey, wall: Timestamp) {
        let gone: Vec<_> = self
            .of_key(key)
            .filter(|(_, kept)| kept.record.is_expired(wall))
            .map(|(place, _)| *place)
            .collect();
        for place in gone {
            self.remove(&place);
        }
    }

    fn remove(&mut self, place: &(Distance, NodeId)) {
        if self.records.remove(place).is_none() {
            return;
        }
        if let Some(count) = self.announcers.get_mut(&place.1) {
            *count -= 1;
            if *count == 0 {
                self.announcers.remove(&place.1);
            }
        }
    }
}
