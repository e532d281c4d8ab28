//! Typed questions to other nodes.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::words::{code_word, one_line};
use tesseras_crypto::NodePublic;
use tesseras_wire::codec::{self, Answer, CodecError, Refusal};
use tesseras_wire::{Body, Peer, RequestError, Target};
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::attestation::{self, Question};
use crate::bulk::{BodyReader, ReceiveError};
use crate::context::Replication;
use crate::dossier::{DossierError, MAX_DOSSIER_BYTES, VerifiedDossier};
use crate::messages::{Attestation, Bulk, Offered, Request};

/// How often a busy node is asked again, and how long to wait before each time.
const BUSY_RETRIES: u32 = 6;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// How long a dossier may take to come; at most 16 MiB.
const DOSSIER_DEADLINE: Duration = Duration::from_secs(120);

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

/// A piece whose bytes are still to be read, and compared with the plan.
pub(crate) struct PieceOnItsWay {
    pub(crate) bytes: u64,
    pub(crate) checksum: ContentHash,
    pub(crate) body: BodyReader,
    /// This node's turn to receive; kept while the body is read.
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl AskError {
    /// Whether the answer was a refusal with this code.
    pub fn is_refusal(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == code)
    }
}

/// Runs futures, at most `limit` of them at a time, and returns what they gave, in any order.
pub(crate) async fn at_most<F: Future>(
    limit: usize,
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let futures: Vec<F> = futures.into_iter().collect();
    stream::iter(futures).buffer_unordered(limit).collect().await
}

impl Replication {
    /// Asks a node and reads its answer; the body is still to be read.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        to: &Contact,
        request: &Request,
        body: Option<Body>,
        deadline: Duration,
    ) -> Result<(Peer, T, BodyReader), AskError> {
        let frame = codec::encode(request)?;
        let request = tesseras_wire::Request { frame, body, deadline };
        let reply = self.parts.transport.request(&Target::from(to), request).await?;
        match codec::decode(&reply.frame)? {
            Answer::Ok(answer) => Ok((reply.peer, answer, BodyReader::new(reply.body))),
            Answer::Error(refusal) => Err(refusal.into()),
        }
    }

    /// A short question, asked again while the other node is busy.
    pub(crate) async fn ask_briefly<T: DeserializeOwned>(
        &self,
        to: &Contact,
        request: &Request,
    ) -> Result<(Peer, T), AskError> {
        let deadline = self.parts.config.answer_deadline;
        let mut tries = 0;
        loop {
            match self.ask(to, request, None, deadline).await {
                Err(error) if error.is_refusal(Refusal::BUSY) && tries < BUSY_RETRIES => {
                    tries += 1;
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => return other.map(|(peer, answer, _)| (peer, answer)),
            }
        }
    }

    /// Asks for bulk bytes, in this node's turn, and again while the other node is busy. The body
    /// is to be read while the permit is kept.
    pub(crate) async fn ask_for_bulk(
        &self,
        from: &Contact,
        request: &Request,
    ) -> Result<(OwnedSemaphorePermit, Bulk, BodyReader), AskError> {
        let deadline = self.parts.config.transfer_deadline;
        let mut tries = 0;
        loop {
            let permit = self.transfer_in().await;
            match self.ask(from, request, None, deadline).await {
                Err(error) if error.is_refusal(Refusal::BUSY) && tries < BUSY_RETRIES => {
                    tries += 1;
                    drop(permit);
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => return other.map(|(_, bulk, body)| (permit, bulk, body)),
            }
        }
    }

    /// Asks a holder for a piece of the length that the plan says.
    pub(crate) async fn ask_for_piece(
        &self,
        from: &Contact,
        dossier: &VerifiedDossier,
        piece: Piece,
    ) -> Result<PieceOnItsWay, AskError> {
        let (tessera, plan) = (dossier.tessera(), dossier.plan());
        let (Some(expected), Some(checksum)) = (plan.piece_bytes(piece), plan.checksum(piece))
        else {
            return Err(AskError::BadLength(0));
        };
        let request = Request::GetPiece { tessera, piece, offset: 0 };
        let (_permit, Bulk { bytes }, body) = self.ask_for_bulk(from, &request).await?;
        if bytes != expected {
            return Err(AskError::BadLength(bytes));
        }
        Ok(PieceOnItsWay { bytes, checksum, body, _permit })
    }

    /// Asks whether a node would hold more of a tessera.
    pub(crate) async fn offer(
        &self,
        to: &Contact,
        tessera: TesseraHash,
        bytes: u64,
        repair: bool,
    ) -> Result<(Peer, Offered), AskError> {
        let request = Request::Offer { tessera, bytes, repair };
        let (peer, mut offered): (Peer, Offered) = self.ask_briefly(to, &request).await?;
        // People read it.
        offered.reason = offered.reason.as_deref().map(one_line);
        offered.code = offered.code.as_deref().map(code_word);
        Ok((peer, offered))
    }

    /// Asks a node what it holds, and checks its signature. Also says where it was reached.
    pub(crate) async fn attest(
        &self,
        to: &Contact,
        tessera: TesseraHash,
    ) -> Result<(Attestation, SocketAddr), AskError> {
        let nonce: [u8; 32] = self.nonce();
        let question = Question { asker: self.id(), holder: to.id, tessera, nonce };
        let request = Request::Attest { tessera, nonce };
        let deadline = self.parts.config.answer_deadline;
        let give_up = Instant::now() + 3 * deadline;
        loop {
            match self.ask::<Attestation>(to, &request, None, deadline).await {
                Err(error) if error.is_refusal(Refusal::BUSY) && Instant::now() < give_up => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                Err(error) => return Err(error),
                Ok((peer, answer, _)) => {
                    let Peer { public_key, nonce, .. } = peer;
                    let holder = NodePublic { public_key, nonce };
                    let valid = attestation::is_valid(&answer, &question, &holder, self.now());
                    return if valid {
                        Ok((answer, peer.remote))
                    } else {
                        Err(AskError::BadAttestation)
                    };
                }
            }
        }
    }

    /// Takes the dossier from a holder, and checks it.
    pub(crate) async fn take_dossier(
        &self,
        from: &Contact,
        tessera: TesseraHash,
    ) -> Result<VerifiedDossier, AskError> {
        let request = Request::GetDossier { tessera };
        let taking = async {
            let (_permit, Bulk { bytes }, mut body) = self.ask_for_bulk(from, &request).await?;
            if bytes > MAX_DOSSIER_BYTES {
                return Err(AskError::BadLength(bytes));
            }
            let encoded = body.read(bytes).await?;
            Ok(VerifiedDossier::decode(&encoded, &tessera)?)
        };
        match timeout(DOSSIER_DEADLINE, taking).await {
            Ok(dossier) => dossier,
            Err(_) => Err(AskError::Receive(ReceiveError::TooSlow)),
        }
    }
}
