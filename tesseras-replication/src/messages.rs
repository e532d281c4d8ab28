//! The requests and answers about tesserae. See `docs/PROTOCOL.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::Charge;
use tesseras_core::time::Timestamp;
use tesseras_wire::{MAX_FRAME_BYTES, codec};

/// The most holders that one message may name.
pub const MAX_HOLDERS: usize = 128;
/// The most witnesses that a repair placement may name.
pub const MAX_WITNESSES: usize = 4;
/// The most requests in one batch.
pub const MAX_BATCH: usize = 64;
/// How many requests of a batch count as one request against the rate limit.
pub const BATCHED_PER_REQUEST: usize = 16;
/// How many bytes of answers to a batch are put into one frame: one more answer, and the encoding
/// around them, still fits.
pub const MAX_BATCH_ANSWER_BYTES: usize = MAX_FRAME_BYTES - 16 * 1024;

/// How long a node lets a transfer wait for its permit before it refuses it as busy.
pub const LONGEST_QUEUE: Duration = Duration::from_secs(10);

/// A request about one tessera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Asks whether the node would hold this many bytes of this tessera. Not binding.
    Offer {
        /// The tessera.
        tessera: TesseraHash,
        /// The approximate number of bytes.
        bytes: u64,
        /// Against whom they would count; on the wire, whether it is a repair.
        #[serde(rename = "repair", with = "is_repair")]
        charge: Charge<()>,
    },
    /// Asks the node to hold this piece. Followed by the dossier, if `dossier_bytes` is not 0, and
    /// the piece.
    PutPiece {
        /// The tessera.
        tessera: TesseraHash,
        /// The piece.
        piece: Piece,
        /// The piece's length in bytes.
        bytes: u64,
        /// The encoded dossier's length in bytes; 0 when the holder already has it.
        dossier_bytes: u64,
        /// Other holders that attest this tessera, for a repair; otherwise empty.
        witnesses: Vec<Contact>,
    },
    /// Asks for a signed list of the pieces held of this tessera, answered from the index.
    Attest {
        /// The tessera.
        tessera: TesseraHash,
        /// Chosen by the requesting node, never reused.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
    },
    /// Asks for the dossier of this tessera.
    GetDossier {
        /// The tessera.
        tessera: TesseraHash,
    },
    /// Asks for the bytes of a piece. A holder of the whole pack also serves data fragments.
    GetPiece {
        /// The tessera.
        tessera: TesseraHash,
        /// The piece.
        piece: Piece,
        /// The offset of the first byte; the answer goes to the end of the piece.
        offset: u64,
    },
    /// Names the other holders of a tessera. The receiver announces itself before it answers.
    Roster {
        /// The tessera.
        tessera: TesseraHash,
        /// The holders; at most [`MAX_HOLDERS`].
        holders: Vec<Contact>,
    },
    /// Several short requests in one frame, for as many tesserae.
    Batch {
        /// [`Request::Offer`]s and [`Request::Attest`]s; at least one and at most [`MAX_BATCH`].
        requests: Vec<Request>,
    },
}

impl Request {
    /// How long a node may let this wait before it answers: zero but for transfers.
    pub fn may_queue_for(&self) -> Duration {
        match self {
            Self::PutPiece { .. } | Self::GetPiece { .. } | Self::GetDossier { .. } => {
                LONGEST_QUEUE
            }
            Self::Offer { .. } | Self::Attest { .. } | Self::Roster { .. } | Self::Batch { .. } => {
                Duration::ZERO
            }
        }
    }
}

/// The kinds of [`Request`], as encoded on the wire.
pub const KINDS: [&str; 7] =
    ["offer", "put_piece", "attest", "get_dossier", "get_piece", "roster", "batch"];

/// How many ordinary requests an encoded request counts as against the rate limit.
pub fn cost(frame: &[u8]) -> u32 {
    if codec::kind(frame).is_none_or(|kind| kind != "batch") {
        return 1;
    }
    match codec::decode::<Request>(frame) {
        Ok(Request::Batch { requests }) => {
            let cost = requests.len().div_ceil(BATCHED_PER_REQUEST).max(1);
            u32::try_from(cost).unwrap_or(u32::MAX)
        }
        _ => 1,
    }
}

/// To [`Request::Batch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// The answer frames, in the order of the requests. There are fewer than requests if more do
    /// not fit a frame: the rest must be sent again.
    pub answers: Vec<ByteBuf>,
}

/// To [`Request::Offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Whether it would be accepted now.
    pub accepts: bool,
    /// Why not, as a message for people.
    pub reason: Option<String>,
    /// Why not: the code with which a piece would be refused. Older nodes do not send it.
    pub code: Option<String>,
    /// How many bytes in total would be accepted from the requesting node now; 0 if it is not
    /// accepted. Older nodes do not send it.
    pub room: Option<u64>,
    /// Whether the dossier can be omitted: it is already kept here beside a piece.
    pub has_dossier: bool,
    /// The pieces that are already held here.
    pub pieces: Vec<Piece>,
    /// Whether the tessera of held pieces is known to be published; otherwise they are drafts, which
    /// are not announced. Older nodes do not send it.
    pub published: Option<bool>,
}

/// To [`Request::PutPiece`]: it is stored, and survives a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {}

/// To [`Request::Roster`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Whether the tessera is known there now to be published; if not, its pieces stay drafts. Older
    /// nodes do not send it.
    pub confirmed: Option<bool>,
}

/// To [`Request::GetDossier`] and [`Request::GetPiece`]: how many bytes follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The length of the body.
    pub bytes: u64,
}

/// To [`Request::Attest`]: what is held, signed by the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The date by the holder's clock.
    pub date: Timestamp,
    /// BLAKE3 of the plan that the holder keeps; absent if it keeps none.
    pub plan: Option<ContentHash>,
    /// The pieces held, and the checksums under which they are stored.
    pub pieces: Vec<AttestedPiece>,
    /// Over [`crate::attestation::signed_bytes`].
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

/// One held piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedPiece {
    /// The piece.
    pub piece: Piece,
    /// BLAKE3 of its bytes when they were stored.
    pub checksum: ContentHash,
}

/// Codes of refusals.
pub mod refusal {
    /// This node does not accept it. It created it, its owner dropped it, or it has no space: a
    /// stranger is not told which.
    pub const DECLINED: &str = "declined";
    /// The sender, or its neighbourhood, has used up its quota here.
    pub const OVER_QUOTA: &str = "over_quota";
    /// The dossier must be sent with the piece.
    pub const NEED_DOSSIER: &str = "need_dossier";
    /// Another plan is already kept here.
    pub const PLAN_CONFLICT: &str = "plan_conflict";
    /// The dossier or piece does not verify.
    pub const INVALID: &str = "invalid";
    /// It is not held here.
    pub const NOT_HELD: &str = "not_held";
}

/// A [`Charge`] on the wire: whether it is the repair share.
mod is_repair {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use tesseras_core::ports::Charge;

    pub(super) fn serialize<S: Serializer>(
        charge: &Charge<()>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*charge == Charge::REPAIR)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Charge<()>, D::Error> {
        let is_repair = bool::deserialize(deserializer)?;
        Ok(if is_repair { Charge::REPAIR } else { Charge::OWN })
    }
}
