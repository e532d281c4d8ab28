//! Gathering enough pieces of a tessera on this node to read it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tesseras_core::code::{CodedForm, Piece};
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::placement::Placement;
use tesseras_core::ports::StoreError;
use tesseras_core::words::size;
use thiserror::Error;

use crate::ask::{AskError, PieceOnItsWay};
use crate::bulk::ReceiveError;
use crate::context::Replication;
use crate::dossier::VerifiedDossier;
use crate::erasure::{self, ErasureError};
use crate::pieces::PieceSource;
use crate::progress::{ByteCount, OnStep};
use crate::survey::Survey;

/// A holder that failed this often is not asked for more.
const MAX_FAILURES: u32 = 2;

/// Why not enough pieces came together.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Fewer than k different pieces could be obtained.
    #[error("{}", too_few(*found, *needed, last.as_deref()))]
    TooFew {
        /// How many came.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// What went wrong last.
        last: Option<String>,
    },
    /// The disk would fall below its reserve.
    #[error(
        "{} of free disk space are needed beside the reserve, and there is {}",
        size(*needed),
        size(*free)
    )]
    NoSpace {
        /// For this task.
        needed: u64,
        /// Beyond the reserve.
        free: u64,
    },
    /// The codec or a store failed.
    #[error(transparent)]
    Erasure(#[from] ErasureError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rebuilt piece is not what the plan says: the plan is false, or the code is wrong.
    #[error("piece {0} as rebuilt is not what the plan says")]
    FalsePlan(Piece),
}

fn too_few(found: usize, needed: usize, last: Option<&str>) -> String {
    let last = last.map(|error| format!("; the last failure: {error}")).unwrap_or_default();
    match needed {
        1 => format!("no whole copy could be obtained{last}"),
        _ => format!("only {found} of the {needed} pieces that are needed could be obtained{last}"),
    }
}

/// What was gathered.
pub(crate) struct Collected {
    /// Where they are read.
    pub(crate) source: PieceSource,
    /// The sound pieces at hand: the whole pack, or at least k fragments.
    pub(crate) pieces: BTreeSet<Piece>,
    /// From which nodes.
    pub(crate) holders: BTreeSet<NodeId>,
}

impl Replication {
    /// Brings pieces to this node until the pack can be read: the whole, or k fragments, data
    /// before parity. What is here already, from an interrupted try too, is not fetched again.
    pub(crate) async fn collect(
        &self,
        dossier: &VerifiedDossier,
        mut source: PieceSource,
        survey: &Survey,
        on_step: &OnStep,
    ) -> Result<Collected, CollectError> {
        let plan = dossier.plan();
        let mut hunt = Hunt::new(plan.coded(), survey, &survey.placement(plan), self.id());
        let (mut source, mut have) = self
            .state
            .disk
            .run(move || {
                let have = source.sound_pieces()?;
                Ok::<_, StoreError>((source, have))
            })
            .await?;
        self.found_damaged(dossier.tessera(), source.damaged());
        let mut holders = BTreeSet::new();
        if hunt.missing(&have) > 0 {
            let each = plan.piece_bytes(hunt.first_kind()).unwrap_or(0);
            self.check_room(hunt.missing(&have) as u64 * each).await?;
        }
        let total = hunt.needed as u64 * plan.piece_bytes(hunt.first_kind()).unwrap_or(0);
        let count = ByteCount::new("fetching pieces", total, on_step);
        count.add((hunt.needed - hunt.missing(&have)) as u64 * (total / hunt.needed as u64));
        let mut running = FuturesUnordered::new();
        let mut last = None;
        loop {
            while running.len() < self.parts.config.max_transfers
                && hunt.missing(&have) > running.len()
            {
                let Some((piece, holder)) = hunt.next(&have) else { break };
                let count = count.clone();
                running.push(async move {
                    let result = self.take_piece(&holder, dossier, piece, &count).await;
                    (piece, holder.id, result)
                });
            }
            let Some((piece, holder, result)) = running.next().await else { break };
            match result {
                Ok(()) => {
                    hunt.succeeded(piece, holder);
                    source.stored_anew(piece);
                    self.mend(dossier, &source, piece).await;
                    have.insert(piece);
                    holders.insert(holder);
                }
                // The own disk failed; no other holder makes up for that.
                Err(AskError::Receive(ReceiveError::Store(error))) => return Err(error.into()),
                Err(error) => {
                    tracing::info!(%piece, %holder, %error, "a piece could not be had");
                    hunt.failed(piece, holder);
                    last = Some(error.to_string());
                }
            }
        }
        if hunt.missing(&have) > 0 {
            let found = hunt.needed - hunt.missing(&have);
            return Err(CollectError::TooFew { found, needed: hunt.needed, last });
        }
        Ok(Collected { source, pieces: have, holders })
    }

    /// Fetches one piece, checks it, and pins it for this task.
    async fn take_piece(
        &self,
        from: &Contact,
        dossier: &VerifiedDossier,
        piece: Piece,
        count: &ByteCount,
    ) -> Result<(), AskError> {
        let tessera = dossier.tessera();
        let PieceOnItsWay { bytes, checksum, body, _permit } =
            self.ask_for_piece(from, dossier, piece).await?;
        let blobs = &self.parts.stores.blobs;
        let staged =
            body.stage(&self.state.disk, blobs, bytes, checksum, |bytes| count.add(bytes)).await?;
        let now = self.now();
        self.blocking(move |stores| stores.workbench.pin(&tessera, staged, now))
            .await
            .map_err(|error| AskError::Receive(ReceiveError::Store(error)))
    }

    /// Computes pieces from those at hand, checks them against the plan, and pins them.
    pub(crate) async fn rebuild(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        have: &BTreeSet<Piece>,
        wanted: Vec<u8>,
        on_step: &OnStep,
    ) -> Result<(), CollectError> {
        let Some(form) = source.plan().coded() else { return Ok(()) };
        if wanted.is_empty() {
            return Ok(());
        }
        self.check_room(wanted.len() as u64 * form.fragment_bytes).await?;
        let turn = self.state.coding.clone().acquire_owned().await;
        let (tessera, now) = (source.plan().tessera(), self.now());
        let count = ByteCount::new("rebuilding", source.plan().pack_bytes(), on_step);
        let done = wanted.clone();
        let (here, have) = (source.clone(), have.clone());
        let rebuilt = self.blocking(move |stores| {
            // Kept until the work ends, even if nobody waits for it any more.
            let _turn = turn;
            let whole = have.contains(&Piece::Whole);
            let usable = (0..form.shape.n())
                .filter(|i| have.contains(&Piece::Index(*i)) || (whole && *i < form.shape.k));
            let pieces = usable
                .map(|i| Ok((i, here.open(Piece::Index(i))?)))
                .collect::<Result<Vec<_>, StoreError>>()?;
            let mut on_bytes = |bytes| {
                count.add(bytes);
                true
            };
            let staged = erasure::rebuild(&pieces, form, &wanted, &*stores.blobs, &mut on_bytes)?;
            let mut wrong = None;
            for (index, staged) in wanted.into_iter().zip(staged) {
                if here.plan().checksum(Piece::Index(index)) == Some(staged.hash) {
                    stores.workbench.pin(&tessera, staged, now)?;
                } else {
                    stores.blobs.discard(staged);
                    wrong = Some(Piece::Index(index));
                }
            }
            wrong.map_or(Ok(()), |piece| Err(CollectError::FalsePlan(piece)))
        });
        rebuilt.await?;
        for piece in done.into_iter().map(Piece::Index) {
            source.stored_anew(piece);
            self.mend(dossier, source, piece).await;
        }
        Ok(())
    }

    /// Replaces a held piece that was found damaged by the sound one that is at hand now. If that
    /// fails, the piece is still at hand, and still counts as damaged.
    async fn mend(&self, dossier: &VerifiedDossier, source: &PieceSource, piece: Piece) {
        let tessera = dossier.tessera();
        if !self.is_damaged(tessera, piece) {
            return;
        }
        let mending = async {
            let held = self.blocking(move |s| s.fragments.list_fragments(&tessera)).await?;
            if held.iter().any(|fragment| fragment.piece == piece) {
                self.keep(dossier, source, piece).await?;
            }
            Ok::<_, StoreError>(())
        };
        if let Err(error) = mending.await {
            tracing::warn!(%tessera, %piece, %error, "a damaged piece could not be replaced");
        }
    }

    /// Whether `bytes` fit on the disk beside the reserve.
    pub(crate) async fn check_room(&self, bytes: u64) -> Result<(), CollectError> {
        let free = self.blocking(|stores| stores.blobs.free_bytes()).await?;
        let free = free.saturating_sub(self.parts.config.limits.min_free_space);
        if free < bytes { Err(CollectError::NoSpace { needed: bytes, free }) } else { Ok(()) }
    }
}

/// Which piece to take from whom next. Pure: it only counts.
struct Hunt {
    form: Option<CodedForm>,
    needed: usize,
    /// Per piece, who may have it.
    sources: BTreeMap<Piece, Vec<Contact>>,
    running: BTreeSet<Piece>,
    /// Transfers under way, per holder.
    busy: BTreeMap<NodeId, u32>,
    failures: BTreeMap<NodeId, u32>,
}

impl Hunt {
    fn new(form: Option<CodedForm>, survey: &Survey, placement: &Placement, me: NodeId) -> Self {
        let mut sources: BTreeMap<Piece, Vec<Contact>> = BTreeMap::new();
        for (id, pieces) in placement.iter().filter(|(id, _)| **id != me) {
            let contact = &survey.live[id].contact;
            for piece in pieces {
                match (piece, form) {
                    // A node that has the whole pack has each of its data fragments.
                    (Piece::Whole, Some(form)) => {
                        for index in 0..form.shape.k {
                            let at = sources.entry(Piece::Index(index)).or_default();
                            at.push(contact.clone());
                        }
                    }
                    _ => sources.entry(*piece).or_default().push(contact.clone()),
                }
            }
        }
        Self {
            form,
            needed: form.map_or(1, |form| form.shape.k.into()),
            sources,
            running: BTreeSet::new(),
            busy: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn first_kind(&self) -> Piece {
        if self.form.is_some() { Piece::Index(0) } else { Piece::Whole }
    }

    /// How many pieces are still needed.
    fn missing(&self, have: &BTreeSet<Piece>) -> usize {
        if have.contains(&Piece::Whole) { 0 } else { self.needed.saturating_sub(have.len()) }
    }

    /// The next piece, and from whom: data before parity, the least busy holder first.
    fn next(&mut self, have: &BTreeSet<Piece>) -> Option<(Piece, Contact)> {
        let open = |piece: &Piece| !have.contains(piece) && !self.running.contains(piece);
        let (piece, contact) = self.sources.iter().filter(|(piece, _)| open(piece)).find_map(
            |(piece, contacts)| {
                let usable = contacts
                    .iter()
                    .filter(|c| self.failures.get(&c.id).is_none_or(|n| *n < MAX_FAILURES));
                let best = usable.min_by_key(|c| self.busy.get(&c.id).copied().unwrap_or(0))?;
                Some((*piece, best.clone()))
            },
        )?;
        self.running.insert(piece);
        *self.busy.entry(contact.id).or_default() += 1;
        Some((piece, contact))
    }

    fn succeeded(&mut self, piece: Piece, holder: NodeId) {
        self.ended(piece, holder);
        self.failures.remove(&holder);
    }

    fn failed(&mut self, piece: Piece, holder: NodeId) {
        self.ended(piece, holder);
        *self.failures.entry(holder).or_default() += 1;
        if let Some(contacts) = self.sources.get_mut(&piece) {
            contacts.retain(|c| c.id != holder);
        }
    }

    fn ended(&mut self, piece: Piece, holder: NodeId) {
        self.running.remove(&piece);
        if let Some(busy) = self.busy.get_mut(&holder) {
            *busy = busy.saturating_sub(1);
        }
    }
}
