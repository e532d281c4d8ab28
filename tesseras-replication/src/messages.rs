//! What nodes ask each other about tesserae. See `docs/PROTOCOL.md`.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_core::ports::Charge;
use tesseras_core::time::Timestamp;
use tesseras_wire::MAX_FRAME_BYTES;

/// The most holders that one message may name.
pub const MAX_HOLDERS: usize = 128;
/// The most witnesses that a repair placement may name.
pub const MAX_WITNESSES: usize = 4;
/// The most requests in one batch.
pub const MAX_BATCH: usize = 64;
/// How many bytes of answers to a batch are gathered into one frame: one more answer, and what
/// stands around them, still fits.
pub const MAX_BATCH_ANSWER_BYTES: usize = MAX_FRAME_BYTES - 16 * 1024;

/// A request about one tessera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Would you hold this many bytes of this tessera? Binds nobody.
    Offer {
        /// Which tessera.
        tessera: TesseraHash,
        /// How many bytes, about.
        bytes: u64,
        /// Against whom they would count; on the wire, whether it is a repair.
        #[serde(rename = "repair", with = "is_repair")]
        charge: Charge<()>,
    },
    /// Hold this piece. Followed by the dossier, if `dossier_bytes` is not 0, and the piece.
    PutPiece {
        /// Which tessera.
        tessera: TesseraHash,
        /// Which piece.
        piece: Piece,
        /// The piece's length.
        bytes: u64,
        /// The encoded dossier's length; 0 when the holder has it already.
        dossier_bytes: u64,
        /// Other holders who attest this tessera, if this is a repair; else none.
        witnesses: Vec<Contact>,
    },
    /// What do you hold of this tessera? Answered from the index, signed.
    Attest {
        /// Which tessera.
        tessera: TesseraHash,
        /// Chosen by the asker, never twice.
        #[serde(with = "serde_bytes")]
        nonce: [u8; 32],
    },
    /// Give me the dossier of this tessera.
    GetDossier {
        /// Which tessera.
        tessera: TesseraHash,
    },
    /// Give me bytes of a piece. A holder of the whole pack also gives data fragments.
    GetPiece {
        /// Which tessera.
        tessera: TesseraHash,
        /// Which piece.
        piece: Piece,
        /// From which byte on, to the end of the piece.
        offset: u64,
    },
    /// These hold the tessera, too. The asked holder announces itself before it answers.
    Roster {
        /// Which tessera.
        tessera: TesseraHash,
        /// Who; at most [`MAX_HOLDERS`].
        holders: Vec<Contact>,
    },
    /// Several short requests at once, about as many tesserae.
    Batch {
        /// [`Request::Offer`]s and [`Request::Attest`]s; at least one and at most [`MAX_BATCH`].
        requests: Vec<Request>,
    },
}

/// The kinds of [`Request`], as they stand on the wire.
pub const KINDS: [&str; 7] =
    ["offer", "put_piece", "attest", "get_dossier", "get_piece", "roster", "batch"];

/// To [`Request::Batch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchAnswer {
    /// The frames that answer the requests, in their order. Fewer than there are requests if more
    /// do not fit a frame: the rest is to be asked again.
    pub answers: Vec<ByteBuf>,
}

/// To [`Request::Offer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Whether it would be accepted now.
    pub accepts: bool,
    /// Why not, for people.
    pub reason: Option<String>,
    /// Why not: the code with which a piece would be refused. Older nodes do not say.
    pub code: Option<String>,
    /// How many bytes in all would be accepted from the asker now; 0 if it is not accepted. Older
    /// nodes do not say.
    pub room: Option<u64>,
    /// Whether the dossier need not be sent: it is kept here beside a piece.
    pub has_dossier: bool,
    /// Which pieces are here already.
    pub pieces: Vec<Piece>,
}

/// To [`Request::PutPiece`]: it is stored, and survives a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {}

/// To [`Request::Roster`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {}

/// To [`Request::GetDossier`] and [`Request::GetPiece`]: how many bytes follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulk {
    /// The length of the body.
    pub bytes: u64,
}

/// To [`Request::Attest`]: what is held, signed by the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The holder's clock.
    pub date: Timestamp,
    /// BLAKE3 of the plan's bytes that the holder keeps; absent if it keeps none.
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
    /// Which.
    pub piece: Piece,
    /// BLAKE3 of its bytes when they were stored.
    pub checksum: ContentHash,
}

/// Codes with which a node refuses what it understood.
pub mod refusal {
    /// This node does not take it. It made it, its owner dropped it, or it has no space: a stranger
    /// is not told which.
    pub const DECLINED: &str = "declined";
    /// The sender, or its neighbourhood, has used up its share here.
    pub const OVER_QUOTA: &str = "over_quota";
    /// Send the dossier along.
    pub const NEED_DOSSIER: &str = "need_dossier";
    /// Another plan is kept here already.
    pub const PLAN_CONFLICT: &str = "plan_conflict";
    /// The dossier or piece is not what it claims to be.
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
        serializer.serialize_bool(*charge == Charge::Repair)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Charge<()>, D::Error> {
        let is_repair = bool::deserialize(deserializer)?;
        Ok(if is_repair { Charge::Repair } else { Charge::OWN })
    }
}
