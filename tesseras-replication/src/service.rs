//! What this node answers to others about tesserae.
//!
//! Nothing is acknowledged before it is durable, nothing is kept before it is verified, and
//! attestations are made from the index alone: no blob is read for them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Account, BlobReader, Charge, Fragment, Origin, StoreError, Usage};
use tesseras_core::publication::PublicationEvent;
use tesseras_crypto::blake3;
use tesseras_wire::body_from_bytes;
use tesseras_wire::codec::{self, Answer, Refusal};
use tesseras_wire::{Body, Peer, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::admission::{self, Claim};
use crate::ask::at_most;
use crate::attestation::{self, Question};
use crate::bulk::{self, BodyReader, ReceiveError};
use crate::context::{Replication, Stores, Tables};
use crate::dossier::{MAX_DOSSIER_BYTES, VerifiedDossier};
use crate::in_flight::Incoming;
use crate::messages::{
    Announced, Attestation, AttestedPiece, Bulk, KINDS, MAX_HOLDERS, MAX_WITNESSES, Offered,
    Request, Stored, refusal,
};

/// How long a request waits for its turn before it is told that the node is busy.
const TURN: Duration = Duration::from_secs(10);
/// How long witnesses may take to answer, all together.
const WITNESSES: Duration = Duration::from_secs(10);
/// How long announcing may take before a roster is answered all the same.
const ANNOUNCING: Duration = Duration::from_secs(15);
/// All that a peer is told with [`refusal::DECLINED`].
const DECLINED: &str = "this node does not take it";
/// Dossiers longer than this wait for each other.
const LARGE_DOSSIER: u64 = 1024 * 1024;

/// What answering can come to.
type Outcome<T> = Result<T, Refusal>;

impl Replication {
    /// Answers a request; `None` if its kind belongs to somebody else.
    pub async fn serve(
        &self,
        peer: Peer,
        kind: &str,
        frame: &[u8],
        body: Body,
    ) -> Option<Response> {
        if !KINDS.contains(&kind) {
            return None;
        }
        let request = match codec::decode::<Request>(frame) {
            Ok(request) => request,
            Err(error) => {
                let frame = codec::refuse(Refusal::MALFORMED, error.to_string());
                return Some(Response { frame, body: None });
            }
        };
        Some(match request {
            Request::Offer { tessera, bytes, repair } => {
                plain(self.answer_offer(&peer, tessera, bytes, repair).await)
            }
            Request::PutPiece { tessera, piece, bytes, dossier_bytes, witnesses } => {
                let put = Put { tessera, piece, bytes, dossier_bytes, witnesses };
                plain(self.answer_put(&peer, put, BodyReader::new(body)).await)
            }
            Request::Attest { tessera, nonce } => {
                plain(self.answer_attest(&peer, tessera, nonce).await)
            }
            Request::GetDossier { tessera } => with_body(self.answer_dossier(tessera).await),
            Request::GetPiece { tessera, piece, offset } => {
                with_body(self.answer_piece(tessera, piece, offset).await)
            }
            Request::Roster { tessera, holders } => {
                plain(self.answer_roster(&peer, tessera, holders).await)
            }
        })
    }

    async fn answer_offer(
        &self,
        peer: &Peer,
        tessera: TesseraHash,
        bytes: u64,
        repair: bool,
    ) -> Outcome<Offered> {
        let pieces = self.blocking(move |s| s.fragments.list_fragments(&tessera)).await;
        let pieces: Vec<Piece> = pieces.map_err(internal)?.iter().map(|f| f.piece).collect();
        let decision = match self.refuse_unwanted(tessera).await {
            Ok(()) => self.admit(peer, bytes, repair).await,
            Err(refused) => Err(refused),
        };
        let (room, refused) = match decision {
            Ok(room) => (room, None),
            Err(refused) => (0, Some(refused)),
        };
        Ok(Offered {
            accepts: refused.is_none(),
            reason: refused.as_ref().map(|refusal| refusal.message.clone()),
            code: refused.map(|refusal| refusal.code),
            room: Some(room),
            has_dossier: !pieces.is_empty(),
            pieces,
        })
    }

    async fn answer_attest(
        &self,
        peer: &Peer,
        tessera: TesseraHash,
        nonce: [u8; 32],
    ) -> Outcome<Attestation> {
        let held = self.held_pieces(tessera).await.map_err(internal)?;
        let plan = match held.is_empty() {
            true => None,
            false => {
                let plan = self.blocking(move |stores| stores.holdings.plan(&tessera)).await;
                plan.map_err(internal)?.map(|bytes| blake3(&bytes))
            }
        };
        let held = held.into_iter();
        let pieces = held.map(|f| AttestedPiece { piece: f.piece, checksum: f.checksum }).collect();
        let question = Question { asker: peer.id, holder: self.id(), tessera, nonce };
        Ok(attestation::attest(&self.parts.keys, &question, self.now(), plan, pieces))
    }

    async fn answer_dossier(&self, tessera: TesseraHash) -> Outcome<(Bulk, Body)> {
        if !self.blocking(move |stores| is_holder(stores, tessera)).await.map_err(internal)? {
            return Err(not_held());
        }
        let manifest = self.blocking(move |stores| stores.blobs.open(&tessera.into())).await;
        let is_large = manifest.is_ok_and(|manifest| manifest.bytes() > LARGE_DOSSIER);
        let turn = if is_large { Some(self.turn(&self.state.large_dossiers).await?) } else { None };
        let dossier = self.stored_dossier(tessera).await?;
        let encoded = dossier.ok_or_else(not_held)?.encode();
        let bytes = encoded.len() as u64;
        let body = if is_large {
            bulk::send(&self.state.disk, Arc::new(InMemory(encoded)), 0, turn)
        } else {
            body_from_bytes(encoded)
        };
        Ok((Bulk { bytes }, body))
    }

    async fn answer_piece(
        &self,
        tessera: TesseraHash,
        piece: Piece,
        offset: u64,
    ) -> Outcome<(Bulk, Body)> {
        let permit = self.turn(&self.state.transfers_out).await?;
        let held = self.held_pieces(tessera).await.map_err(internal)?;
        // A holder of the whole pack has its data fragments, too.
        let found = held.iter().find(|f| f.piece == piece);
        let whole = || held.iter().find(|f| f.piece == Piece::Whole);
        let fragment = *found.or_else(whole).ok_or_else(not_held)?;
        let opened = self.blocking(move |stores| {
            let reader: Arc<dyn BlobReader> = Arc::from(stores.fragments.read_fragment(&fragment)?);
            if fragment.piece == piece {
                return Ok(Some(reader));
            }
            let plan = stores.holdings.plan(&tessera)?.map(|bytes| Plan::parse(&bytes));
            let Some(Ok(plan)) = plan else { return Ok(None) };
            stores.pieces(plan, Some(reader))?.open(piece).map(Some)
        });
        let reader = match opened.await {
            Ok(reader) => reader.ok_or_else(not_held)?,
            Err(StoreError::Corrupt(_) | StoreError::Missing(_)) => {
                self.found_damaged(tessera, [fragment.piece]);
                return Err(not_held());
            }
            Err(error) => return Err(internal(error)),
        };
        let bytes = reader.bytes().saturating_sub(offset);
        Ok((Bulk { bytes }, bulk::send(&self.state.disk, reader, offset, Some(permit))))
    }

    async fn answer_roster(
        &self,
        peer: &Peer,
        tessera: TesseraHash,
        mut holders: Vec<Contact>,
    ) -> Outcome<Announced> {
        holders.truncate(MAX_HOLDERS);
        let (id, sender, now) = (self.id(), peer.id, self.now());
        let is_new = self
            .blocking(move |stores| {
                if stores.fragments.list_fragments(&tessera)?.is_empty() {
                    return Ok(None);
                }
                let was = stores.holdings.publication(&tessera)?;
                // Who placed a piece here decides whether it is published: a stranger could
                // otherwise complete what its owner has cancelled.
                let is_new = !was.confirmed && stores.ledger.has_placed(&sender, &tessera)?;
                if is_new {
                    stores.holdings.note_publication(&tessera, PublicationEvent::Confirmed)?;
                }
                // Hearsay: it adds to what this node has seen itself, and replaces none of it.
                let known = stores.holdings.known_holders(&tessera)?;
                let is_unknown = |c: &Contact| c.id != id && known.iter().all(|k| k.id != c.id);
                holders.retain(is_unknown);
                holders.truncate(MAX_HOLDERS.saturating_sub(known.len()));
                stores.holdings.remember_holders(&tessera, &holders, now)?;
                Ok(Some(is_new))
            })
            .await
            .map_err(internal)?;
        let is_new = is_new.ok_or_else(not_held)?;
        if is_new || self.tables().unannounced.contains(&tessera) {
            let announced = self.announce_new(vec![tessera]);
            if timeout(ANNOUNCING, announced).await.is_err() {
                tracing::info!(%tessera, "announcing takes long");
            }
        }
        Ok(Announced {})
    }

    async fn answer_put(&self, peer: &Peer, put: Put, mut body: BodyReader) -> Outcome<Stored> {
        let Put { tessera, piece, bytes, dossier_bytes, ref witnesses } = put;
        self.refuse_unwanted(tessera).await?;
        let held = self.held_pieces(tessera).await;
        if held.map_err(internal)?.iter().any(|f| f.piece == piece) {
            return Ok(Stored {});
        }
        if dossier_bytes > MAX_DOSSIER_BYTES {
            return Err(Refusal::new(Refusal::MALFORMED, "the dossier is too long"));
        }
        let _permit = self.turn(&self.state.transfers_in).await?;
        let repair = !witnesses.is_empty();
        // What it claims is refused early, and counts for nobody until it is known to be true.
        self.admit(peer, bytes.saturating_add(dossier_bytes), repair).await?;
        let _dossier_reserved = self.reserve(peer, dossier_bytes, repair).await?;
        let dossier = self.dossier_for_put(&put, &mut body).await?;
        let plan = dossier.plan();
        let (Some(checksum), Some(expected)) = (plan.checksum(piece), plan.piece_bytes(piece))
        else {
            return Err(Refusal::new(refusal::INVALID, "the plan has no such piece"));
        };
        if bytes != expected {
            let why = format!("the plan says {expected} bytes, not {bytes}");
            return Err(Refusal::new(refusal::INVALID, why));
        }
        // Without a true witness it is the sender's own, and counts as such.
        let repair = repair && self.is_witnessed(peer.id, &dossier, witnesses).await;
        let _reserved = self.reserve(peer, bytes, repair).await?;
        let charge = match repair {
            true => Charge::Repair,
            false => Charge::Peer { id: peer.id, subnet: Subnet::of(peer.remote.ip()) },
        };
        let blobs = &self.parts.stores.blobs;
        let staged = body
            .stage(&self.state.disk, blobs, bytes, checksum, |_| {})
            .await
            .map_err(refuse_receive)?;
        let fragment = Fragment { tessera, piece, checksum, bytes };
        let kept = self
            .blocking(move |stores| {
                // Asked again: its person may have dropped it while it came.
                let refused = stores.holdings.is_blocked(&tessera).and_then(|blocked| {
                    Ok(blocked || !stores.holdings.put_dossier(&tessera, dossier.dossier())?)
                });
                if !matches!(refused, Ok(false)) {
                    stores.blobs.discard(staged);
                    return refused.map(|_| None);
                }
                stores.fragments.store_fragment(&fragment, staged, &charge)?;
                let mut publication = stores.holdings.publication(&tessera)?;
                // What others attest is published; of the rest, whoever places it will tell.
                if charge == Charge::Repair && !publication.confirmed {
                    let event = PublicationEvent::Confirmed;
                    publication = stores.holdings.note_publication(&tessera, event)?;
                }
                Ok(Some(publication))
            })
            .await
            .map_err(internal)?;
        let publication = kept.ok_or_else(plan_conflict)?;
        self.stored_anew(tessera, piece);
        if publication.confirmed {
            self.tables().unannounced.insert(tessera);
        }
        tracing::info!(%tessera, %piece, bytes, from = %peer.id, "stored a piece");
        Ok(Stored {})
    }

    /// The dossier that comes with a piece, or the one that is here already.
    async fn dossier_for_put(&self, put: &Put, body: &mut BodyReader) -> Outcome<VerifiedDossier> {
        let tessera = put.tessera;
        let stored = match self.stored_dossier(tessera).await {
            // The one that comes along mends it.
            Err(_) if put.dossier_bytes > 0 => None,
            stored => stored?,
        };
        if put.dossier_bytes == 0 {
            // One that is here for another reason is not to be known.
            let is_holder = self.blocking(move |stores| is_holder(stores, tessera)).await;
            let known = if is_holder.map_err(internal)? { stored } else { None };
            return known.ok_or_else(|| {
                Refusal::new(refusal::NEED_DOSSIER, "send the dossier with the piece")
            });
        }
        let _turn = match put.dossier_bytes > LARGE_DOSSIER {
            true => Some(self.turn(&self.state.large_dossiers).await?),
            false => None,
        };
        let encoded = body.read(put.dossier_bytes).await.map_err(refuse_receive)?;
        let given = VerifiedDossier::decode(&encoded, &put.tessera)
            .map_err(|error| Refusal::new(refusal::INVALID, error.to_string()))?;
        match stored {
            Some(stored) if stored.plan_hash() != given.plan_hash() => Err(plan_conflict()),
            _ => Ok(given),
        }
    }

    /// Whether another holder than the sender attests this very plan now.
    async fn is_witnessed(
        &self,
        sender: NodeId,
        dossier: &VerifiedDossier,
        witnesses: &[Contact],
    ) -> bool {
        let me = self.id();
        let others = witnesses.iter().take(MAX_WITNESSES).filter(|w| w.id != sender && w.id != me);
        let questions = others.cloned().map(|witness| async move {
            self.attest(&witness, dossier.tessera()).await.is_ok_and(|(answer, _)| {
                answer.plan == Some(dossier.plan_hash())
                    && answer
                        .pieces
                        .iter()
                        .any(|p| dossier.plan().checksum(p.piece) == Some(p.checksum))
            })
        });
        match timeout(WITNESSES, at_most(MAX_WITNESSES, questions)).await {
            Ok(answers) => answers.contains(&true),
            Err(_) => false,
        }
    }

    /// Refuses what this node's owner made or does not want. The peer is not told why.
    async fn refuse_unwanted(&self, tessera: TesseraHash) -> Outcome<()> {
        match self.unwanted(tessera).await.map_err(internal)? {
            None => Ok(()),
            Some(why) => {
                tracing::debug!(%tessera, why, "declined");
                Err(Refusal::new(refusal::DECLINED, DECLINED))
            }
        }
    }

    /// Why this node may hold no piece of a tessera, if it may not.
    pub(crate) async fn unwanted(
        &self,
        tessera: TesseraHash,
    ) -> Result<Option<&'static str>, StoreError> {
        self.blocking(move |stores| {
            if stores.holdings.is_blocked(&tessera)? {
                return Ok(Some("it was dropped here"));
            }
            let record = stores.library.get(&tessera)?;
            // A whole copy is here already, and would be lost with the piece.
            let is_own = record.is_some_and(|record| record.origin == Origin::Created);
            let is_kept = is_own || stores.holdings.publication(&tessera)?.published;
            Ok(is_kept.then_some("it was made or published here"))
        })
        .await
    }

    /// How many bytes of repairs this node would take itself.
    pub(crate) async fn own_room(&self, subnet: Subnet) -> u64 {
        let used = self
            .blocking(move |s| {
                Ok::<_, StoreError>((s.ledger.usage(&subnet)?, s.blobs.free_bytes()?))
            })
            .await;
        used.map_or(0, |(usage, free)| {
            admission::room(&Claim::Repair, &usage, free, &self.parts.config.limits)
        })
    }

    /// Decides whether `bytes` are accepted from a peer, and says how many bytes would be.
    async fn admit(&self, peer: &Peer, bytes: u64, repair: bool) -> Outcome<u64> {
        let books = self.books(peer).await?;
        self.decide(&self.tables(), peer, &books, bytes, repair)
    }

    /// [`Self::admit`]; the bytes count as used until what is returned is dropped.
    async fn reserve(&self, peer: &Peer, bytes: u64, repair: bool) -> Outcome<Reservation> {
        let books = self.books(peer).await?;
        let mut tables = self.tables();
        self.decide(&tables, peer, &books, bytes, repair)?;
        let subnet = Subnet::of(peer.remote.ip());
        let number = tables.in_flight.add(Incoming { peer: peer.id, subnet, repair, bytes });
        Ok(Reservation { replication: self.clone(), number })
    }

    async fn books(&self, peer: &Peer) -> Outcome<Books> {
        let (id, subnet) = (peer.id, Subnet::of(peer.remote.ip()));
        let read = self.blocking(move |stores| {
            Ok(Books {
                account: stores.ledger.account(&id)?,
                usage: stores.ledger.usage(&subnet)?,
                free: stores.blobs.free_bytes()?,
            })
        });
        read.await.map_err(internal)
    }

    fn decide(
        &self,
        tables: &Tables,
        peer: &Peer,
        books: &Books,
        bytes: u64,
        repair: bool,
    ) -> Outcome<u64> {
        let Books { account, usage, free } = *books;
        let subnet = Subnet::of(peer.remote.ip());
        let (account, usage) = tables.in_flight.beside((account, usage), peer.id, subnet);
        let claim = if repair { Claim::Repair } else { Claim::Peer { account, subnet } };
        let free = free.saturating_sub(tables.in_flight.bytes());
        let limits = &self.parts.config.limits;
        match admission::decide(bytes, &claim, &usage, free, limits) {
            Ok(()) => Ok(admission::room(&claim, &usage, free, limits)),
            Err(limit) if limit.code() == refusal::DECLINED => {
                tracing::debug!(from = %peer.id, bytes, why = %limit, "declined");
                Err(Refusal::new(refusal::DECLINED, DECLINED))
            }
            Err(limit) => Err(Refusal::new(limit.code(), limit.to_string())),
        }
    }

    /// The dossier kept here, checked again: a disk is not trusted either.
    pub(crate) async fn stored_dossier(
        &self,
        tessera: TesseraHash,
    ) -> Outcome<Option<VerifiedDossier>> {
        self.blocking(move |stores| {
            let dossier = stores.holdings.dossier(&tessera).map_err(internal)?;
            dossier.map(|d| VerifiedDossier::verify(d, &tessera)).transpose().map_err(|error| {
                tracing::error!(%tessera, %error, "the dossier on disk is damaged");
                Refusal::new(Refusal::INTERNAL, "the dossier kept here is damaged")
            })
        })
        .await
    }

    async fn turn(&self, semaphore: &Arc<Semaphore>) -> Outcome<OwnedSemaphorePermit> {
        match tokio::time::timeout(TURN, semaphore.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Refusal::new(Refusal::BUSY, "too many transfers at once")),
        }
    }
}

/// What a [`Request::PutPiece`] says.
struct Put {
    tessera: TesseraHash,
    piece: Piece,
    bytes: u64,
    dossier_bytes: u64,
    witnesses: Vec<Contact>,
}

/// What the store says before a decision.
struct Books {
    account: Account,
    usage: Usage,
    free: u64,
}

/// Bytes that are being received, and count as used until this is dropped.
struct Reservation {
    replication: Replication,
    number: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.replication.tables().in_flight.remove(self.number);
    }
}

fn plain<T: Serialize>(outcome: Outcome<T>) -> Response {
    let answer = match outcome {
        Ok(answer) => Answer::Ok(answer),
        Err(refusal) => Answer::Error(refusal),
    };
    let frame = codec::encode(&answer)
        .unwrap_or_else(|error| codec::refuse(Refusal::INTERNAL, error.to_string()));
    Response { frame, body: None }
}

fn with_body(outcome: Outcome<(Bulk, Body)>) -> Response {
    match outcome {
        Ok((bulk, body)) => Response { body: Some(body), ..plain(Ok(bulk)) },
        Err(refusal) => plain::<Bulk>(Err(refusal)),
    }
}

/// Whether this node holds a piece: only then does it tell anything of a tessera.
fn is_holder(stores: &Stores, tessera: TesseraHash) -> Result<bool, StoreError> {
    Ok(!stores.fragments.list_fragments(&tessera)?.is_empty())
}

fn internal(error: StoreError) -> Refusal {
    tracing::error!(%error, "the store failed");
    match error {
        StoreError::Full { .. } => Refusal::new(refusal::DECLINED, DECLINED),
        StoreError::Busy { .. } => Refusal::new(Refusal::BUSY, "the store is busy"),
        _ => Refusal::new(Refusal::INTERNAL, "the store failed"),
    }
}

fn refuse_receive(error: ReceiveError) -> Refusal {
    match error {
        ReceiveError::Store(error) => internal(error),
        error => Refusal::new(refusal::INVALID, error.to_string()),
    }
}

fn not_held() -> Refusal {
    Refusal::new(refusal::NOT_HELD, "it is not held here")
}

fn plan_conflict() -> Refusal {
    Refusal::new(refusal::PLAN_CONFLICT, "another plan is kept here")
}

/// A dossier on its way out.
struct InMemory(Vec<u8>);

impl BlobReader for InMemory {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let there = self.0.get(start..end).ok_or(StoreError::OutOfRange {
            offset,
            end: end as u64,
            bytes: self.bytes(),
        })?;
        buffer.copy_from_slice(there);
        Ok(())
    }
}
