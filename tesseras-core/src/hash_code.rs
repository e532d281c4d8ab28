//! A tessera's hash in the form that people copy: with a checksum, so that a mistyped character is
//! detected.
//!
//! The form is bech32m (BIP 350) with the prefix `tes`: `tes1`, 52 characters for the 32 bytes, and
//! 6 characters of checksum. It detects every error of up to four characters, and so every swap of
//! two neighbours.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, Hrp};
use thiserror::Error;

use crate::ids::TesseraHash;

/// The length of every code, in characters.
pub const CODE_CHARACTERS: usize = 62;

const HRP: Hrp = Hrp::parse_unchecked("tes");

/// Why a string is not a tessera's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HashCodeError {
    /// Characters are missing, or there are too many.
    #[error("a code has {CODE_CHARACTERS} characters, and this one has {found}")]
    Length {
        /// The number of characters.
        found: usize,
    },
    /// The checksum does not match, or a character is not in the alphabet.
    #[error("a character is wrong; compare with the card")]
    Wrong,
}

impl TesseraHash {
    /// The hash as a code of [`CODE_CHARACTERS`] lower-case characters.
    pub fn to_code(&self) -> String {
        bech32::encode_lower::<Bech32m>(HRP, self.as_bytes()).expect("32 bytes are never too long")
    }

    /// Parses a code. Case does not matter, even if mixed: phone keyboards capitalise the first
    /// letter.
    pub fn from_code(text: &str) -> Result<Self, HashCodeError> {
        let found = text.chars().count();
        if found != CODE_CHARACTERS {
            return Err(HashCodeError::Length { found });
        }
        let text = text.to_ascii_lowercase();
        let checked = CheckedHrpstring::new::<Bech32m>(&text).map_err(|_| HashCodeError::Wrong)?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        // Encoding the result again gives a different string if the prefix is different or bits of
        // the padding are set.
        Self::from_slice(&bytes).filter(|hash| hash.to_code() == text).ok_or(HashCodeError::Wrong)
    }
}
