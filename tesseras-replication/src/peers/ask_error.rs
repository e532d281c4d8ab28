//! Why another node did not answer as hoped.

use tesseras_wire::RequestError;
use tesseras_wire::codec::{CodecError, Refusal};
use thiserror::Error;

use crate::bulk::ReceiveError;
use crate::dossier::DossierError;

/// Why a question was not answered as hoped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// No answer came.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer was a refusal.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The answer made no sense.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The bulk bytes did not arrive.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The dossier is not that of the tessera.
    #[error(transparent)]
    Dossier(#[from] DossierError),
    /// The attestation is not signed by the holder, or answers another question.
    #[error("the attestation does not hold")]
    BadAttestation,
    /// The answer names a length that cannot be.
    #[error("a length of {0} bytes was announced, which cannot be")]
    BadLength(u64),
}

impl AskError {
    /// Whether the answer was a refusal with this code.
    pub fn is_refusal(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}
