//! The plan: the checksums of the pieces of a tessera, signed by its creator, never changed.
//!
//! Like the MANIFEST it is plain text with exactly one form, so that everyone signs and stores the
//! same bytes.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::append::Append as _;
use crate::code::{CodedForm, MAX_PACK_BYTES, Piece};
use crate::ids::{ContentHash, TesseraHash};
use crate::manifest::{PACK_VERSION, parse_number};
use crate::signature::SignaturePair;

/// The first line of every plan of this version; also the domain of its signatures.
pub const FIRST_LINE: &str = "tesseras-plan 1";
/// The longest plan, in bytes: 72 checksums and six lines are under 5 KiB.
pub const MAX_PLAN_BYTES: usize = 8 * 1024;

/// The checksums and lengths of the pieces of a tessera.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    tessera: TesseraHash,
    pack_bytes: u64,
    pack_hash: ContentHash,
    checksums: Vec<ContentHash>,
}

/// The bytes of a plan and its creator's signatures over them, neither of them verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPlan {
    /// The bytes of the plan.
    pub plan: Vec<u8>,
    /// Signatures over exactly these bytes.
    pub signatures: SignaturePair,
}

/// Why bytes are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Longer than [`MAX_PLAN_BYTES`].
    #[error("a plan of {0} bytes is too long")]
    TooLong(usize),
    /// Not the only valid text, or of an unknown version.
    #[error("the plan is malformed at line {0}")]
    Malformed(usize),
    /// For a pack longer than [`MAX_PACK_BYTES`].
    #[error("no pack can have a length of {0} bytes")]
    PackTooLong(u64),
    /// The number of checksums is not that of the pack's coded form.
    #[error("a pack of {pack_bytes} bytes has {expected} fragments, not {found}")]
    Fragments {
        /// The pack's length.
        pack_bytes: u64,
        /// The number of fragments of its coded form.
        expected: usize,
        /// The number of checksums.
        found: usize,
    },
}

impl Plan {
    /// The plan of a pack. `checksums` are those of all n fragments of its coded form, in order;
    /// empty if it has no coded form.
    pub fn new(
        tessera: TesseraHash,
        pack_bytes: u64,
        pack_hash: ContentHash,
        checksums: Vec<ContentHash>,
    ) -> Result<Self, PlanError> {
        if pack_bytes > MAX_PACK_BYTES {
            return Err(PlanError::PackTooLong(pack_bytes));
        }
        let expected = CodedForm::of_pack(pack_bytes).map_or(0, |form| usize::from(form.shape.n()));
        if checksums.len() != expected {
            return Err(PlanError::Fragments { pack_bytes, expected, found: checksums.len() });
        }
        Ok(Self { tessera, pack_bytes, pack_hash, checksums })
    }

    /// Parses a plan. Refuses anything that is not exactly as [`Plan::render`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        if bytes.len() > MAX_PLAN_BYTES {
            return Err(PlanError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PlanError::Malformed(1))?;
        let mut lines = text.split('\n').enumerate();
        let mut field = |label: &str| {
            let (number, line) = lines.next().ok_or(PlanError::Malformed(0))?;
            let value = line.strip_prefix(label).ok_or(PlanError::Malformed(number + 1))?;
            Ok((number + 1, value))
        };
        field(FIRST_LINE)?;
        let (at, value) = field("tessera: ")?;
        let tessera = value.parse().map_err(|_| PlanError::Malformed(at))?;
        field("pack: ")?;
        let (at, value) = field("bytes: ")?;
        let pack_bytes = parse_number(value).ok_or(PlanError::Malformed(at))?;
        let (at, value) = field("blake3: ")?;
        let pack_hash = value.parse().map_err(|_| PlanError::Malformed(at))?;
        let mut checksums = Vec::new();
        if let Some(form) = CodedForm::of_pack(pack_bytes) {
            field("code: ")?;
            field("length: ")?;
            for index in 0..form.shape.n() {
                let (at, value) = field(&format!("{index} "))?;
                checksums.push(value.parse().map_err(|_| PlanError::Malformed(at))?);
            }
        }
        let plan = Self::new(tessera, pack_bytes, pack_hash, checksums)?;
        let rendered = plan.render();
        if rendered == text {
            return Ok(plan);
        }
        let same = rendered.lines().zip(text.lines()).take_while(|(a, b)| a == b).count();
        Err(PlanError::Malformed(same + 1))
    }

    /// The plan as the text that is signed, stored and sent.
    pub fn render(&self) -> String {
        let mut out = format!(
            "{FIRST_LINE}\ntessera: {}\npack: {PACK_VERSION}\nbytes: {}\nblake3: {}\n",
            self.tessera, self.pack_bytes, self.pack_hash
        );
        if let Some(CodedForm { shape, fragment_bytes }) = self.coded() {
            out.append_line(format_args!(
                "code: {}+{}\nlength: {fragment_bytes}",
                shape.k, shape.m
            ));
            for (index, checksum) in self.checksums.iter().enumerate() {
                out.append_line(format_args!("{index} {checksum}"));
            }
        }
        out
    }

    /// The tessera of the plan.
    pub fn tessera(&self) -> TesseraHash {
        self.tessera
    }

    /// The length of the pack.
    pub fn pack_bytes(&self) -> u64 {
        self.pack_bytes
    }

    /// The BLAKE3 of the pack.
    pub fn pack_hash(&self) -> ContentHash {
        self.pack_hash
    }

    /// The coded form, if the pack is long enough to have one.
    pub fn coded(&self) -> Option<CodedForm> {
        CodedForm::of_pack(self.pack_bytes)
    }

    /// The checksum of a piece; `None` if there is no such piece.
    pub fn checksum(&self, piece: Piece) -> Option<ContentHash> {
        match piece {
            Piece::Whole => Some(self.pack_hash),
            Piece::Index(index) => self.checksums.get(usize::from(index)).copied(),
        }
    }

    /// The length of a piece in bytes; `None` if there is no such piece.
    pub fn piece_bytes(&self, piece: Piece) -> Option<u64> {
        match piece {
            Piece::Whole => Some(self.pack_bytes),
            Piece::Index(index) => {
                self.coded().filter(|form| index < form.shape.n()).map(|form| form.fragment_bytes)
            }
        }
    }

    /// The checksums of all fragments of the coded form, in order; empty if there is none.
    pub fn checksums(&self) -> &[ContentHash] {
        &self.checksums
    }
}
