//! The ports of replication: the form of capsules on disk, and finding nodes.

use std::net::SocketAddr;
use std::sync::Arc;

use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId, TesseraHash};
use tesseras_core::ports::{BlobReader, NoSpace, StoreError, TesseraRecord};
use tesseras_core::progress::Meter;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::ClockOffset;
use tesseras_crypto::NamedManifest;
use tesseras_wire::{BoxFuture, BoxStream};
use thiserror::Error;

/// The port that converts capsules to packs and packs to capsules; the adapter knows their form on
/// disk.
pub trait Capsules: Send + Sync + 'static {
    /// Opens a capsule of the library: its MANIFEST is read, hashed and parsed here, and not again
    /// for as long as the capsule is open.
    fn open(&self, record: &TesseraRecord) -> Result<Arc<dyn OpenCapsule>, StoreError>;

    /// Begins to make a capsule of its pack.
    fn unpack(&self, tessera: &TesseraHash) -> Box<dyn UnpackingCapsule>;
}

/// A capsule that is being made of its pack, as far as the pack is at hand. Dropped before it is
/// finished, it leaves nothing behind.
pub trait UnpackingCapsule: Send + 'static {
    /// Checks and stages what follows in the pack, of which the first `available` bytes are at hand.
    /// Returns how many bytes are taken now in all: a part that is of use only as a whole is left
    /// for later, and read then. `meter` is given the number of bytes done. After an error it must
    /// be dropped.
    fn advance(
        &mut self,
        pack: &dyn BlobReader,
        available: u64,
        meter: &Meter,
    ) -> Result<u64, UnpackError>;

    /// Adds the capsule to the library; an error if the pack was not taken to its end.
    fn finish(self: Box<Self>) -> Result<TesseraRecord, UnpackError>;
}

/// A capsule of the library whose MANIFEST is the one that its name names. Its files are not checked
/// yet.
pub trait OpenCapsule: Send + Sync + 'static {
    /// Its MANIFEST.
    fn named(&self) -> &NamedManifest<Arc<[u8]>>;

    /// Its creator's signatures over the MANIFEST, not checked yet.
    fn signatures(&self) -> &SignaturePair;

    /// The PEM texts of its creator's public keys, Ed25519 first.
    fn creator_pems(&self) -> Result<(Vec<u8>, Vec<u8>), StoreError>;

    /// Its pack, read from its stored files.
    fn pack(&self) -> Arc<dyn BlobReader>;

    /// Checks every byte of its files: only what is sound may be published.
    fn check(&self) -> Result<(), UnpackError>;
}

/// Why a pack did not become a capsule.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The pack is not the tessera's.
    #[error("the pack is not what it claims to be: {0}")]
    Invalid(String),
    /// The disk has too little free space for its files.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The port for finding nodes and announcing holders. Streams return results as soon as they are
/// found; dropping a stream ends its search.
pub trait Directory: Send + Sync + 'static {
    /// Nodes that announce themselves as holders at a key. Hints.
    fn find_holders(&self, key: DhtKey) -> BoxStream<'_, Contact>;

    /// Nodes that were reached, roughly the nearest to the key first: as many as are wanted and a
    /// few more, or all that can be found.
    fn candidates(&self, key: DhtKey, wanted: usize) -> BoxStream<'_, Contact>;

    /// The current contact of a node, if it can be found.
    fn resolve(&self, id: NodeId) -> BoxFuture<'_, Option<Contact>>;

    /// Announces this node as a holder at these keys; returns when it is done. It continues if the
    /// future is dropped.
    fn announce(&self, keys: Vec<DhtKey>) -> BoxFuture<'_, ()>;

    /// The addresses at which other nodes have reached this one.
    fn own_addresses(&self) -> Vec<SocketAddr>;

    /// How far this node's clock is from its peers', also if they tolerate it. `None` while that is
    /// not known: too few peers have sent their date, or they do not agree.
    fn clock_offset(&self) -> BoxFuture<'_, Option<ClockOffset>>;
}
