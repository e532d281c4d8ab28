//! Where the bytes of a piece are found on this node, and the pack joined from pieces.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use tesseras_core::code::{CodedForm, Piece};
use tesseras_core::ids::ContentHash;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{BlobReader, BlobStore, StoreError, Workbench};
use tesseras_crypto::blake3_of;

use crate::erasure::DataFragment;

/// The pieces of one tessera that can be read on this node: pinned and stored ones by their
/// checksum, and, if the whole pack is at hand, its data fragments as ranges of it. Pieces found
/// damaged are not at hand.
#[derive(Clone)]
pub struct PieceSource {
    plan: Plan,
    blobs: Arc<dyn BlobStore>,
    workbench: Arc<dyn Workbench>,
    whole: Option<Arc<dyn BlobReader>>,
    damaged: BTreeSet<ContentHash>,
}

impl PieceSource {
    /// The pieces at hand. `whole` is the pack if it can be read otherwise than as a stored piece.
    pub fn new(
        plan: Plan,
        blobs: Arc<dyn BlobStore>,
        workbench: Arc<dyn Workbench>,
        whole: Option<Arc<dyn BlobReader>>,
    ) -> Result<Self, StoreError> {
        let mut source = Self { plan, blobs, workbench, whole, damaged: BTreeSet::new() };
        if source.whole.is_none() {
            source.whole = source.open_whole()?;
        }
        Ok(source)
    }

    /// Opens a piece; [`StoreError::Missing`] if it is not at hand, [`StoreError::Corrupt`] if only
    /// part of it is.
    pub fn open(&self, piece: Piece) -> Result<Arc<dyn BlobReader>, StoreError> {
        let checksum =
            self.plan.checksum(piece).ok_or(StoreError::Missing(self.plan.pack_hash()))?;
        match (piece, &self.whole, self.plan.coded()) {
            (Piece::Whole, Some(whole), _) => Ok(whole.clone()),
            (Piece::Index(index), Some(whole), Some(form)) if index < form.shape.k => {
                Ok(Arc::new(DataFragment::new(whole.clone(), form, index)))
            }
            _ => self.stored(&checksum)?.ok_or(StoreError::Missing(checksum)),
        }
    }

    /// Whether a piece is at hand.
    pub fn has(&self, piece: Piece) -> Result<bool, StoreError> {
        match self.open(piece) {
            Ok(_) => Ok(true),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The pack, from the whole or from all its data fragments.
    pub fn pack(&self) -> Result<Arc<dyn BlobReader>, StoreError> {
        self.part_of_pack(0..self.plan.pack_bytes())
    }

    /// The pack, of which only these bytes need to be at hand and can be read.
    pub(crate) fn part_of_pack(&self, part: Range<u64>) -> Result<Arc<dyn BlobReader>, StoreError> {
        match (&self.whole, self.plan.coded()) {
            (Some(whole), _) => Ok(whole.clone()),
            (None, None) => self.open(Piece::Whole),
            (None, Some(form)) => {
                let each = form.fragment_bytes;
                let fragments = (0..form.shape.k)
                    .filter(|index| {
                        let begin = u64::from(*index) * each;
                        begin < part.end && part.start < begin + each
                    })
                    .map(|index| Ok((index, self.open(Piece::Index(index))?)))
                    .collect::<Result<_, StoreError>>()?;
                let (pack, bytes) = (self.plan.pack_hash(), self.plan.pack_bytes());
                Ok(Arc::new(JoinedPack { fragments, form, pack, bytes }))
            }
        }
    }

    /// Reads the pieces at hand, and returns those whose every byte matches the plan; only the whole
    /// pack, if it does. The others are not at hand from now on.
    pub fn verify_pieces(&mut self) -> Result<BTreeSet<Piece>, StoreError> {
        let pinned = self.verify_pins()?;
        if self.whole.is_some() {
            if self.is_sound(Piece::Whole)? {
                return Ok([Piece::Whole].into());
            }
            // Perhaps it was a copy in the library; a stored piece may still be intact.
            self.whole = self.open_whole()?;
            if self.whole.is_some() && self.is_sound(Piece::Whole)? {
                return Ok([Piece::Whole].into());
            }
            self.whole = None;
            self.damaged.insert(self.plan.pack_hash());
        }
        let mut sound = BTreeSet::new();
        for index in 0..self.plan.coded().map_or(0, |form| form.shape.n()) {
            let piece = Piece::Index(index);
            match self.open(piece) {
                Ok(_) => {}
                Err(StoreError::Missing(_)) => continue,
                Err(StoreError::Corrupt(checksum)) => {
                    self.damaged.insert(checksum);
                    continue;
                }
                Err(error) => return Err(error),
            }
            if self.plan.checksum(piece).is_some_and(|checksum| pinned.contains(&checksum))
                || self.is_sound(piece)?
            {
                sound.insert(piece);
            } else {
                self.damaged.extend(self.plan.checksum(piece));
            }
        }
        Ok(sound)
    }

    /// Reads the pieces pinned by an earlier attempt, and returns them. If any of them does not match
    /// its name, the machine lost power in the meantime, and all of them are removed.
    pub(crate) fn verify_pins(&self) -> Result<BTreeSet<ContentHash>, StoreError> {
        let tessera = self.plan.tessera();
        let pinned: BTreeSet<ContentHash> = self.workbench.pinned(&tessera)?.into_iter().collect();
        for hash in &pinned {
            if blake3_of(&*self.workbench.open(&tessera, hash)?)? != *hash {
                tracing::warn!(%tessera, "what an earlier try left is damaged, and begun anew");
                self.workbench.unpin(&tessera)?;
                return Ok(BTreeSet::new());
            }
        }
        Ok(pinned)
    }

    /// A piece was stored again, from bytes that were hashed during the transfer.
    pub fn stored_anew(&mut self, piece: Piece) {
        if let Some(checksum) = self.plan.checksum(piece) {
            self.damaged.remove(&checksum);
        }
    }

    /// The pieces found damaged.
    pub fn damaged(&self) -> Vec<Piece> {
        let indexes = (0..self.plan.coded().map_or(0, |form| form.shape.n())).map(Piece::Index);
        let all = [Piece::Whole].into_iter().chain(indexes);
        all.filter(|p| self.plan.checksum(*p).is_some_and(|c| self.damaged.contains(&c))).collect()
    }

    /// The plan with the checksum of each piece.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    fn is_sound(&self, piece: Piece) -> Result<bool, StoreError> {
        match self.open(piece).and_then(|reader| blake3_of(reader.as_ref())) {
            Ok(hash) => Ok(self.plan.checksum(piece) == Some(hash)),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens the stored pack, which is not at hand from now on if only part of it is stored.
    fn open_whole(&mut self) -> Result<Option<Arc<dyn BlobReader>>, StoreError> {
        let found = self.stored(&self.plan.pack_hash());
        if let Err(StoreError::Corrupt(pack)) = found {
            self.damaged.insert(pack);
            return Ok(None);
        }
        found
    }

    fn stored(&self, hash: &ContentHash) -> Result<Option<Arc<dyn BlobReader>>, StoreError> {
        if self.damaged.contains(hash) {
            return Ok(None);
        }
        // A pinned piece is newer: it was fetched because the stored one was missing or damaged.
        let pinned = self.workbench.open(&self.plan.tessera(), hash);
        let found = match pinned {
            Err(StoreError::Missing(_)) => self.blobs.open(hash),
            pinned => pinned,
        };
        match found {
            Ok(reader) => Ok(Some(Arc::from(reader))),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A pack read from its data fragments, which one after the other *are* the pack.
struct JoinedPack {
    fragments: BTreeMap<u8, Arc<dyn BlobReader>>,
    form: CodedForm,
    pack: ContentHash,
    bytes: u64,
}

impl BlobReader for JoinedPack {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, offset: u64, mut buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.bytes {
            return Err(StoreError::OutOfRange { offset, end, bytes: self.bytes });
        }
        let mut at = offset;
        while !buffer.is_empty() {
            let within = at % self.form.fragment_bytes;
            let len = (self.form.fragment_bytes - within).min(buffer.len() as u64) as usize;
            let (now, rest) = buffer.split_at_mut(len);
            let index = (at / self.form.fragment_bytes) as u8;
            let fragment = self.fragments.get(&index).ok_or(StoreError::Missing(self.pack))?;
            fragment.read_at(within, now)?;
            at += len as u64;
            buffer = rest;
        }
        Ok(())
    }
}
