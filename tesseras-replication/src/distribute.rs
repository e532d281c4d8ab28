//! Sending pieces to other nodes, until each has a holder or no node is left. A late transfer is
//! hedged with another node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::{Assignment, Candidate};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Charge, PlacedPiece, StoreError};
use tesseras_wire::{Body, BoxFuture, BoxStream};
use tokio::time::{Duration, Instant, sleep};

use crate::bulk;
use crate::dossier::VerifiedDossier;
use crate::heartbeat::Heartbeat;
use crate::holder::Holder;
use crate::messages::{Attestation, MAX_WITNESSES, Offered};
use crate::peers::{AskError, Parcel, Peers, ask_all};
use crate::pieces::PieceSource;
use crate::policy::offers::{Eligible, OfferTerms, Offers};
use crate::policy::pace::Paces;
use crate::policy::patience::{Manner, Patience};
use crate::policy::survey::{LiveHolder, Survey};
use crate::ports::Directory;
use crate::workshop::Workshop;
use tesseras_core::progress::Meter;

/// Concurrent offers.
const OFFERS_AT_ONCE: usize = 32;
/// How often to check for late transfers.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How pieces are placed.
#[derive(Debug, Clone)]
pub(crate) struct Placing {
    /// Against whom they count; what is this node's own counts in its ledger, too.
    charge: Charge<()>,
    /// Others who attest the tessera, if it is a repair.
    witnesses: Vec<Contact>,
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

/// The answers to offers of nodes near the key, with the addresses at which they were reached.
pub(crate) struct Prospects(Vec<(Contact, Option<(SocketAddr, Offered)>)>);

/// Why a piece was not placed on a node.
#[derive(Debug, thiserror::Error)]
enum PutError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The collaborators of placing pieces: other nodes, and this one as one of them.
#[derive(Clone, Copy)]
pub(crate) struct Distributor<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
}

/// A piece that is being sent to a node.
struct Transfer {
    slot: usize,
    piece: Piece,
    node: NodeId,
    heard: Heartbeat,
    /// Whether it is also being sent to another node.
    hedged: Option<Duration>,
}

/// A transfer that has ended.
struct Sent {
    slot: usize,
    node: NodeId,
    result: Result<(), PutError>,
}

/// One distribution in progress.
struct Delivering<'a> {
    distributor: Distributor<'a>,
    dossier: &'a VerifiedDossier,
    source: &'a PieceSource,
    placing: &'a Placing,
    count: &'a Meter,
    begun: Instant,
    assignment: Assignment,
    contacts: BTreeMap<NodeId, Contact>,
    has_dossier: BTreeSet<NodeId>,
    /// The pieces to place; several may be copies of one piece. Slots are indices into this list.
    pieces: Vec<Piece>,
    waiting: VecDeque<usize>,
    /// The slots that have no holder yet and may still get one.
    open: BTreeSet<usize>,
    paces: Paces,
    transfers: Vec<Transfer>,
    running: FuturesUnordered<BoxFuture<'a, Sent>>,
    delivery: Delivery,
}

impl<'a> Distributor<'a> {
    /// Asks nodes near the key whether they would hold pieces of a tessera, and how many bytes.
    pub(crate) async fn ask_candidates(
        &self,
        tessera: TesseraHash,
        terms: OfferTerms,
        manner: Manner,
    ) -> Prospects {
        let found = self.directory.candidates(tessera.dht_key(), terms.wanted);
        Prospects(self.offer_to(found, tessera, terms, manner).await)
    }

    /// The nodes that may be given pieces: candidates and live holders, and this node itself if the
    /// terms say so. Holders that the survey did not know are found by their answers, and added to
    /// it.
    pub(crate) async fn eligible(
        &self,
        dossier: &VerifiedDossier,
        survey: &mut Survey,
        prospects: &Prospects,
        terms: OfferTerms,
    ) -> Eligible {
        let (tessera, plan, me) = (dossier.tessera(), dossier.plan(), self.peers.me());
        self.attest_those_who_hold(tessera, survey, prospects).await;
        let placement = survey.placement(plan);
        let asked: BTreeSet<NodeId> = prospects.0.iter().map(|(contact, _)| contact.id).collect();
        let mut others = survey.contacts();
        others.retain(|id, _| *id != me && !asked.contains(id));
        let others = Box::pin(stream::iter(others.into_values()));
        let more = self.offer_to(others, tessera, terms, Manner::Quick).await;
        // The dossier is sent with each of the first transfers to a node.
        let transfers = self.peers.max_transfers() as u64;
        let beside = dossier.encoded_bytes().saturating_mul(transfers);
        let mut offers = Offers::default();
        for (contact, answer) in prospects.0.iter().cloned().chain(more) {
            let pieces = placement.get(&contact.id).cloned().unwrap_or_default();
            offers.note(contact, answer, pieces, beside);
        }
        if terms.include_self
            && let Some(address) = self.directory.own_addresses().first()
        {
            let pieces = placement.get(&me).cloned().unwrap_or_default();
            let subnet = Subnet::of(address.ip());
            let room = self.holder.own_room(subnet).await;
            offers.note_self(Candidate { id: me, subnet, pieces, room }, terms);
        }
        offers.eligible(plan)
    }

    /// A candidate that claims to hold pieces is asked to attest them.
    async fn attest_those_who_hold(
        &self,
        tessera: TesseraHash,
        survey: &mut Survey,
        prospects: &Prospects,
    ) {
        let unknown = prospects.0.iter().filter(|(contact, answer)| {
            answer.as_ref().is_some_and(|(_, offered)| !offered.pieces.is_empty())
                && !survey.live.contains_key(&contact.id)
        });
        let unknown: Vec<Contact> = unknown.map(|(contact, _)| contact.clone()).collect();
        let peers = self.peers;
        let attest = |contact: Contact| -> BoxFuture<'_, _> {
            Box::pin(async move { peers.attest(&contact, tessera).await })
        };
        let mut patience = Patience::new(Manner::Quick, peers.answer_deadline());
        let is_silent = |_: &Contact| false;
        let unknown = Box::pin(stream::iter(unknown));
        for (contact, answer) in
            ask_all(unknown, OFFERS_AT_ONCE, &mut patience, is_silent, attest).await
        {
            let Some((Attestation { plan, pieces, .. }, _)) = answer else { continue };
            survey.others_attested = true;
            if !pieces.is_empty() {
                survey.live.insert(contact.id, LiveHolder { contact, plan, pieces });
            }
        }
    }

    async fn offer_to(
        &self,
        contacts: BoxStream<'_, Contact>,
        tessera: TesseraHash,
        terms: OfferTerms,
        manner: Manner,
    ) -> Vec<(Contact, Option<(SocketAddr, Offered)>)> {
        let peers = self.peers;
        let offer = |contact: Contact| -> BoxFuture<'_, _> {
            Box::pin(async move {
                let answer = peers.offer(&contact, tessera, terms.bytes, terms.charge).await;
                answer.inspect_err(|error| {
                    tracing::debug!(peer = %contact.id, %error, "no answer to an offer");
                })
            })
        };
        let is_silent = |contact: &Contact| peers.is_silent(contact.id);
        let mut patience = Patience::new(manner, peers.answer_deadline());
        ask_all(contacts, OFFERS_AT_ONCE, &mut patience, is_silent, offer).await
    }

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
            dossier,
            source,
            placing,
            count,
            begun: Instant::now(),
            assignment,
            contacts,
            has_dossier,
            open: (0..pieces.len()).collect(),
            waiting: (0..pieces.len()).collect(),
            pieces,
            paces: Paces::new(patience),
            transfers: Vec::new(),
            running: FuturesUnordered::new(),
            delivery: Delivery { refusals, ..Delivery::default() },
        };
        delivering.run().await;
        let Delivering { pieces, mut delivery, .. } = delivering;
        delivery.unplaced = pieces.len() - delivery.placed;
        delivery
    }

    /// Sends one piece to one node.
    async fn put(
        &self,
        to: &Contact,
        parcel: Parcel<'_>,
        source: &PieceSource,
        with_dossier: bool,
        on_bytes: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Result<(), PutError> {
        let Parcel { dossier, piece, .. } = parcel;
        let tessera = dossier.tessera();
        // Recorded before sending: if the task is stopped now, the piece may still arrive, and only
        // recorded holders are asked later.
        self.holder.remember(tessera, vec![to.clone()]).await?;
        let reader = self.workshop.open(source, piece).await?;
        let parcel = Parcel { bytes: reader.bytes(), ..parcel };
        let body = || -> Body {
            let on_bytes = on_bytes.clone();
            let bytes = bulk::send(&self.workshop.disk, reader.clone(), 0, None);
            Box::pin(bytes.inspect(move |_| on_bytes()))
        };
        self.peers.put_piece(to, &parcel, with_dossier, body).await?;
        if parcel.charge == Charge::OWN {
            let placed = PlacedPiece { piece, holder: to.id, bytes: parcel.bytes };
            self.holder.note_placed(tessera, placed).await?;
        }
        Ok(())
    }
}

impl Placing {
    /// For this node's owner.
    pub(crate) fn own() -> Self {
        Self { charge: Charge::OWN, witnesses: Vec::new() }
    }

    /// On this account; `holders` attest the tessera.
    pub(crate) fn by(charge: Charge<()>, holders: Vec<Contact>) -> Self {
        match charge {
            Charge::Peer(()) => Self::own(),
            Charge::Repair => Self { charge, witnesses: holders },
        }
    }

    /// Those who attest, for a piece that goes to `to`.
    fn witnesses(&self, to: NodeId) -> Vec<Contact> {
        let others = self.witnesses.iter().filter(|witness| witness.id != to);
        others.take(MAX_WITNESSES).cloned().collect()
    }
}

impl Delivering<'_> {
    async fn run(&mut self) {
        while !self.open.is_empty() {
            self.look_for_late();
            self.begin_transfers();
            tokio::select! {
                biased;
                Some(sent) = self.running.next(), if !self.running.is_empty() => self.ended(sent),
                () = sleep(LOOK_EVERY), if !self.running.is_empty() => {}
                else => break,
            }
        }
        // A late transfer that has stood still since it was hedged would have kept the task waiting.
        let is_still = |t: &&Transfer| t.hedged.is_some_and(|at| t.heard.is_still_since(at));
        for _ in self.transfers.iter().filter(is_still) {
            self.distributor.peers.note_needed_hedge();
        }
    }

    fn begin_transfers(&mut self) {
        let limit = self.distributor.peers.max_transfers();
        while self.paces.in_time() < limit && self.running.len() < 2 * limit {
            let Some(slot) = self.waiting.pop_front() else { return };
            match self.assignment.give(self.pieces[slot]) {
                Some(node) => self.begin(slot, node),
                None => self.has_nobody(slot),
            }
        }
    }

    /// No other node may have this piece. A late transfer may still succeed.
    fn has_nobody(&mut self, slot: usize) {
        if self.transfers.iter().all(|transfer| transfer.slot != slot) {
            self.open.remove(&slot);
        }
    }

    fn begin(&mut self, slot: usize, node: NodeId) {
        let (piece, begun) = (self.pieces[slot], self.begun);
        self.paces.begin(piece, node, begun.elapsed());
        // A second transfer of a piece is the hedge of a late one.
        if let Some(late) = self.transfers.iter_mut().find(|t| t.slot == slot && t.hedged.is_none())
        {
            late.hedged = Some(begun.elapsed());
            self.distributor.peers.note_hedge();
        }
        let heard = Heartbeat::since(self.begun);
        let transfer = Transfer { slot, piece, node, heard: heard.clone(), hedged: None };
        self.transfers.push(transfer);
        let on_bytes = move || heard.mark();
        let (distributor, dossier, source) = (self.distributor, self.dossier, self.source);
        let with_dossier = !self.has_dossier.contains(&node);
        let (charge, witnesses) = (self.placing.charge, self.placing.witnesses(node));
        let contact = self.contacts.get(&node).cloned();
        self.running.push(Box::pin(async move {
            let result = match contact {
                None => distributor.holder.keep(dossier, source, piece).await.map_err(Into::into),
                Some(contact) => {
                    let parcel = Parcel { dossier, piece, bytes: 0, charge, witnesses };
                    distributor.put(&contact, parcel, source, with_dossier, on_bytes).await
                }
            };
            Sent { slot, node, result }
        }));
    }

    fn contact(&self, node: NodeId) -> Contact {
        let own = || self.distributor.directory.own_addresses();
        let known = self.contacts.get(&node).cloned();
        known.unwrap_or_else(|| Contact { id: node, addresses: own() })
    }

    /// Hedges late transfers with another node.
    fn look_for_late(&mut self) {
        for Transfer { piece, node, heard, .. } in &self.transfers {
            if let Some(at) = heard.last() {
                self.paces.heard(*piece, *node, at);
            }
        }
        let peers = self.distributor.peers;
        for (piece, node) in self.paces.late(self.begun.elapsed(), || peers.may_hedge()) {
            tracing::debug!(%piece, %node, "a piece is late");
            let late = self.transfers.iter().find(|t| (t.piece, t.node) == (piece, node));
            let Some(late) = late else { continue };
            self.waiting.extend(Some(late.slot).filter(|slot| self.open.contains(slot)));
        }
    }

    fn ended(&mut self, sent: Sent) {
        let Sent { slot, node, result } = sent;
        let piece = self.pieces[slot];
        let is_this = |t: &mut Transfer| (t.piece, t.node) == (piece, node);
        let hedged = self.transfers.extract_if(.., is_this).any(|t| t.hedged.is_some());
        if hedged && result.is_err() {
            self.distributor.peers.note_needed_hedge();
        }
        self.paces.end(piece, node, result.is_ok(), self.begun.elapsed());
        match result {
            Ok(()) => {
                self.has_dossier.insert(node);
                self.delivery.holders.push(self.contact(node));
                if self.open.remove(&slot) {
                    self.count.add(self.source.plan().piece_bytes(piece).unwrap_or(0));
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
                self.delivery.refusals.push(error.to_string());
                self.assignment.refused(node, piece);
                if self.open.contains(&slot) && !self.waiting.contains(&slot) {
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
