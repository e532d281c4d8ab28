//! Sending pieces to other nodes, until each has a holder or no node is left. A late transfer is
//! hedged with another node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::StreamExt as _;
use futures_util::stream;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::placement::Assignment;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Charge, PlacedPiece, StoreError};
use tesseras_core::progress::Meter;
use tesseras_wire::BoxFuture;
use tokio::time::Instant;

use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::messages::MAX_WITNESSES;
use crate::peers::{AskError, Parcel, Peers, Priority, TransferState};
use crate::pieces::PieceSource;
use crate::policy::offers::{Eligible, of_node};
use crate::policy::patience::{Manner, Patience};
use crate::ports::Directory;
use crate::sending::{self, Outgoing};
use crate::tessera_lock::TesseraLock;
use crate::throttle::Throttled;
use crate::transfers::{Ended, Transfers};
use crate::workshop::Workshop;

/// Why pieces are placed, which decides against whom they count.
#[derive(Debug, Clone)]
pub(crate) enum Placing {
    /// For this node's owner: they count against this node, and are recorded in its ledger.
    Own,
    /// Only to show that this node has them: their holders hold them already.
    Shown,
    /// As a repair, which others witness.
    Repair {
        /// Nodes that attest the tessera.
        witnesses: Vec<Contact>,
    },
}

/// The result of distributing pieces.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// How many pieces, or copies of one, now have a holder.
    pub(crate) placed: usize,
    /// How many have none.
    pub(crate) unplaced: usize,
    /// The nodes that accepted something, possibly including this one.
    pub(crate) holders: Vec<Contact>,
    /// Why other nodes refused.
    pub(crate) refusals: Vec<String>,
}

/// Why a piece was not placed on a node.
#[derive(Debug, thiserror::Error)]
enum PutError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this node no longer keeps it, or keeps another plan of it")]
    Unwanted,
}

/// The collaborators of placing pieces: other nodes, and this one as one of them.
#[derive(Clone, Copy)]
pub(crate) struct Distributor<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
    /// Of the tessera whose pieces are placed.
    pub(crate) lock: &'a TesseraLock,
    pub(crate) priority: Priority,
    /// The bandwidth that its transfers use, if that is limited.
    pub(crate) throttled: Option<Throttled<'a>>,
}

/// What is distributed.
#[derive(Clone, Copy)]
struct Shipment<'a> {
    dossier: &'a VerifiedDossier,
    /// Where the pieces are read from.
    source: &'a PieceSource,
    placing: &'a Placing,
}

/// One distribution in progress.
struct Delivering<'a> {
    distributor: Distributor<'a>,
    shipment: Shipment<'a>,
    count: &'a Meter,
    assignment: Assignment,
    contacts: BTreeMap<NodeId, Contact>,
    has_dossier: BTreeSet<NodeId>,
    /// The pieces to place; several may be copies of one piece. Slots are indices into this list.
    pieces: Vec<Piece>,
    waiting: VecDeque<usize>,
    /// The slots that have no holder yet and may still get one.
    open: BTreeSet<usize>,
    /// By slot.
    transfers: Transfers<'a, usize, PutError>,
    delivery: Delivery,
}

impl<'a> Distributor<'a> {
    /// Places pieces, with as many concurrent transfers as allowed. A piece that is refused or
    /// fails goes to the next node.
    pub(crate) async fn distribute(
        &self,
        dossier: &'a VerifiedDossier,
        source: &'a PieceSource,
        pieces: Vec<Piece>,
        eligible: Eligible,
        placing: &'a Placing,
        count: &'a Meter,
    ) -> Delivery {
        let Eligible { assignment, contacts, has_dossier, refusals, .. } = eligible;
        let patience = Patience::new(Manner::Unhurried, self.peers.transfer_deadline());
        let mut delivering = Delivering {
            distributor: *self,
            shipment: Shipment { dossier, source, placing },
            count,
            assignment,
            contacts,
            has_dossier,
            open: (0..pieces.len()).collect(),
            waiting: (0..pieces.len()).collect(),
            pieces,
            transfers: Transfers::new(self.peers, patience),
            delivery: Delivery { refusals, ..Delivery::default() },
        };
        delivering.run().await;
        let Delivering { pieces, mut delivery, .. } = delivering;
        delivery.unplaced = pieces.len() - delivery.placed;
        delivery
    }

    /// Sends to each of these holders the piece beside it, which it holds already: it learns that this
    /// node has it as well. Returns those that took it.
    pub(crate) async fn show(
        &self,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        to: Vec<(Contact, Piece)>,
    ) -> Vec<Contact> {
        let shipment = Shipment { dossier, source, placing: &Placing::Shown };
        let show = |(holder, piece): (Contact, Piece)| -> BoxFuture<'_, Option<Contact>> {
            Box::pin(async move {
                let state = TransferState::new(Instant::now(), None);
                match self.put(&holder, piece, shipment, false, state).await {
                    Ok(()) => Some(holder),
                    Err(error) => {
                        tracing::info!(%piece, node = %holder.id, %error, "a piece was not taken");
                        None
                    }
                }
            })
        };
        let shown = stream::iter(to.into_iter().map(show).collect::<Vec<_>>());
        let shown = shown.buffer_unordered(self.peers.max_transfers());
        shown.filter_map(std::future::ready).collect().await
    }

    /// Sends one piece to one node.
    async fn put(
        &self,
        to: &Contact,
        piece: Piece,
        Shipment { dossier, source, placing }: Shipment<'_>,
        with_dossier: bool,
        state: TransferState,
    ) -> Result<(), PutError> {
        // Recorded before sending: if the task is stopped now, the piece may still arrive, and only
        // recorded holders are asked later.
        self.holder.note_sending(self.lock, to.clone()).await?;
        let reader = self.workshop.open(source, piece).await?;
        let bytes = reader.bytes();
        let beside = if with_dossier { dossier.encoded_bytes() } else { 0 };
        let _transferring = match &self.throttled {
            Some(throttled) => Some(throttled.reserve(bytes + beside, &state).await),
            None => None,
        };
        let (witnesses, priority) = (placing.witnesses(to.id), self.priority);
        let parcel = Parcel { dossier, piece, bytes, witnesses, priority, state: &state };
        let body = || {
            // The receiver hashes it, and says if it does not match.
            let outgoing = Outgoing { reader: reader.clone(), check: None };
            sending::send(&self.workshop.disk, outgoing, 0, None)
        };
        self.peers.put_piece(to, &parcel, with_dossier, body).await?;
        if matches!(placing, Placing::Own) {
            let placed = PlacedPiece { piece, holder: to.id, bytes };
            self.holder.note_placed(self.lock, placed).await?;
        }
        Ok(())
    }
}

impl Placing {
    /// On this account; `holders` attest the tessera.
    pub(crate) fn by(charge: Charge<()>, holders: Vec<Contact>) -> Self {
        match charge {
            Charge::Peer(()) => Self::Own,
            Charge::Repair(()) => Self::Repair { witnesses: holders },
        }
    }

    /// The witnesses that are named to `to`: it believes only nodes that it has met, and
    /// has most likely met its neighbours in the space of ids.
    fn witnesses(&self, to: NodeId) -> Vec<Contact> {
        let Self::Repair { witnesses } = self else { return Vec::new() };
        let others = witnesses.iter().filter(|witness| witness.id != to);
        let mut others: Vec<&Contact> = others.collect();
        others.sort_by_key(|witness| witness.id.distance(&DhtKey::from(to)));
        others.into_iter().take(MAX_WITNESSES).cloned().collect()
    }
}

impl Delivering<'_> {
    async fn run(&mut self) {
        while !self.open.is_empty() {
            for (slot, _) in self.transfers.mark_late(|_, _, _| false) {
                self.waiting.extend(Some(slot).filter(|slot| self.open.contains(slot)));
            }
            self.begin_transfers();
            if self.transfers.is_empty() {
                break;
            }
            if let Some(ended) = self.transfers.next().await {
                self.ended(ended);
            }
        }
    }

    fn begin_transfers(&mut self) {
        while self.transfers.may_begin() {
            let Some(slot) = self.waiting.pop_front() else { return };
            match self.assignment.give(self.pieces[slot]) {
                Some(node) => self.begin(slot, node),
                // No other node may have this piece. A late transfer may still succeed.
                None if self.transfers.running().has(slot) => {}
                None => drop(self.open.remove(&slot)),
            }
        }
    }

    fn begin(&mut self, slot: usize, node: NodeId) {
        let Self { distributor, shipment, .. } = *self;
        let piece = self.pieces[slot];
        let with_dossier = !self.has_dossier.contains(&node);
        let contact = self.contacts.get(&node).cloned();
        // Only the same piece stands in for a late one.
        self.transfers.begin(
            slot,
            node,
            |late| late == slot,
            |state| {
                Box::pin(async move {
                    match contact {
                        None => {
                            let Distributor { holder, lock, .. } = distributor;
                            let Shipment { dossier, source, .. } = shipment;
                            match holder.keep(lock, dossier, source, piece).await? {
                                true => Ok(()),
                                false => Err(PutError::Unwanted),
                            }
                        }
                        Some(to) => {
                            distributor.put(&to, piece, shipment, with_dossier, state).await
                        }
                    }
                })
            },
        );
    }

    fn contact(&self, node: NodeId) -> Contact {
        let own = || self.distributor.directory.own_addresses();
        let known = self.contacts.get(&node).cloned();
        known.unwrap_or_else(|| Contact { id: node, addresses: own() })
    }

    fn ended(&mut self, ended: Ended<usize, PutError>) {
        let Ended { key: slot, node, result } = ended;
        let piece = self.pieces[slot];
        match result {
            Ok(()) => {
                self.has_dossier.insert(node);
                self.delivery.holders.push(self.contact(node));
                if self.open.remove(&slot) {
                    self.count.add(self.shipment.source.plan().piece_bytes(piece).unwrap_or(0));
                    self.delivery.placed += 1;
                }
                self.waiting.retain(|other| *other != slot);
            }
            // It could not be sent to any other node either.
            Err(PutError::Store(error)) => {
                tracing::error!(%piece, %error, "a piece cannot be read or noted here");
                self.delivery.refusals.push(error.to_string());
                self.open.remove(&slot);
            }
            Err(error) => {
                tracing::info!(%piece, %node, %error, "a piece was not taken");
                self.delivery.refusals.push(of_node(node, error));
                self.assignment.refused(node, piece);
                // While a hedge of it is in progress, that one may still succeed.
                let is_sent = self.waiting.contains(&slot) || self.transfers.running().has(slot);
                if self.open.contains(&slot) && !is_sent {
                    self.waiting.push_back(slot);
                }
            }
        }
    }
}

/// The total length of these pieces, in bytes.
pub(crate) fn bytes_of(plan: &Plan, pieces: &[Piece]) -> u64 {
    pieces.iter().filter_map(|piece| plan.piece_bytes(*piece)).sum()
}
