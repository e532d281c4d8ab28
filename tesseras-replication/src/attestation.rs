//! Attestations: a holder's signed statement of the pieces it holds.
//!
//! Cheap by design: they are made from the index, and no blob is read. So they show what a holder
//! *claims*; a holder that lost the bytes can still attest them. Only reading the bytes proves
//! more.

use tesseras_core::ids::{ContentHash, NodeId, TesseraHash};
use tesseras_core::time::Timestamp;
use tesseras_crypto::{NodeKeys, NodePublic};

use crate::messages::{Attestation, AttestedPiece};

/// Domain string at the start of the signed bytes, with its version.
const DOMAIN: &[u8] = b"tesseras-attestation 1\n";

/// The request that an attestation answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The node that sent the request.
    pub asker: NodeId,
    /// The node that answers.
    pub holder: NodeId,
    /// The tessera that is attested.
    pub tessera: TesseraHash,
    /// Chosen by the requesting node.
    pub nonce: [u8; 32],
}

/// The bytes that a holder signs: domain, holder, asker, tessera, nonce, date (u64, big-endian),
/// plan (a 0 byte, or a 1 byte and its hash), the number of pieces (u16, big-endian), then each
/// piece's byte and checksum in order.
pub fn signed_bytes(
    question: &Question,
    date: Timestamp,
    plan: Option<&ContentHash>,
    pieces: &[AttestedPiece],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(200 + 33 * pieces.len());
    out.extend(DOMAIN);
    out.extend(question.holder.as_bytes());
    out.extend(question.asker.as_bytes());
    out.extend(question.tessera.as_bytes());
    out.extend(question.nonce);
    out.extend(date.0.to_be_bytes());
    match plan {
        None => out.push(0),
        Some(hash) => {
            out.push(1);
            out.extend(hash.as_bytes());
        }
    }
    out.extend((pieces.len() as u16).to_be_bytes());
    for AttestedPiece { piece, checksum } in pieces {
        out.push(piece.to_byte());
        out.extend(checksum.as_bytes());
    }
    out
}

/// Signs the list of held pieces.
pub fn attest(
    keys: &NodeKeys,
    question: &Question,
    date: Timestamp,
    plan: Option<ContentHash>,
    pieces: Vec<AttestedPiece>,
) -> Attestation {
    let signature = keys.sign(&signed_bytes(question, date, plan.as_ref(), &pieces)).to_vec();
    Attestation { date, plan, pieces, signature }
}

/// Whether an attestation answers this request, is dated correctly, and is signed by the holder.
pub fn is_valid(
    attestation: &Attestation,
    question: &Question,
    holder: &NodePublic,
    now: Timestamp,
) -> bool {
    let Attestation { date, plan, pieces, signature } = attestation;
    pieces.len() <= usize::from(u8::MAX)
        && holder.id() == question.holder
        && date.is_about(now)
        && holder.verify(&signed_bytes(question, *date, plan.as_ref(), pieces), signature)
}

#[cfg(test)]
mod tests {
    use tesseras_core::code::Piece;

    use super::*;

    #[test]
    fn an_attestation_binds_everything_that_was_asked_and_said() {
        let keys = NodeKeys::generate(0).expect("randomness");
        let now = Timestamp(1_800_000_000);
        let question = Question {
            asker: NodeId::new([1; 20]),
            holder: keys.id(),
            tessera: TesseraHash::new([2; 32]),
            nonce: [3; 32],
        };
        let piece = AttestedPiece { piece: Piece::Index(3), checksum: ContentHash::new([4; 32]) };
        let plan = Some(ContentHash::new([5; 32]));
        let good = attest(&keys, &question, now, plan, vec![piece]);
        let check = |a: &Attestation, q: &Question, now| is_valid(a, q, &keys.public(), now);
        assert!(check(&good, &question, now));
        assert!(!check(&good, &Question { asker: NodeId::new([9; 20]), ..question }, now));
        assert!(!check(&good, &Question { nonce: [9; 32], ..question }, now));
        assert!(!check(&good, &Question { tessera: TesseraHash::new([9; 32]), ..question }, now));
        assert!(!check(&good, &question, Timestamp(now.0 + 16 * 60)));
        assert!(!check(
            &Attestation { pieces: vec![piece, piece], ..good.clone() },
            &question,
            now
        ));
        assert!(!check(&Attestation { plan: None, ..good.clone() }, &question, now));
        let stranger = NodeKeys::generate(0).expect("randomness");
        assert!(!is_valid(&good, &question, &stranger.public(), now));
    }
}
