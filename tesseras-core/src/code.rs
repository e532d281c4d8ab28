//! The coded form of a pack: the number and length of its pieces, and their bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::MIB;

/// A pack of at least this length, in bytes, has a coded form; a shorter one is only copied whole.
pub const CODED_FROM_BYTES: u64 = 4 * MIB;
/// From this length on, in bytes, the coded form has more, and so shorter, fragments.
pub const WIDE_FROM_BYTES: u64 = 256 * MIB;
/// The length of a fragment is a multiple of this many bytes.
pub const FRAGMENT_UNIT: u64 = 1024;
/// The longest pack, in bytes, so that arithmetic on claimed lengths cannot overflow.
pub const MAX_PACK_BYTES: u64 = 1 << 62;
/// The number of whole copies of a small pack if there are enough peers; also the number of holders
/// from which the coded form is better than whole copies.
pub const WHOLE_COPIES: usize = 7;

/// Data and parity fragments of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Data fragments; any k of all fragments rebuild the pack.
    pub k: u8,
    /// Parity fragments.
    pub m: u8,
}

/// 16 + 8, from 4 MiB on.
pub const NARROW: Shape = Shape { k: 16, m: 8 };
/// 48 + 24, from 256 MiB on.
pub const WIDE: Shape = Shape { k: 48, m: 24 };

impl Shape {
    /// All fragments: n = k + m.
    pub fn n(self) -> u8 {
        self.k + self.m
    }
}

/// The one coded form that a pack of a given length has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodedForm {
    /// The numbers of fragments.
    pub shape: Shape,
    /// L: the length of every fragment.
    pub fragment_bytes: u64,
}

impl CodedForm {
    /// The coded form of a pack of `pack_bytes` bytes; `None` below [`CODED_FROM_BYTES`].
    pub fn of_pack(pack_bytes: u64) -> Option<Self> {
        let shape = match pack_bytes {
            0..CODED_FROM_BYTES => return None,
            CODED_FROM_BYTES..WIDE_FROM_BYTES => NARROW,
            _ => WIDE,
        };
        let share = pack_bytes.div_ceil(u64::from(shape.k));
        Some(Self { shape, fragment_bytes: share.div_ceil(FRAGMENT_UNIT) * FRAGMENT_UNIT })
    }
}

/// A piece of a pack: one of its fragments, or the whole pack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// The whole pack as one piece.
    Whole,
    /// A fragment of the coded form: data below k, parity from k on.
    Index(u8),
}

impl Piece {
    /// As one byte, for storage and signatures: the index, or 255 for the whole.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Whole => u8::MAX,
            Self::Index(index) => index,
        }
    }
}

const _: () = assert!(NARROW.k + NARROW.m < u8::MAX && WIDE.k + WIDE.m < u8::MAX);

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Index(index) => write!(f, "{index}"),
        }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({self})")
    }
}

/// An index, or `"whole"`.
impl Serialize for Piece {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole => serializer.serialize_str("whole"),
            Self::Index(index) => serializer.serialize_u8(*index),
        }
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Piece;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a fragment index below 255 or \"whole\"")
            }

            fn visit_u64<E: serde::de::Error>(self, index: u64) -> Result<Piece, E> {
                match u8::try_from(index) {
                    Ok(index) if index < u8::MAX => Ok(Piece::Index(index)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(index), &self)),
                }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Piece, E> {
                if text == "whole" {
                    Ok(Piece::Whole)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_fragments_of_any_pack_are_the_pack() {
        for pack in [4 * MIB, 4 * MIB + 1, 100_000_007, 256 * MIB - 1, 256 * MIB, 1 << 30, 1 << 40]
        {
            let form = CodedForm::of_pack(pack).expect("a coded form");
            assert_eq!(form.fragment_bytes % FRAGMENT_UNIT, 0);
            let k = u64::from(form.shape.k);
            assert!(k * form.fragment_bytes >= pack, "all of it");
            assert!(k * (form.fragment_bytes - FRAGMENT_UNIT) < pack, "and little more");
        }
        assert_eq!(CodedForm::of_pack(4 * MIB - 1), None);
        assert_eq!(CodedForm::of_pack(256 * MIB - 1).expect("coded").shape, NARROW);
        assert_eq!(CodedForm::of_pack(256 * MIB).expect("coded").shape, WIDE);
    }

    #[test]
    fn the_longest_pack_and_longer_ones_do_not_overflow() {
        assert!(CodedForm::of_pack(u64::MAX).is_some());
        let form = CodedForm::of_pack(MAX_PACK_BYTES).expect("a coded form");
        assert!(form.fragment_bytes.checked_mul(u64::from(form.shape.n())).is_some());
    }

    #[test]
    fn each_piece_has_a_byte_of_its_own() {
        let pieces = [Piece::Whole, Piece::Index(0), Piece::Index(71)];
        assert_eq!(pieces.map(Piece::to_byte), [255, 0, 71]);
    }
}
