//! Errors of requests to other nodes.

use tesseras_core::code::Piece;
use tesseras_wire::RequestError;
use tesseras_wire::codec::{CodecError, Refusal};
use thiserror::Error;

use crate::bulk::ReceiveError;
use crate::dossier::DossierError;

/// Why a request to another node failed.
#[derive(Debug, Error)]
pub enum AskError {
    /// There was no answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer was a refusal.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The answer could not be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The bulk bytes did not arrive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The dossier is not valid for the tessera.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// The attestation is not signed by the holder, or answers another request.
    #[error("the attestation is not valid")]
    BadAttestation,
    /// The attestation is the holder's, but its date is too far from this node's clock.
    #[error("the attestation is dated {} s {} this node's clock", ahead.unsigned_abs(),
        if *ahead < 0 { "after" } else { "before" })]
    OtherDate {
        /// How many seconds this node's clock is ahead of the holder's.
        ahead: i64,
    },
    /// The plan has no such piece.
    #[error("the plan has no piece {0}")]
    NoSuchPiece(Piece),
    /// The announced length is impossible.
    #[error("an impossible length of {0} bytes was announced")]
    BadLength(u64),
}

impl AskError {
    /// Whether the answer was a refusal with this code.
    pub fn is_refusal(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}
