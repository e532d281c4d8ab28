//! Answers to other nodes' requests about tesserae. Uses the pieces kept for others, and contacts
//! other nodes only to verify a witness.
//!
//! Nothing is acknowledged before it is durable, nothing is kept before it is verified, and a piece
//! is attested if the index has it and its file is there in full length: no blob is read for that.

mod answer;
mod put;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_bytes::ByteBuf;
use tesseras_core::address::cleaned_contacts;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{BlobReader, Charge, HeldPiece, PeerAt, StoreError};
use tesseras_crypto::blake3;
use tesseras_wire::codec::{self, Answer, Refusal};
use tesseras_wire::{Body, Peer, Response, body_from_bytes};
use tokio::time::timeout;

use crate::announce::announce_new;
use crate::attestation::{self, Question};
use crate::holder::{NotAdmitted, NotedRoster};
use crate::messages::{
    Announced, Attestation, AttestedPiece, BatchAnswer, Bulk, KINDS, MAX_BATCH,
    MAX_BATCH_ANSWER_BYTES, MAX_HOLDERS, MAX_WITNESSES, Offered, Request,
};
use crate::policy::admission::Standing;
use crate::sending::{self, Outgoing, Permit};
use answer::{LARGE_DOSSIER, Outcome, internal, not_held, refuse};
use put::Put;

pub(crate) use answer::Service;

/// How long announcing may take before a roster is answered anyway.
const ANNOUNCING: Duration = Duration::from_millis(300);

/// Who sent a request.
struct Asker {
    from: PeerAt,
    /// Read once for all offers of a batch: they are not binding.
    standing: Option<Standing>,
}

impl Asker {
    fn new(from: PeerAt) -> Self {
        Self { from, standing: None }
    }
}

impl Service<'_> {
    /// Answers a request; `None` if its kind belongs to another service.
    pub(crate) async fn serve(
        &self,
        peer: Peer,
        kind: &str,
        frame: &[u8],
        body: Body,
    ) -> Option<Response> {
        if !KINDS.contains(&kind) {
            return None;
        }
        match codec::decode::<Request>(frame) {
            Ok(request) => Some(self.answer(&peer, request, body).await),
            Err(error) => {
                let frame = codec::refuse(Refusal::MALFORMED, error.to_string());
                Some(Response { frame, body: None })
            }
        }
    }

    async fn answer(&self, peer: &Peer, request: Request, body: Body) -> Response {
        let remote = peer.remote.ip();
        let from = PeerAt { id: peer.id, subnet: Subnet::of(remote) };
        match request {
            Request::Offer { .. } | Request::Attest { .. } => {
                self.short(&mut Asker::new(from), request).await
            }
            Request::PutPiece { tessera, piece, bytes, dossier_bytes, witnesses } => {
                let is_repair = !witnesses.is_empty();
                let witnesses = cleaned_contacts(witnesses, MAX_WITNESSES, remote);
                let put = Put { tessera, piece, bytes, dossier_bytes, is_repair, witnesses };
                plain(self.put(from, put, body).await)
            }
            Request::GetDossier { tessera } => with_body(self.dossier(tessera).await),
            Request::GetPiece { tessera, piece, offset } => {
                with_body(self.piece(from, tessera, piece, offset).await)
            }
            Request::Roster { tessera, holders } => {
                let holders = cleaned_contacts(holders, MAX_HOLDERS, remote);
                plain(self.roster(from, tessera, holders).await)
            }
            Request::Batch { requests } => plain(self.batch(from, requests).await),
        }
    }

    /// Answers one request of a batch after the other, as many as fit a frame.
    async fn batch(&self, from: PeerAt, requests: Vec<Request>) -> Outcome<BatchAnswer> {
        if requests.is_empty() || requests.len() > MAX_BATCH {
            let why = format!("a batch has 1 to {MAX_BATCH} requests, not {}", requests.len());
            return Err(Refusal::new(Refusal::MALFORMED, why));
        }
        let (mut answers, mut bytes) = (Vec::with_capacity(requests.len()), 0);
        let mut asker = Asker::new(from);
        for request in requests {
            if bytes > MAX_BATCH_ANSWER_BYTES {
                break;
            }
            let frame = self.short(&mut asker, request).await.frame;
            bytes += frame.len();
            answers.push(ByteBuf::from(frame));
        }
        Ok(BatchAnswer { answers })
    }

    /// Answers a request that may be part of a batch.
    async fn short(&self, asker: &mut Asker, request: Request) -> Response {
        match request {
            Request::Offer { tessera, bytes, charge } => {
                plain(self.offer(asker, tessera, bytes, charge).await)
            }
            Request::Attest { tessera, nonce } => {
                plain(self.attest(asker.from, tessera, nonce).await)
            }
            _ => {
                let why = "a batch has only offer and attest requests";
                plain::<Offered>(Err(Refusal::new(Refusal::MALFORMED, why)))
            }
        }
    }

    async fn offer(
        &self,
        asker: &mut Asker,
        tessera: TesseraHash,
        bytes: u64,
        charge: Charge<()>,
    ) -> Outcome<Offered> {
        let pieces = self.holder.all_pieces(tessera).await.map_err(internal)?;
        let published = match pieces.is_empty() {
            true => None,
            false => Some(self.holder.is_published(tessera).await.map_err(internal)?),
        };
        let decision = match self.refuse_unwanted(tessera).await {
            Ok(()) => self.room(asker, charge, bytes).await.map_err(refuse),
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
            pieces: pieces.iter().map(|held| held.piece).collect(),
            published,
        })
    }

    /// How much would be accepted from a peer, if these bytes are.
    async fn room(
        &self,
        asker: &mut Asker,
        charge: Charge<()>,
        bytes: u64,
    ) -> Result<u64, NotAdmitted> {
        let standing = match asker.standing {
            Some(standing) => standing,
            None => *asker.standing.insert(self.holder.standing(asker.from).await?),
        };
        self.holder.admit_by(standing, &charge.of(asker.from), bytes)
    }

    async fn attest(
        &self,
        from: PeerAt,
        tessera: TesseraHash,
        nonce: [u8; 32],
    ) -> Outcome<Attestation> {
        let holder = self.holder;
        let held = holder.held_pieces(tessera).await.map_err(internal)?;
        let plan = match held.is_empty() {
            true => None,
            false => {
                let plan = holder.plan(tessera).await.map_err(internal)?;
                plan.map(|bytes| blake3(&bytes))
            }
        };
        let attested = |f: HeldPiece| AttestedPiece { piece: f.piece, checksum: f.checksum };
        let pieces = held.into_iter().map(attested).collect();
        let question = Question { asker: from.id, holder: holder.me(), tessera, nonce };
        Ok(attestation::attest(&holder.keys, &question, holder.clock.now(), plan, pieces))
    }

    async fn dossier(&self, tessera: TesseraHash) -> Outcome<(Bulk, Body)> {
        let holder = self.holder;
        if !holder.is_holder(tessera).await.map_err(internal)? {
            return Err(not_held());
        }
        let manifest = holder.manifest_bytes(tessera).await;
        let is_large = manifest.is_ok_and(|bytes| bytes > LARGE_DOSSIER);
        let permit = if is_large { Some(holder.permit_for_large_dossier().await?) } else { None };
        let encoded = self.stored_dossier(tessera).await?.ok_or_else(not_held)?.encode();
        let bytes = encoded.len() as u64;
        let body = if is_large {
            let permit = permit.map(Permit::Dossier);
            let outgoing = Outgoing { reader: Arc::new(InMemory(encoded)), check: None };
            sending::send(&holder.disk, outgoing, 0, permit)
        } else {
            body_from_bytes(encoded)
        };
        Ok((Bulk { bytes }, body))
    }

    async fn piece(
        &self,
        from: PeerAt,
        tessera: TesseraHash,
        piece: Piece,
        offset: u64,
    ) -> Outcome<(Bulk, Body)> {
        let held = self.holder.held_pieces(tessera).await.map_err(internal)?;
        // A holder of the whole pack also has its data fragments.
        let found = held.iter().find(|f| f.piece == piece);
        let whole = || held.iter().find(|f| f.piece == Piece::Whole);
        let held_piece = *found.or_else(whole).ok_or_else(not_held)?;
        let permit = self.holder.permit_to_send(from).await?;
        let outgoing = match self.holder.open(held_piece, piece).await {
            Ok(outgoing) => outgoing.ok_or_else(not_held)?,
            Err(error) if error.is_damage() => {
                let noting = self.holder.found_damaged(tessera, vec![held_piece.piece]);
                noting.await.map_err(internal)?;
                return Err(not_held());
            }
            Err(error) => return Err(internal(error)),
        };
        let bytes = outgoing.reader.bytes().saturating_sub(offset);
        let permit = Some(Permit::Transfer(permit));
        Ok((Bulk { bytes }, sending::send(&self.holder.disk, outgoing, offset, permit)))
    }

    async fn roster(
        &self,
        from: PeerAt,
        tessera: TesseraHash,
        holders: Vec<Contact>,
    ) -> Outcome<Announced> {
        let noted = self.holder.note_roster(tessera, from.id, holders).await.map_err(internal)?;
        let NotedRoster { is_new, is_confirmed } = noted.ok_or_else(not_held)?;
        if is_new || self.holder.unannounced().contains(&tessera) {
            let announced = announce_new(self.holder, self.directory, tessera);
            if timeout(ANNOUNCING, announced).await.is_err() {
                tracing::info!(%tessera, "announcing is slow; the roster is answered first");
            }
        }
        Ok(Announced { confirmed: Some(is_confirmed) })
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

/// A dossier that is being sent.
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
