//! Bringing pieces to other nodes, until each has a holder or nobody is left to ask.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tesseras_core::buffer::PageBuffer;
use tesseras_core::code::{Piece, WHOLE_COPIES};
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::{Assignment, Candidate, Placement};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Charge, Fragment, PlacedPiece, StoreError};
use tesseras_core::publication::PublicationEvent;
use tesseras_wire::Peer;
use tesseras_wire::codec::Refusal;
use tokio::time::{Duration, sleep};

use crate::ask::{AskError, at_most};
use crate::bulk;
use crate::causes::Causes;
use crate::context::Replication;
use crate::dossier::VerifiedDossier;
use crate::messages::{Announced, MAX_HOLDERS, MAX_WITNESSES, Offered, Request, Stored, refusal};
use crate::pieces::PieceSource;
use crate::progress::ByteCount;

/// How many nodes are asked at once whether they would hold something.
const OFFERS_AT_ONCE: usize = 16;
/// How often a node that is busy is tried again with the same piece.
const PUT_RETRIES: u32 = 10;
const PUT_PAUSE: Duration = Duration::from_millis(500);
/// How often a holder is told that a tessera is published, if it does not answer.
const ROSTER_TRIES: u32 = 3;

/// For whom pieces are placed.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// For this node's owner: it counts in the ledger.
    Own,
    /// For a tessera that others hold, too: these attest it.
    Repair {
        /// Who.
        witnesses: Vec<Contact>,
    },
}

/// The nodes that may be given pieces of a tessera, as they said just now.
pub(crate) struct Eligible {
    pub(crate) assignment: Assignment,
    contacts: BTreeMap<NodeId, Contact>,
    has_dossier: BTreeSet<NodeId>,
    /// How many would take something, or hold something already.
    pub(crate) count: usize,
    /// Why the others would not, for people.
    pub(crate) refusals: Vec<String>,
    /// The same, counted.
    pub(crate) causes: Causes,
}

/// What nodes answered to offers.
#[derive(Default)]
struct Offers {
    candidates: Vec<Candidate>,
    has_dossier: BTreeSet<NodeId>,
    refusals: Vec<String>,
    causes: Causes,
}

/// Result of distributing.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) placed: Vec<(Piece, NodeId)>,
    pub(crate) unplaced: Vec<Piece>,
    pub(crate) refusals: Vec<String>,
}

impl Replication {
    /// Asks nodes near the key, and this node itself if `include_self`, whether they would hold
    /// pieces of a tessera and how many bytes, until `wanted` would or no more are found.
    pub(crate) async fn find_eligible(
        &self,
        dossier: &VerifiedDossier,
        placement: &Placement,
        live: &BTreeMap<NodeId, Contact>,
        ask: Ask,
    ) -> Eligible {
        let tessera = dossier.tessera();
        let key = tessera.dht_key();
        let me = self.id();
        let found = self.parts.directory.candidates(key, ask.wanted).await;
        let mut contacts = live.clone();
        for contact in found {
            contacts.entry(contact.id).or_insert(contact);
        }
        contacts.remove(&me);
        let asked = contacts.values().cloned().map(|contact| async move {
            let answer = self.offer(&contact, tessera, ask.bytes, ask.repair).await;
            (contact, answer)
        });
        let answers = at_most(OFFERS_AT_ONCE, asked).await;
        // The dossier comes along with each of the first transfers to a node.
        let beside = dossier.encoded_bytes().saturating_mul(self.parts.config.max_transfers as u64);
        let mut offers = Offers::default();
        for (contact, answer) in answers {
            let pieces = placement.get(&contact.id).cloned().unwrap_or_default();
            offers.note(&contact, answer, pieces, beside);
        }
        if ask.include_self
            && let Some(address) = self.parts.directory.own_addresses().first()
        {
            let pieces = placement.get(&me).cloned().unwrap_or_default();
            let subnet = Subnet::of(address.ip());
            let room = self.own_room(subnet).await;
            if room >= ask.bytes || !pieces.is_empty() {
                offers.candidates.push(Candidate { id: me, subnet, pieces, room });
            }
            offers.has_dossier.insert(me);
        }
        let Offers { candidates, has_dossier, refusals, mut causes } = offers;
        let count = candidates.len();
        causes.willing = count;
        let pack_bytes = dossier.plan().pack_bytes();
        match dossier.plan().coded() {
            Some(form) => causes.need(form.shape.k.into(), form.fragment_bytes),
            None => causes.need(1, pack_bytes),
        }
        Eligible {
            assignment: Assignment::new(key, pack_bytes, candidates),
            contacts,
            has_dossier,
            count,
            refusals,
            causes,
        }
    }

    /// Places pieces, at most as many at once as there may be transfers. One that is refused or
    /// fails goes to the next node.
    pub(crate) async fn distribute(
        &self,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        pieces: Vec<Piece>,
        eligible: Eligible,
        purpose: &Purpose,
        count: &ByteCount,
    ) -> Delivery {
        let Eligible { mut assignment, contacts, mut has_dossier, refusals, .. } = eligible;
        let mut delivery = Delivery { refusals, ..Delivery::default() };
        let mut waiting = VecDeque::from(pieces);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.parts.config.max_transfers {
                let Some(piece) = waiting.pop_front() else { break };
                let Some(node) = assignment.give(piece) else {
                    delivery.unplaced.push(piece);
                    continue;
                };
                let with_dossier = !has_dossier.contains(&node);
                let contact = contacts.get(&node);
                running.push(async move {
                    let result = match contact {
                        None => self.keep(dossier, source, piece).await.map_err(PutError::Store),
                        Some(contact) => {
                            self.put(contact, dossier, source, piece, purpose, with_dossier).await
                        }
                    };
                    (piece, node, result)
                });
            }
            let Some((piece, node, result)) = running.next().await else { break };
            match result {
                Ok(()) => {
                    has_dossier.insert(node);
                    count.add(source.plan().piece_bytes(piece).unwrap_or(0));
                    delivery.placed.push((piece, node));
                }
                // Nobody else could be given it either.
                Err(PutError::Store(error)) => {
                    tracing::error!(%piece, %error, "a piece cannot be read or noted here");
                    delivery.refusals.push(error.to_string());
                    delivery.unplaced.push(piece);
                }
                Err(error) => {
                    tracing::info!(%piece, %node, %error, "a piece was not taken");
                    delivery.refusals.push(error.to_string());
                    assignment.refused(node, piece);
                    waiting.push_back(piece);
                }
            }
        }
        delivery
    }

    /// Brings one piece to one node.
    async fn put(
        &self,
        to: &Contact,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        piece: Piece,
        purpose: &Purpose,
        mut with_dossier: bool,
    ) -> Result<(), PutError> {
        let tessera = dossier.tessera();
        let witnesses = match purpose {
            Purpose::Own => Vec::new(),
            Purpose::Repair { witnesses } => {
                witnesses.iter().filter(|w| w.id != to.id).take(MAX_WITNESSES).cloned().collect()
            }
        };
        // Before it is sent: if this is stopped now, the piece may arrive all the same, and only
        // who is remembered is asked later.
        let (holder, now) = (to.clone(), self.now());
        self.blocking(move |stores| stores.holdings.remember_holders(&tessera, &[holder], now))
            .await?;
        let mut tries = 0;
        loop {
            let source = source.clone();
            let reader = self.blocking(move |_| source.open(piece)).await?;
            let bytes = reader.bytes();
            let permit = self.transfer_out().await;
            let head = if with_dossier { dossier.encode() } else { Vec::new() };
            let request = Request::PutPiece {
                tessera,
                piece,
                bytes,
                dossier_bytes: head.len() as u64,
                witnesses: witnesses.clone(),
            };
            let head = stream::iter((!head.is_empty()).then(|| Ok(head.into())));
            let body = Box::pin(head.chain(bulk::send(&self.state.disk, reader, 0, None)));
            let deadline = self.parts.config.transfer_deadline;
            match self.ask::<Stored>(to, &request, Some(body), deadline).await {
                Ok(_) => break,
                Err(error) if error.is_refusal(refusal::NEED_DOSSIER) && !with_dossier => {
                    with_dossier = true;
                }
                Err(error) if error.is_refusal(Refusal::BUSY) && tries < PUT_RETRIES => {
                    tries += 1;
                    drop(permit);
                    sleep(PUT_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let bytes = source.plan().piece_bytes(piece).unwrap_or(0);
        let placed = PlacedPiece { piece, holder: to.id, bytes };
        if matches!(purpose, Purpose::Own) {
            let now = self.now();
            self.blocking(move |stores| stores.holdings.record_placement(&tessera, &placed, now))
                .await?;
        }
        Ok(())
    }

    /// Keeps a rebuilt piece on this node, as any other holder would.
    pub(crate) async fn keep(
        &self,
        dossier: &VerifiedDossier,
        source: &PieceSource,
        piece: Piece,
    ) -> Result<(), StoreError> {
        let tessera = dossier.tessera();
        let (dossier, source) = (dossier.clone(), source.clone());
        let kept = self.blocking(move |stores| {
            let reader = source.open(piece)?;
            let mut writer = stores.blobs.stage()?;
            let mut buffer = PageBuffer::new(bulk::CHUNK);
            let mut at = 0;
            while at < reader.bytes() {
                let len = (reader.bytes() - at).min(buffer.len() as u64) as usize;
                reader.read_at(at, &mut buffer[..len])?;
                writer.write(&buffer[..len])?;
                at += len as u64;
            }
            let staged = writer.finish()?;
            let missing = StoreError::Missing(source.plan().pack_hash());
            let checksum = source.plan().checksum(piece).ok_or(missing)?;
            let fragment =
                Fragment { tessera: dossier.tessera(), piece, checksum, bytes: reader.bytes() };
            stores.holdings.put_dossier(&dossier.tessera(), dossier.dossier())?;
            stores.fragments.store_fragment(&fragment, staged, &Charge::Repair)
        });
        kept.await?;
        self.stored_anew(tessera, piece);
        Ok(())
    }

    /// Tells all holders about each other, and that the tessera is published; each announces itself
    /// before it answers. Returns how many did.
    pub(crate) async fn send_roster(
        &self,
        dossier: &VerifiedDossier,
        holders: &[Contact],
    ) -> usize {
        let tessera = dossier.tessera();
        let me = self.id();
        let roster: Vec<Contact> = holders.iter().take(MAX_HOLDERS).cloned().collect();
        if holders.iter().any(|h| h.id == me) {
            self.mark_confirmed(tessera).await;
        }
        let deadline = self.parts.config.transfer_deadline;
        let telling = holders.iter().filter(|h| h.id != me).cloned().map(|holder| {
            let request = Request::Roster { tessera, holders: roster.clone() };
            async move {
                for _ in 0..ROSTER_TRIES {
                    match self.ask::<Announced>(&holder, &request, None, deadline).await {
                        Ok(_) => return true,
                        Err(AskError::Refused(refusal)) if refusal.code != Refusal::BUSY => break,
                        Err(_) => sleep(PUT_PAUSE).await,
                    }
                }
                false
            }
        });
        at_most(OFFERS_AT_ONCE, telling).await.into_iter().filter(|told| *told).count()
    }

    /// Notes that a tessera of which this node holds a piece is published, and announces it.
    async fn mark_confirmed(&self, tessera: TesseraHash) {
        let noted = self
            .blocking(move |stores| {
                stores.holdings.note_publication(&tessera, PublicationEvent::Confirmed)
            })
            .await;
        if let Err(error) = noted {
            tracing::error!(%tessera, %error, "that it is published could not be noted");
        }
        self.announce_new(vec![tessera]).await;
    }
}

impl Offers {
    /// Notes one node's answer. Of the room that it has, `beside` bytes are left for the dossier,
    /// unless it has that.
    fn note(
        &mut self,
        contact: &Contact,
        answer: Result<(Peer, Offered), AskError>,
        pieces: BTreeSet<Piece>,
        beside: u64,
    ) {
        // Where it was reached counts; what else it lists is its own word.
        let reached = match &answer {
            Ok((peer, _)) => Some(peer.remote),
            Err(_) => contact.addresses.first().copied(),
        };
        let Some(subnet) = reached.map(|address| Subnet::of(address.ip())) else { return };
        let room = match answer {
            Ok((_, offered)) => {
                if offered.has_dossier {
                    self.has_dossier.insert(contact.id);
                }
                let told = offered.room.map(|room| match offered.has_dossier {
                    true => room,
                    false => room.saturating_sub(beside),
                });
                let is_over_quota = offered.code.as_deref() == Some(refusal::OVER_QUOTA);
                if offered.accepts || is_over_quota {
                    self.causes.note_short(contact, told.unwrap_or(u64::MAX));
                }
                if !offered.accepts {
                    self.refusals.extend(offered.reason);
                }
                if offered.accepts { told.unwrap_or(u64::MAX) } else { 0 }
            }
            Err(error) => {
                tracing::debug!(peer = %contact.id, %error, "no answer to an offer");
                0
            }
        };
        if room > 0 || !pieces.is_empty() {
            self.candidates.push(Candidate { id: contact.id, subnet, pieces, room });
        }
    }
}

/// What nodes are asked before they are given anything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    /// How many nodes are looked for.
    wanted: usize,
    /// The length of the smallest piece.
    bytes: u64,
    repair: bool,
    include_self: bool,
}

impl Ask {
    /// For the pieces of a plan: as many nodes as its full form needs.
    pub(crate) fn of(plan: &Plan, repair: bool, include_self: bool) -> Self {
        let (wanted, bytes) = match plan.coded() {
            Some(form) => (form.shape.n().into(), form.fragment_bytes),
            None => (WHOLE_COPIES, plan.pack_bytes()),
        };
        Self { wanted, bytes, repair, include_self }
    }
}

/// Why a piece has not come to a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error(transparent)]
    Store(#[from] StoreError),
}
