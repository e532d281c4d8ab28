//! Receiving a piece: admitted, verified, hashed during the transfer, and durable before it is
//! acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tesseras_core::code::Piece;
use tesseras_core::contact::{Contact, Subnet};
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{Charge, HeldPiece, PeerAt};
use tesseras_wire::Body;
use tesseras_wire::codec::Refusal;
use tokio::time::timeout;

use super::answer::{LARGE_DOSSIER, Outcome, Service, internal, refuse};
use crate::bulk::{BodyReader, ReceiveError, with_permit};
use crate::dossier::{MAX_DOSSIER_BYTES, VerifiedDossier};
use crate::holder::StoredDossierError;
use crate::messages::{Stored, refusal};
use crate::serving_permits::ServingPermit;

/// The deadline for all witnesses together.
const WITNESSES: Duration = Duration::from_secs(10);

/// The fields of a [`crate::messages::Request::PutPiece`].
pub(super) struct Put {
    pub(super) tessera: TesseraHash,
    pub(super) piece: Piece,
    pub(super) bytes: u64,
    pub(super) dossier_bytes: u64,
    /// Whether any witness was named.
    pub(super) is_repair: bool,
    /// Those that can be asked; at most [`crate::messages::MAX_WITNESSES`].
    pub(super) witnesses: Vec<Contact>,
}

impl Service<'_> {
    pub(super) async fn put(&self, from: PeerAt, put: Put, body: Body) -> Outcome<Stored> {
        self.refuse_unwanted(put.tessera).await?;
        let held = self.holder.held_pieces(put.tessera).await.map_err(internal)?;
        if put.dossier_bytes > MAX_DOSSIER_BYTES {
            return Err(Refusal::new(Refusal::MALFORMED, "the dossier is too long"));
        }
        if let Some(held_piece) = held.into_iter().find(|f| f.piece == put.piece) {
            return self.put_again(from, &put, held_piece, body).await;
        }
        // What is refused takes no permit from others.
        let is_first = !self.holder.is_holder(put.tessera).await.map_err(internal)?;
        if put.dossier_bytes == 0 && is_first {
            return Err(need_dossier());
        }
        let claimed = if put.is_repair { Charge::REPAIR } else { Charge::OWN };
        let claimed = claimed.of(from);
        // What it claims may be refused early, but is charged to no account until it is verified.
        let all = put.bytes.saturating_add(put.dossier_bytes);
        self.holder.admit(from, claimed, all).await.map_err(refuse)?;
        let permit = Arc::new(self.holder.permit_to_receive(from).await?);
        let reserved = self.holder.reserve(from, claimed, put.dossier_bytes).await;
        let reserved = reserved.map_err(refuse)?;
        let mut body = BodyReader::new(with_permit(body, permit.clone()));
        let dossier = self.dossier_for_put(&put, &mut body).await?;
        let held_piece = planned(&dossier, put.piece, put.bytes)?;
        let charge = self.charge(from, &put, &dossier, &permit).await?;
        // From now on it counts where it will be charged: with the first piece, and only then.
        drop(reserved);
        let _dossier_reserved = match is_first {
            true => {
                Some(self.holder.reserve(from, charge, put.dossier_bytes).await.map_err(refuse)?)
            }
            false => None,
        };
        self.receive(from, dossier, held_piece, charge, body).await
    }

    /// A piece that is held already is charged to nobody a second time. If it is a draft that another
    /// node has placed, the sender shows by all its bytes that it has the piece as well: what only
    /// names the tessera, or has its dossier, confirms nothing.
    async fn put_again(
        &self,
        from: PeerAt,
        put: &Put,
        held_piece: HeldPiece,
        body: Body,
    ) -> Outcome<Stored> {
        let tessera = held_piece.tessera;
        if !self.holder.is_to_show(tessera, from.id).await.map_err(internal)? {
            return Ok(Stored {});
        }
        let permit = Arc::new(self.holder.permit_to_receive(from).await?);
        let mut body = BodyReader::new(with_permit(body, permit));
        let dossier = self.dossier_for_put(put, &mut body).await?;
        if planned(&dossier, put.piece, put.bytes)? != held_piece {
            return Err(plan_conflict());
        }
        body.check(held_piece.bytes, held_piece.checksum).await.map_err(refuse_receive)?;
        self.holder.note_shown(tessera, from);
        tracing::info!(%tessera, piece = %put.piece, from = %from.id, "has a draft as well");
        Ok(Stored {})
    }

    /// Receives and stores a piece.
    async fn receive(
        &self,
        from: PeerAt,
        dossier: VerifiedDossier,
        held_piece: HeldPiece,
        charge: Charge,
        body: BodyReader,
    ) -> Outcome<Stored> {
        let HeldPiece { tessera, piece, checksum, bytes } = held_piece;
        let _reserved = self.holder.reserve(from, charge, bytes).await.map_err(refuse)?;
        let (disk, blobs) = (&self.holder.disk, self.holder.blobs());
        let staged = body.stage(disk, blobs, bytes, checksum, |_| true).await;
        let staged = staged.map_err(refuse_receive)?;
        if !self.holder.store(dossier, held_piece, staged, charge).await.map_err(internal)? {
            return Err(plan_conflict());
        }
        tracing::info!(%tessera, %piece, bytes, from = %from.id, "stored a piece");
        Ok(Stored {})
    }

    /// The account that a piece is charged to: without a true witness, the sender's own. The sender
    /// chose the witnesses, so the time that they take counts as the sender's.
    async fn charge(
        &self,
        from: PeerAt,
        put: &Put,
        dossier: &VerifiedDossier,
        permit: &ServingPermit,
    ) -> Outcome<Charge> {
        permit.waits();
        let is_witnessed = tokio::select! {
            is_witnessed = self.is_witnessed(from, dossier, &put.witnesses) => is_witnessed,
            () = permit.revoked() => return Err(refuse_receive(ReceiveError::Cut)),
        };
        permit.works();
        Ok(if is_witnessed { Charge::Repair(from) } else { Charge::Peer(from) })
    }

    /// The dossier that is sent with a piece, or the one that is already here.
    async fn dossier_for_put(&self, put: &Put, body: &mut BodyReader) -> Outcome<VerifiedDossier> {
        if put.dossier_bytes == 0 {
            return self.known_dossier(put.tessera).await;
        }
        let stored = match self.holder.stored_dossier(put.tessera).await {
            Ok(stored) => stored,
            // The dossier that is sent replaces it.
            Err(StoredDossierError::Damaged(_) | StoredDossierError::Lost(_)) => None,
            Err(StoredDossierError::Store(error)) => return Err(internal(error)),
        };
        let _permit = match put.dossier_bytes > LARGE_DOSSIER {
            true => Some(self.holder.permit_for_large_dossier().await?),
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

    /// The dossier that is kept beside a piece. One that is here for another reason is not
    /// disclosed.
    async fn known_dossier(&self, tessera: TesseraHash) -> Outcome<VerifiedDossier> {
        let stored = self.stored_dossier(tessera).await?;
        let is_holder = self.holder.is_holder(tessera).await.map_err(internal)?;
        stored.filter(|_| is_holder).ok_or_else(need_dossier)
    }

    /// Whether a holder other than the sender attests this very plan now, which this node has met
    /// before, in another neighbourhood: names cost nothing, so a sender could vouch for itself. No
    /// other node is asked.
    async fn is_witnessed(
        &self,
        sender: PeerAt,
        dossier: &VerifiedDossier,
        witnesses: &[Contact],
    ) -> bool {
        let me = self.holder.me();
        let others = witnesses.iter().filter(|w| w.id != sender.id && w.id != me);
        let has_met = |id: &NodeId, address| self.peers.has_met(id, address);
        let known = others.filter_map(|witness| independent(witness, sender.subnet, has_met));
        let known: Vec<Contact> = known.collect();
        let mut answers: FuturesUnordered<_> =
            known.iter().map(|witness| self.attests(witness, dossier)).collect();
        let first_true = async {
            while let Some(is_true) = answers.next().await {
                if is_true {
                    return true;
                }
            }
            false
        };
        timeout(WITNESSES, first_true).await.unwrap_or(false)
    }

    async fn attests(&self, witness: &Contact, dossier: &VerifiedDossier) -> bool {
        let Ok((answer, _)) = self.peers.attest(witness, dossier.tessera()).await else {
            return false;
        };
        let plan = dossier.plan();
        answer.plan == Some(dossier.plan_hash())
            && answer.pieces.iter().any(|p| plan.checksum(p.piece) == Some(p.checksum))
    }
}

/// A witness at the addresses where it was met before, outside the neighbourhood of the sender unless
/// that is local; `None` if it has no such address. No other address is dialled: the sender chose it.
fn independent(
    witness: &Contact,
    sender: Subnet,
    has_met: impl Fn(&NodeId, SocketAddr) -> bool,
) -> Option<Contact> {
    let is_apart = |at: SocketAddr| sender.limited() != Some(Subnet::of(at.ip()));
    let addresses = witness.addresses.iter().copied();
    let addresses: Vec<_> =
        addresses.filter(|at| is_apart(*at) && has_met(&witness.id, *at)).collect();
    (!addresses.is_empty()).then_some(Contact { id: witness.id, addresses })
}

/// The piece according to the plan; refused if there is no such piece, or its length differs.
fn planned(dossier: &VerifiedDossier, piece: Piece, bytes: u64) -> Outcome<HeldPiece> {
    let plan = dossier.plan();
    let (Some(checksum), Some(expected)) = (plan.checksum(piece), plan.piece_bytes(piece)) else {
        return Err(Refusal::new(refusal::INVALID, "the plan has no such piece"));
    };
    if bytes != expected {
        let why = format!("the plan says {expected} bytes, not {bytes}");
        return Err(Refusal::new(refusal::INVALID, why));
    }
    Ok(HeldPiece { tessera: dossier.tessera(), piece, checksum, bytes })
}

fn refuse_receive(error: ReceiveError) -> Refusal {
    match error {
        ReceiveError::Store(error) => internal(error),
        // It may be sent again, with another permit.
        ReceiveError::Cut => Refusal::new(Refusal::BUSY, error.to_string()),
        error => Refusal::new(refusal::INVALID, error.to_string()),
    }
}

fn need_dossier() -> Refusal {
    Refusal::new(refusal::NEED_DOSSIER, "send the dossier with the piece")
}

fn plan_conflict() -> Refusal {
    Refusal::new(refusal::PLAN_CONFLICT, "another plan is kept here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_is_asked_only_outside_the_senders_neighbourhood() {
        let contact = |addresses: &[&str]| Contact {
            id: NodeId::new([1; 20]),
            addresses: addresses.iter().map(|at| at.parse().expect("an address")).collect(),
        };
        let sender = |at: &str| Subnet::of(at.parse().expect("an address"));
        let anywhere = |_: &NodeId, _| true;
        let both = contact(&["8.8.8.9:7", "9.9.9.9:7"]);
        let found = independent(&both, sender("8.8.8.8"), anywhere);
        assert_eq!(found, Some(contact(&["9.9.9.9:7"])));
        assert_eq!(independent(&contact(&["8.8.8.9:7"]), sender("8.8.8.8"), anywhere), None);
        let local = contact(&["127.0.0.1:7"]);
        assert_eq!(independent(&local, sender("127.0.0.1"), anywhere), Some(local.clone()));
    }

    #[test]
    fn a_witness_is_asked_only_where_it_was_met() {
        let [met, named] = ["9.9.9.9:7", "9.9.8.8:7"].map(|at| at.parse().expect("an address"));
        let witness = Contact { id: NodeId::new([1; 20]), addresses: vec![named, met] };
        let sender = Subnet::of("8.8.8.8".parse().expect("an address"));
        let found = independent(&witness, sender, |_, at| at == met);
        assert_eq!(found.map(|found| found.addresses), Some(vec![met]));
        assert_eq!(independent(&witness, sender, |_, _| false), None);
    }
}
