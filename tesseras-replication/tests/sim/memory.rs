//! Stores in memory, as strict as those on a disk: they run the same conformance suites.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::ports::{
    Account, BlobReader, BlobStore, BlobWriter, Charge, FragmentStore, FreeSpace, HeldPiece,
    HintBy, HoldingRepository, KnownHolder, NewTessera, PeerAt, PlacedPiece, ReciprocityLedger,
    RepairRecord, StagedBlob, StoreError, TesseraRecord, TesseraRepository, Usage, Workbench,
};
use tesseras_core::publication::{Publication, PublicationEvent};
use tesseras_core::time::Timestamp;
use tesseras_crypto::blake3;
use tesseras_replication::Stores;

use crate::known_holders::KnownHolders;

pub type Bytes = Arc<Vec<u8>>;

/// What one node has stored. It outlives the node, as a disk does.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    staged: BTreeMap<String, Bytes>,
    last_staged: u64,
    /// Stored objects with their reference counts.
    objects: BTreeMap<ContentHash, (Bytes, usize)>,
    pins: BTreeMap<TesseraHash, BTreeMap<ContentHash, (Bytes, Timestamp)>>,
    library: BTreeMap<TesseraHash, (TesseraRecord, Vec<ContentHash>)>,
    fragments: BTreeMap<(TesseraHash, Piece), Held>,
    /// Objects whose bytes were found damaged.
    damaged: BTreeSet<ContentHash>,
    dossiers: BTreeMap<TesseraHash, Dossier>,
    publications: BTreeMap<TesseraHash, Publication>,
    holders: BTreeMap<TesseraHash, KnownHolders>,
    placements: BTreeMap<TesseraHash, BTreeSet<PlacedPiece>>,
    repairs: BTreeMap<TesseraHash, RepairRecord>,
    blocked: BTreeSet<TesseraHash>,
    /// A planted fault: the bytes read differ from those written.
    rots: bool,
    /// Planted faults: the operations that fail.
    failing: BTreeSet<&'static str>,
    /// What another process does just before an event is recorded.
    meanwhile: Option<(PublicationEvent, Meanwhile)>,
}

type Meanwhile = Box<dyn FnOnce(&Memory) + Send>;

/// A held piece, and what it is charged for.
struct Held {
    piece: HeldPiece,
    charge: Charge,
    /// With its dossier, if it is the first piece of its tessera.
    charged: u64,
}

impl State {
    fn name(&mut self, hash: ContentHash, bytes: Bytes) {
        self.objects.entry(hash).or_insert((bytes, 0)).1 += 1;
    }

    fn unname(&mut self, hash: &ContentHash) {
        if let Some((_, names)) = self.objects.get_mut(hash) {
            *names -= 1;
            if *names == 0 {
                self.objects.remove(hash);
            }
        }
    }

    fn forget_dossier(&mut self, tessera: &TesseraHash) {
        if self.dossiers.remove(tessera).is_some() {
            self.unname(&(*tessera).into());
        }
    }

    fn refuse_blocked(&self, tessera: &TesseraHash) -> Result<(), StoreError> {
        match self.blocked.contains(tessera) {
            true => Err(StoreError::Blocked(*tessera)),
            false => Ok(()),
        }
    }

    fn confirm(&mut self, tessera: &TesseraHash) {
        let known = self.publications.entry(*tessera).or_default();
        *known = known.after(PublicationEvent::Confirmed);
    }

    fn stored_by(&self, peer: &NodeId) -> u64 {
        let all = self.placements.values().flatten();
        all.filter(|placed| placed.holder == *peer).map(|placed| placed.bytes).sum()
    }

    fn stored_for(&self, peer: &NodeId) -> u64 {
        let of_peer =
            |charge: &Charge| matches!(charge, Charge::Peer(PeerAt { id, .. }) if id == peer);
        let all = self.fragments.values();
        all.filter(|held| of_peer(&held.charge)).map(|held| held.charged).sum()
    }
}

impl Memory {
    /// This memory as the stores of one node.
    pub fn stores(&self) -> Stores {
        let one = Arc::new(self.clone());
        Stores {
            blobs: one.clone(),
            workbench: one.clone(),
            library: one.clone(),
            fragments: one.clone(),
            holdings: one.clone(),
            ledger: one,
        }
    }

    /// Loses a piece silently, as a corrupt index would.
    pub fn lose(&self, tessera: &TesseraHash, piece: Piece) {
        let mut state = self.state();
        if let Some(held) = state.fragments.remove(&(*tessera, piece)) {
            state.unname(&held.piece.checksum);
        }
    }

    /// From now on, written bytes are damaged.
    pub fn rot(&self) {
        self.state().rots = true;
    }

    /// From now on, the operation of this name fails, as it does on a machine in trouble.
    pub fn fail(&self, operation: &'static str) {
        self.state().failing.insert(operation);
    }

    /// The operation of this name works again.
    pub fn works(&self, operation: &'static str) {
        self.state().failing.remove(operation);
    }

    /// Just before this event is recorded of what is not dropped, another process does this, once.
    pub fn meanwhile(&self, event: PublicationEvent, act: impl FnOnce(&Self) + Send + 'static) {
        self.state().meanwhile = Some((event, Box::new(act)));
    }

    fn act_meanwhile(&self, event: PublicationEvent) {
        let due = self.state().meanwhile.take_if(|(awaited, _)| *awaited == event);
        if let Some((_, act)) = due {
            act(self);
        }
    }

    /// Fails if the operation of this name is to fail.
    pub fn attempt(&self, operation: &'static str) -> Result<(), StoreError> {
        match self.state().failing.contains(operation) {
            true => Err(StoreError::Backend {
                what: operation.to_owned(),
                source: "too many open files".into(),
            }),
            false => Ok(()),
        }
    }

    /// How many staged blobs belong to nothing yet.
    pub fn staged(&self) -> usize {
        self.state().staged.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Bytes in memory, as if they were stored.
pub struct Reader(pub Bytes);

impl BlobReader for Reader {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.bytes() {
            return Err(StoreError::OutOfRange { offset, end, bytes: self.bytes() });
        }
        buffer.copy_from_slice(&self.0[offset as usize..end as usize]);
        Ok(())
    }
}

struct Writer {
    memory: Memory,
    bytes: Vec<u8>,
}

impl BlobWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<StagedBlob, StoreError> {
        let Self { memory, mut bytes } = *self;
        let (hash, length) = (blake3(&bytes), bytes.len() as u64);
        let mut state = memory.state();
        if state.rots && !bytes.is_empty() {
            bytes[0] ^= 1;
        }
        state.last_staged += 1;
        let name = format!("staged-{}", state.last_staged);
        state.staged.insert(name.clone(), Arc::new(bytes));
        Ok(StagedBlob { hash, bytes: length, name })
    }
}

impl BlobStore for Memory {
    fn stage(&self) -> Result<Box<dyn BlobWriter>, StoreError> {
        Ok(Box::new(Writer { memory: self.clone(), bytes: Vec::new() }))
    }

    fn discard(&self, staged: StagedBlob) {
        self.state().staged.remove(&staged.name);
    }

    fn open(&self, hash: &ContentHash) -> Result<Box<dyn BlobReader>, StoreError> {
        let state = self.state();
        let (bytes, _) = state.objects.get(hash).ok_or(StoreError::Missing(*hash))?;
        Ok(Box::new(Reader(bytes.clone())))
    }

    fn contains(&self, hash: &ContentHash) -> Result<bool, StoreError> {
        Ok(self.state().objects.contains_key(hash))
    }

    fn free_space(&self) -> Result<FreeSpace, StoreError> {
        Ok(FreeSpace { bytes: 1 << 40, ..FreeSpace::UNLIMITED })
    }
}

impl Workbench for Memory {
    fn pin(
        &self,
        tessera: &TesseraHash,
        staged: StagedBlob,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if let Err(error) = self.attempt("pin") {
            self.discard(staged);
            return Err(error);
        }
        let mut state = self.state();
        let bytes = state.staged.remove(&staged.name).ok_or(StoreError::Missing(staged.hash))?;
        if let Err(blocked) = state.refuse_blocked(tessera) {
            state.pins.remove(tessera);
            return Err(blocked);
        }
        state.pins.entry(*tessera).or_default().insert(staged.hash, (bytes, now));
        Ok(())
    }

    fn open(
        &self,
        tessera: &TesseraHash,
        hash: &ContentHash,
    ) -> Result<Box<dyn BlobReader>, StoreError> {
        let state = self.state();
        let pinned = state.pins.get(tessera).and_then(|pins| pins.get(hash));
        let (bytes, _) = pinned.ok_or(StoreError::Missing(*hash))?;
        Ok(Box::new(Reader(bytes.clone())))
    }

    fn pinned(&self, tessera: &TesseraHash) -> Result<Vec<ContentHash>, StoreError> {
        let state = self.state();
        Ok(state.pins.get(tessera).into_iter().flat_map(|pins| pins.keys().copied()).collect())
    }

    fn unpin(&self, tessera: &TesseraHash) -> Result<(), StoreError> {
        self.attempt("unpin")?;
        self.state().pins.remove(tessera);
        Ok(())
    }

    fn unpin_before(&self, time: Timestamp) -> Result<(), StoreError> {
        let State { pins, blocked, .. } = &mut *self.state();
        pins.retain(|tessera, pins| {
            !blocked.contains(tessera) && pins.values().any(|(_, pinned)| *pinned >= time)
        });
        Ok(())
    }
}

impl TesseraRepository for Memory {
    fn add(&self, tessera: NewTessera) -> Result<bool, StoreError> {
        let mut state = self.state();
        let staged: Vec<(ContentHash, Bytes)> = tessera
            .staged
            .iter()
            .filter_map(|staged| Some((staged.hash, state.staged.remove(&staged.name)?)))
            .collect();
        let NewTessera { record, mut content, .. } = tessera;
        state.refuse_blocked(&record.hash)?;
        content.sort_unstable();
        content.dedup();
        let found: BTreeMap<ContentHash, Bytes> = staged.into_iter().collect();
        for hash in &content {
            if !found.contains_key(hash) && !state.objects.contains_key(hash) {
                return Err(StoreError::Missing(*hash));
            }
        }
        if state.library.contains_key(&record.hash) {
            return Ok(false);
        }
        for hash in &content {
            let stored = state.objects.get(hash).map(|(bytes, _)| bytes.clone());
            let bytes = stored.or_else(|| found.get(hash).cloned()).unwrap();
            state.name(*hash, bytes);
        }
        state.library.insert(record.hash, (record, content));
        Ok(true)
    }

    fn unblock(&self, hash: &TesseraHash) -> Result<(), StoreError> {
        self.state().blocked.remove(hash);
        Ok(())
    }

    fn get(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        Ok(self.state().library.get(hash).map(|(record, _)| record.clone()))
    }

    fn find(&self, hex_prefix: &str, limit: usize) -> Result<Vec<TesseraHash>, StoreError> {
        let state = self.state();
        let all = state.library.keys().filter(|hash| hash.to_string().starts_with(hex_prefix));
        Ok(all.take(limit).copied().collect())
    }

    fn list(&self) -> Result<Vec<TesseraRecord>, StoreError> {
        let state = self.state();
        let mut all: Vec<_> = state.library.values().map(|(record, _)| record.clone()).collect();
        all.sort_by_key(|record| (std::cmp::Reverse(record.added), record.hash));
        Ok(all)
    }

    fn remove(&self, hash: &TesseraHash) -> Result<Option<TesseraRecord>, StoreError> {
        let mut state = self.state();
        let Some((record, content)) = state.library.remove(hash) else { return Ok(None) };
        content.iter().for_each(|hash| state.unname(hash));
        Ok(Some(record))
    }
}

impl FragmentStore for Memory {
    fn store_fragment(
        &self,
        fragment: &HeldPiece,
        staged: StagedBlob,
        charge: &Charge,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let bytes = state.staged.remove(&staged.name).ok_or(StoreError::Missing(staged.hash))?;
        state.refuse_blocked(&fragment.tessera)?;
        if matches!(charge, Charge::Repair(_)) {
            state.confirm(&fragment.tessera);
        }
        let mismatch = StoreError::Mismatch { expected: fragment.checksum, found: staged.hash };
        if staged.hash != fragment.checksum || staged.bytes != fragment.bytes {
            return Err(mismatch);
        }
        let key = (fragment.tessera, fragment.piece);
        match state.fragments.get(&key) {
            Some(held) if held.piece == *fragment => {
                state.objects.get_mut(&fragment.checksum).unwrap().0 = bytes;
                state.damaged.remove(&fragment.checksum);
                Ok(())
            }
            Some(_) => Err(mismatch),
            None => {
                state.name(fragment.checksum, bytes);
                state.damaged.remove(&fragment.checksum);
                let is_first = state.fragments.keys().all(|(of, _)| *of != fragment.tessera);
                let dossier = state.dossiers.get(&fragment.tessera).filter(|_| is_first);
                let charged = fragment.bytes + dossier.map_or(0, Dossier::stored_bytes);
                state.fragments.insert(key, Held { piece: *fragment, charge: *charge, charged });
                Ok(())
            }
        }
    }

    fn list_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        let state = self.state();
        let held = state.fragments.range((*tessera, Piece::Whole)..);
        let held = held.take_while(|((of, _), _)| of == tessera);
        Ok(held.map(|(_, held)| held.piece).collect())
    }

    fn list_sound_fragments(&self, tessera: &TesseraHash) -> Result<Vec<HeldPiece>, StoreError> {
        let mut all = self.list_fragments(tessera)?;
        let state = self.state();
        all.retain(|fragment| !state.damaged.contains(&fragment.checksum));
        Ok(all)
    }

    fn list_attestable_fragments(
        &self,
        tessera: &TesseraHash,
    ) -> Result<Vec<HeldPiece>, StoreError> {
        self.list_sound_fragments(tessera)
    }

    fn mark_damaged(&self, fragment: &HeldPiece) -> Result<bool, StoreError> {
        let mut state = self.state();
        let held = state.fragments.get(&(fragment.tessera, fragment.piece));
        let is_held = held.is_some_and(|held| held.piece == *fragment);
        if is_held {
            state.damaged.insert(fragment.checksum);
        }
        Ok(is_held)
    }

    fn count_damaged(&self) -> Result<u64, StoreError> {
        let state = self.state();
        let damaged = |held: &&Held| state.damaged.contains(&held.piece.checksum);
        Ok(state.fragments.values().filter(damaged).count() as u64)
    }

    fn read_fragment(&self, fragment: &HeldPiece) -> Result<Box<dyn BlobReader>, StoreError> {
        let state = self.state();
        match state.fragments.get(&(fragment.tessera, fragment.piece)) {
            Some(held) if held.piece == *fragment => {
                Ok(Box::new(Reader(state.objects[&fragment.checksum].0.clone())))
            }
            _ => Err(StoreError::Missing(fragment.checksum)),
        }
    }

    fn delete_fragment(&self, fragment: &HeldPiece) -> Result<bool, StoreError> {
        let mut state = self.state();
        let key = (fragment.tessera, fragment.piece);
        if state.fragments.get(&key).is_none_or(|held| held.piece != *fragment) {
            return Ok(false);
        }
        state.fragments.remove(&key);
        state.unname(&fragment.checksum);
        Ok(true)
    }

    fn held_tesserae(
        &self,
        after: Option<&TesseraHash>,
        limit: usize,
    ) -> Result<Vec<TesseraHash>, StoreError> {
        let state = self.state();
        let all: BTreeSet<TesseraHash> = state.fragments.keys().map(|(of, _)| *of).collect();
        let all = all.into_iter().filter(|hash| after.is_none_or(|after| hash > after));
        Ok(all.take(limit).collect())
    }

    fn totals(&self) -> Result<(u64, u64), StoreError> {
        let state = self.state();
        let bytes = state.fragments.values().map(|held| held.charged).sum();
        Ok((state.fragments.len() as u64, bytes))
    }
}

impl HoldingRepository for Memory {
    fn put_dossier(&self, tessera: &TesseraHash, dossier: &Dossier) -> Result<bool, StoreError> {
        let found = blake3(&dossier.manifest);
        if found != (*tessera).into() {
            return Err(StoreError::Mismatch { expected: (*tessera).into(), found });
        }
        let mut state = self.state();
        state.refuse_blocked(tessera)?;
        match state.dossiers.get(tessera) {
            Some(known) if known.plan != dossier.plan => return Ok(false),
            Some(_) => {}
            None => state.name((*tessera).into(), Arc::new(dossier.manifest.clone())),
        }
        state.dossiers.insert(*tessera, dossier.clone());
        Ok(true)
    }

    fn dossier(&self, tessera: &TesseraHash) -> Result<Option<Dossier>, StoreError> {
        Ok(self.state().dossiers.get(tessera).cloned())
    }

    fn plan(&self, tessera: &TesseraHash) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().dossiers.get(tessera).map(|dossier| dossier.plan.clone()))
    }

    fn publication(&self, tessera: &TesseraHash) -> Result<Publication, StoreError> {
        Ok(self.state().publications.get(tessera).copied().unwrap_or_default())
    }

    fn note_publication(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Publication, StoreError> {
        self.attempt("note_publication")?;
        let mut state = self.state();
        let known = state.publications.entry(*tessera).or_default();
        *known = known.after(event);
        Ok(*known)
    }

    fn note_publication_unless_dropped(
        &self,
        tessera: &TesseraHash,
        event: PublicationEvent,
    ) -> Result<Option<Publication>, StoreError> {
        self.act_meanwhile(event);
        let is_wanted = {
            let state = self.state();
            state.library.contains_key(tessera) && !state.blocked.contains(tessera)
        };
        is_wanted.then(|| self.note_publication(tessera, event)).transpose()
    }

    fn list_publications(&self) -> Result<Vec<(TesseraHash, Publication)>, StoreError> {
        Ok(self.state().publications.iter().map(|(hash, known)| (*hash, *known)).collect())
    }

    fn remember_holders(
        &self,
        tessera: &TesseraHash,
        seen: &[Contact],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.attempt("remember_holders")?;
        self.state().holders.entry(*tessera).or_default().remember(seen, now);
        Ok(())
    }

    fn note_hints(
        &self,
        tessera: &TesseraHash,
        hints: &[Contact],
        by: HintBy,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.state().holders.entry(*tessera).or_default().hint(hints, by, now);
        Ok(())
    }

    fn known_holders(&self, tessera: &TesseraHash) -> Result<Vec<KnownHolder>, StoreError> {
        Ok(self.state().holders.get(tessera).map(KnownHolders::all).unwrap_or_default())
    }

    fn record_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let known = state.placements.entry(*tessera).or_default();
        known.retain(|other| (other.piece, other.holder) != (placed.piece, placed.holder));
        known.insert(*placed);
        Ok(())
    }

    fn placements(&self, tessera: &TesseraHash) -> Result<Vec<PlacedPiece>, StoreError> {
        Ok(self.state().placements.get(tessera).into_iter().flatten().copied().collect())
    }

    fn forget_placement(
        &self,
        tessera: &TesseraHash,
        placed: &PlacedPiece,
    ) -> Result<(), StoreError> {
        if let Some(known) = self.state().placements.get_mut(tessera) {
            known.retain(|other| (other.piece, other.holder) != (placed.piece, placed.holder));
        }
        Ok(())
    }

    fn record_repair(
        &self,
        tessera: &TesseraHash,
        repair: &RepairRecord,
    ) -> Result<(), StoreError> {
        self.state().repairs.insert(*tessera, *repair);
        Ok(())
    }

    fn last_repair(&self, tessera: &TesseraHash) -> Result<Option<RepairRecord>, StoreError> {
        Ok(self.state().repairs.get(tessera).copied())
    }

    fn block(&self, tessera: &TesseraHash, _now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state();
        state.forget_dossier(tessera);
        state.publications.remove(tessera);
        state.holders.remove(tessera);
        state.placements.remove(tessera);
        state.repairs.remove(tessera);
        state.blocked.insert(*tessera);
        Ok(())
    }

    fn is_blocked(&self, tessera: &TesseraHash) -> Result<bool, StoreError> {
        Ok(self.state().blocked.contains(tessera))
    }
}

impl ReciprocityLedger for Memory {
    fn account(&self, peer: &NodeId) -> Result<Account, StoreError> {
        let state = self.state();
        Ok(Account { stored_for: state.stored_for(peer), stored_by: state.stored_by(peer) })
    }

    fn usage(&self, with: &PeerAt) -> Result<Usage, StoreError> {
        let state = self.state();
        let mut usage = Usage::default();
        for held in state.fragments.values() {
            let bytes = held.charged;
            usage.total += bytes;
            match &held.charge {
                Charge::Repair(PeerAt { id, subnet }) => {
                    usage.repair += bytes;
                    usage.repair_by_peer += if *id == with.id { bytes } else { 0 };
                    usage.repair_in_subnet += if *subnet == with.subnet { bytes } else { 0 };
                }
                Charge::Peer(PeerAt { id, subnet }) => {
                    if state.stored_by(id) <= state.stored_for(id) {
                        usage.indebted += bytes;
                        usage.indebted_in_subnet += if *subnet == with.subnet { bytes } else { 0 };
                    }
                }
            }
        }
        Ok(usage)
    }

    fn has_placed(&self, peer: &NodeId, tessera: &TesseraHash) -> Result<bool, StoreError> {
        let state = self.state();
        let of_peer = |charge: &Charge| {
            let (Charge::Peer(placer) | Charge::Repair(placer)) = charge;
            placer.id == *peer
        };
        Ok(state.fragments.iter().any(|((of, _), held)| of == tessera && of_peer(&held.charge)))
    }
}

#[test]
fn stores_in_memory_do_what_those_on_a_disk_do() {
    use tesseras_core::ports::conformance;
    let hash: conformance::Hash = |bytes| blake3(bytes);
    let new = Memory::default;
    conformance::blob_store(&new(), hash);
    let memory = new();
    conformance::fragment_store(&memory, &memory, hash);
    let memory = new();
    conformance::tessera_repository(&memory, &memory, hash);
    let memory = new();
    conformance::holding_repository(&memory, &memory, &memory, hash);
    let memory = new();
    conformance::reciprocity_ledger(&memory, &memory, &memory, &memory, hash);
    let memory = new();
    conformance::workbench(&memory, &memory, &memory, hash);
}
