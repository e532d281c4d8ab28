//! Collecting enough pieces of a tessera on this node to read it. A late transfer is hedged with
//! another holder, and holders that are found in the meantime are used too.

use std::collections::BTreeSet;
use std::iter::repeat_n;

use futures_util::future::OptionFuture;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::StoreError;
use thiserror::Error;
use tokio::time::Duration;

use crate::bulk::ReceiveError;
use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::peers::{AskError, IncomingPiece, Peers, Priority, TransferState};
use crate::pieces::PieceSource;
use crate::policy::hunt::Hunt;
use crate::policy::patience::{Manner, Patience};
use crate::policy::survey::{LiveHolder, Survey};
use crate::ports::UnpackError;
use crate::survey::Surveying;
use crate::tessera_lock::TesseraLock;
use crate::throttle::Throttled;
use crate::transfers::{Ended, Transfers};
use crate::unpack::Unpack;
use crate::workshop::{PrepareError, Workshop};
use tesseras_core::progress::{Meter, OnProgress};

/// Why not enough pieces could be collected.
#[derive(Debug, Error)]
pub enum CollectError {
    /// Fewer than k different pieces could be obtained.
    #[error("{}", too_few(*found, *needed, last.as_deref()))]
    TooFew {
        /// How many were obtained.
        found: usize,
        /// How many are needed.
        needed: usize,
        /// The last failure.
        last: Option<String>,
    },
    /// Pieces could not be prepared on this node.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// What has arrived is not the beginning of the capsule's pack: the plan is false.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

fn too_few(found: usize, needed: usize, last: Option<&str>) -> String {
    let last = last.map(|error| format!("; the last failure: {error}")).unwrap_or_default();
    match needed {
        1 => format!("no whole copy could be obtained{last}"),
        _ => format!("only {found} of the {needed} pieces needed could be obtained{last}"),
    }
}

impl From<StoreError> for CollectError {
    fn from(error: StoreError) -> Self {
        Self::Prepare(error.into())
    }
}

/// How long a holder may be silent before another one is asked as well, while no response time is
/// known.
const SILENCE: Duration = Duration::from_secs(1);

/// The nodes that pieces are collected from.
pub(crate) enum Holders<'a, 's> {
    /// Those that a survey found.
    Known(&'a Survey),
    /// Those that a survey in progress has found and still finds.
    Arriving(&'a mut Surveying<'s>),
}

/// The collected pieces.
pub(crate) struct Collected {
    /// Where they are read from.
    pub(crate) source: PieceSource,
    /// The verified pieces at hand: the whole pack, or at least k fragments.
    pub(crate) pieces: BTreeSet<Piece>,
    /// The nodes that they came from.
    pub(crate) holders: BTreeSet<NodeId>,
}

/// The collaborators of collecting pieces: other nodes, the workbench, and held pieces that it
/// repairs.
#[derive(Clone, Copy)]
pub(crate) struct Collector<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) workshop: &'a Workshop,
    /// Of the tessera whose pieces are collected.
    pub(crate) lock: &'a TesseraLock,
    pub(crate) priority: Priority,
    /// The bandwidth that its transfers use, if that is limited.
    pub(crate) throttled: Option<Throttled<'a>>,
}

/// One collection of pieces in progress.
struct Hunting<'a> {
    collector: Collector<'a>,
    dossier: &'a VerifiedDossier,
    /// The pieces held here that are to be replaced when they come.
    damaged: Vec<Piece>,
    hunt: Hunt,
    /// The capsule that is made of the pieces as they arrive.
    unpack: Option<&'a mut Unpack>,
    count: Meter,
    transfers: Transfers<'a, Piece, AskError>,
    last: Option<String>,
}

impl<'a> Collector<'a> {
    /// Ensures that the parity fragments among these pieces, which are to be sent, are at hand: those
    /// of the draft, or, if they are gone, computed again.
    pub(crate) async fn prepare_parity(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        pieces: &[Piece],
        on_progress: &OnProgress,
    ) -> Result<(), CollectError> {
        let gone = self.workshop.lacking_parity(self.lock, source, pieces).await?;
        self.rebuild(dossier, source, &[Piece::Whole].into(), &gone, on_progress).await
    }

    /// Fetches pieces to this node until the pack can be read: the whole, or k fragments, data
    /// before parity. Pieces that are already here, also from an interrupted attempt, are not
    /// fetched again. What has arrived is unpacked at once if that is wanted.
    pub(crate) async fn collect(
        &self,
        dossier: &'a VerifiedDossier,
        mut source: PieceSource,
        holders: Holders<'_, '_>,
        unpack: Option<&'a mut Unpack>,
        on_progress: &OnProgress,
    ) -> Result<Collected, CollectError> {
        let sound = move || {
            let have = source.verify_pieces()?;
            Ok::<_, StoreError>((source, have))
        };
        let (mut source, have) = self.lock.on(&self.workshop.disk).run(sound).await?;
        self.holder.found_damaged(dossier.tessera(), source.damaged()).await?;
        let damaged = self.holder.damaged_pieces(dossier.tessera()).await?;
        let hunt = Hunt::new(dossier.plan().clone(), have);
        let (missing, each) = (hunt.missing() as u64, hunt.piece_bytes());
        // What is unpacked lies beside the pieces until all of it is there.
        let unpacked = match &unpack {
            Some(_) => self.unpacked_lengths(dossier).await,
            None => Vec::new(),
        };
        self.workshop.check_room(repeat_n(each, hunt.missing()).chain(unpacked)).await?;
        let needed = hunt.needed() as u64;
        let count = Meter::new("fetching pieces", needed * each, on_progress);
        count.add(needed.saturating_sub(missing) * each);
        let mut hunting = Hunting {
            collector: *self,
            dossier,
            damaged,
            hunt,
            unpack,
            count,
            transfers: Transfers::new(self.peers, Patience::new(Manner::Quick, SILENCE)),
            last: None,
        };
        let known = match &holders {
            Holders::Known(survey) => survey,
            Holders::Arriving(surveying) => surveying.so_far(),
        };
        known.live.values().for_each(|holder| hunting.found(holder));
        let arriving = match holders {
            Holders::Known(_) => None,
            Holders::Arriving(surveying) => Some(surveying),
        };
        hunting.run(&mut source, arriving).await?;
        let Hunting { hunt, last, .. } = hunting;
        if hunt.missing() > 0 {
            let found = hunt.needed() - hunt.missing();
            return Err(CollectError::TooFew { found, needed: hunt.needed(), last });
        }
        let (pieces, holders) = hunt.end();
        Ok(Collected { source, pieces, holders })
    }

    /// The length of each file that the capsule becomes.
    async fn unpacked_lengths(&self, dossier: &VerifiedDossier) -> Vec<u64> {
        let dossier = dossier.clone();
        // A MANIFEST of 16 MiB takes a while to parse.
        self.workshop.disk.run(move || dossier.stored_lengths()).await
    }

    /// Computes pieces from those at hand; held ones that were found damaged are replaced by them.
    pub(crate) async fn rebuild(
        &self,
        dossier: &VerifiedDossier,
        source: &mut PieceSource,
        have: &BTreeSet<Piece>,
        wanted: &[u8],
        on_progress: &OnProgress,
    ) -> Result<(), CollectError> {
        self.workshop.rebuild(self.lock, source, have, wanted, on_progress).await?;
        for piece in wanted.iter().map(|index| Piece::Index(*index)) {
            self.holder.mend(self.lock, dossier, source, piece).await;
        }
        Ok(())
    }

    /// Fetches one piece, verifies it, and keeps it for this task.
    async fn take(
        &self,
        from: &Contact,
        dossier: &VerifiedDossier,
        piece: Piece,
        state: &TransferState,
        count: &Meter,
    ) -> Result<(), AskError> {
        let length = dossier.plan().piece_bytes(piece).unwrap_or(0);
        let _transferring = match &self.throttled {
            Some(throttled) => Some(throttled.reserve(length, state).await),
            None => None,
        };
        let taking = self.peers.take_piece(from, dossier, piece, self.priority, state);
        let IncomingPiece { bytes, checksum, body } = taking.await?;
        state.mark(0);
        let (disk, blobs) = (self.lock.on(&self.workshop.disk), self.workshop.blobs());
        let all = |bytes| {
            count.add(bytes);
            state.mark(bytes);
            true
        };
        let staged = body.stage(&disk, blobs, bytes, checksum, all).await?;
        let pinned = self.workshop.pin(self.lock, staged).await;
        pinned.map_err(|error| AskError::Receive(ReceiveError::Store(error)))
    }
}

impl Hunting<'_> {
    fn found(&mut self, holder: &LiveHolder) {
        if holder.contact.id != self.collector.peers.me() {
            self.hunt.found(holder);
        }
    }

    /// Continues until there are enough pieces, or no holder is left to ask.
    async fn run(
        &mut self,
        source: &mut PieceSource,
        mut arriving: Option<&mut Surveying<'_>>,
    ) -> Result<(), CollectError> {
        while self.hunt.missing() > 0 {
            let Self { hunt, transfers, .. } = &mut *self;
            transfers.mark_late(|running, piece, holder| hunt.has_other(running, piece, holder));
            while let Some(slow) =
                transfers.give_up(|running, piece, holder| hunt.has_other(running, piece, holder))
            {
                hunt.given_up(slow);
            }
            self.begin_transfers(arriving.is_some());
            if let Some(unpack) = &mut self.unpack {
                unpack.start(source, self.hunt.leading());
            }
            let finding: OptionFuture<_> = arriving.as_mut().map(|survey| survey.next()).into();
            let unpack = self.unpack.as_mut().filter(|unpack| unpack.is_running());
            let unpacking: OptionFuture<_> = unpack.map(|unpack| unpack.ended()).into();
            tokio::select! {
                biased;
                ended = self.transfers.next(), if !self.transfers.is_empty() => {
                    if let Some(ended) = ended {
                        self.ended(ended, source).await?;
                    }
                }
                Some(unpacked) = unpacking => unpacked?,
                Some(found) = finding => match found {
                    Some(holder) => self.found(&holder),
                    None => arriving = None,
                },
                else => break,
            }
        }
        Ok(())
    }

    fn begin_transfers(&mut self, expects_more: bool) {
        while self.transfers.may_begin() {
            let next = self.hunt.next(self.transfers.running(), expects_more);
            let Some((piece, holder)) = next else { return };
            let (collector, dossier) = (self.collector, self.dossier);
            let count = self.count.clone();
            // Any further piece stands in for a late one.
            self.transfers.begin(
                piece,
                holder.id,
                |_| true,
                |state| {
                    Box::pin(async move {
                        collector.take(&holder, dossier, piece, &state, &count).await
                    })
                },
            );
        }
    }

    async fn ended(
        &mut self,
        ended: Ended<Piece, AskError>,
        source: &mut PieceSource,
    ) -> Result<(), CollectError> {
        let Ended { key: piece, node: holder, result } = ended;
        match result {
            Ok(()) => {
                self.hunt.succeeded(piece, holder);
                source.stored_anew(piece);
                if self.damaged.contains(&piece) {
                    let Collector { holder, lock, .. } = self.collector;
                    holder.mend(lock, self.dossier, source, piece).await;
                }
            }
            // This node's own disk failed; another holder cannot make up for that.
            Err(AskError::Receive(ReceiveError::Store(error))) => return Err(error.into()),
            Err(error) => {
                tracing::info!(%piece, %holder, %error, "a piece could not be obtained");
                self.hunt.failed(piece, holder);
                self.last = Some(error.to_string());
            }
        }
        Ok(())
    }
}
