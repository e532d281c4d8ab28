//! Bytes sealed with a passphrase: a file of the `age` format (age-encryption.org/v1) with one
//! scrypt recipient, armored, so that it is text that can be printed and that stock `age` opens.
//!
//! Anyone who has such a file can try passphrases without limit, so each attempt is made slow; and
//! a file may come from anyone, so the cost of opening it is bounded before the work starts.

use std::io::{self, Read as _, Write as _};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, EncryptError, Encryptor};
use thiserror::Error;
use zeroize::Zeroizing;

/// The base-2 logarithm of scrypt's N for files sealed here: 256 MiB of memory and about a second
/// for each attempt. It is the default of the `age` command.
pub const WORK_FACTOR: u8 = 18;
/// The largest work factor that is opened: 1 GiB of memory and a few seconds.
pub const MAX_WORK_FACTOR: u8 = 20;

const ARMOR: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
const BINARY: &[u8] = b"age-encryption.org/";

/// A passphrase. Wiped from memory when dropped.
#[derive(Clone)]
pub struct Passphrase(SecretString);

impl Passphrase {
    /// Takes a passphrase as typed. The caller decides whether it is long enough.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(SecretString::from(text.as_str()))
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(secret)")
    }
}

/// Why bytes were not sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// The header could not be made.
    #[error("the age format refused the passphrase: {0}")]
    Header(#[source] EncryptError),
    /// The bytes could not be encrypted.
    #[error("encrypting failed: {0}")]
    Encrypt(#[source] io::Error),
}

/// Why a sealed file was not opened.
#[derive(Debug, Error)]
pub enum UnsealError {
    /// It does not start like a file of the age format.
    #[error("it is not a file of the age format")]
    NotAge,
    /// It is one for keys, not for a passphrase.
    #[error("it is not encrypted with a passphrase")]
    NotWithPassphrase,
    /// One attempt would take too long, or too much memory.
    #[error("its work factor is {required}, and more than {MAX_WORK_FACTOR} is not tried")]
    TooMuchWork {
        /// The required work factor, as the base-2 logarithm of scrypt's N.
        required: u8,
    },
    /// The passphrase does not open it. A file whose header was damaged looks the same.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Its header is damaged, or of another version.
    #[error("its header is damaged or cut off: {0}")]
    Header(#[source] DecryptError),
    /// The encrypted bytes are damaged.
    #[error("it is damaged or cut off: {0}")]
    Damaged(#[source] io::Error),
}

/// Encrypts bytes with a passphrase; the result is armored text. Takes about a second.
pub fn seal(plaintext: &[u8], passphrase: &Passphrase) -> Result<String, SealError> {
    let sealed = seal_with(plaintext, passphrase, WORK_FACTOR, Format::AsciiArmor)?;
    Ok(String::from_utf8(sealed).expect("armor is ASCII"))
}

fn seal_with(
    plaintext: &[u8],
    passphrase: &Passphrase,
    work_factor: u8,
    format: Format,
) -> Result<Vec<u8>, SealError> {
    let mut recipient = age::scrypt::Recipient::new(passphrase.0.clone());
    recipient.set_work_factor(work_factor);
    let recipients = std::iter::once(&recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(SealError::Header)?;
    let encrypt = || {
        let armor = ArmoredWriter::wrap_output(Vec::new(), format)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(plaintext)?;
        writer.finish()?.finish()
    };
    encrypt().map_err(SealError::Encrypt)
}

/// Decrypts the output of [`seal`] or `age --passphrase`, armored or not. White space around an
/// armored file is allowed. The caller bounds the length of `sealed`; the plaintext is shorter.
pub fn unseal(sealed: &[u8], passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
    let sealed = match sealed.trim_ascii_start() {
        armored if armored.starts_with(ARMOR) => armored.trim_ascii_end(),
        _ if sealed.starts_with(BINARY) => sealed,
        _ => return Err(UnsealError::NotAge),
    };
    let decryptor =
        Decryptor::new_buffered(ArmoredReader::new(sealed)).map_err(UnsealError::Header)?;
    if !decryptor.is_scrypt() {
        return Err(UnsealError::NotWithPassphrase);
    }
    let mut identity = age::scrypt::Identity::new(passphrase.0.clone());
    identity.set_max_work_factor(MAX_WORK_FACTOR);
    let identities = std::iter::once(&identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(identities).map_err(|error| match error {
        DecryptError::ExcessiveWork { required, .. } => UnsealError::TooMuchWork { required },
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => {
            UnsealError::WrongPassphrase
        }
        error => UnsealError::Header(error),
    })?;
    // Large enough from the start: a growing vector leaves copies behind that are not wiped.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut plaintext).map_err(UnsealError::Damaged)?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"what nobody else may read";

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    fn quick(format: Format) -> Vec<u8> {
        seal_with(SECRET, &passphrase("a long passphrase"), 4, format).expect("sealed")
    }

    #[test]
    fn what_was_sealed_is_opened_by_the_same_passphrase_only() {
        let right = passphrase("a long passphrase");
        for format in [Format::AsciiArmor, Format::Binary] {
            let sealed = quick(format);
            assert!(!sealed.windows(SECRET.len()).any(|window| window == SECRET));
            assert_eq!(&**unseal(&sealed, &right).expect("opened"), SECRET);
            for wrong in ["a long passphrasE", "a long passphrase ", ""] {
                let error = unseal(&sealed, &passphrase(wrong)).expect_err("another passphrase");
                assert!(matches!(error, UnsealError::WrongPassphrase), "{error}");
            }
        }
    }

    #[test]
    fn text_that_was_sent_around_still_opens() {
        let sealed = String::from_utf8(quick(Format::AsciiArmor)).expect("ASCII");
        let around = format!("\r\n  {}\n\n", sealed.replace('\n', "\r\n"));
        let opened = unseal(around.as_bytes(), &passphrase("a long passphrase"));
        assert_eq!(&**opened.expect("opened"), SECRET);
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_refused() {
        let right = passphrase("a long passphrase");
        for format in [Format::AsciiArmor, Format::Binary] {
            let sealed = quick(format);
            let end = sealed.trim_ascii_end().len();
            for length in 0..end {
                assert!(unseal(&sealed[..length], &right).is_err(), "{length} of {end}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found() {
        let right = passphrase("a long passphrase");
        let sealed = quick(Format::Binary);
        // A change of the work factor itself must not make this test slow: it is one character.
        let factor = b" 4\n".as_slice();
        let factor = sealed.windows(3).position(|window| window == factor).expect("there") + 1;
        for at in (0..sealed.len()).filter(|at| *at != factor) {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(unseal(&flipped, &right).is_err(), "byte {at}");
        }
    }

    #[test]
    fn work_that_would_take_hours_is_refused_before_it_begins() {
        let sealed = quick(Format::Binary);
        let at = sealed.windows(3).position(|window| window == b" 4\n").expect("there");
        for (factor, required) in [("21", 21), ("30", 30), ("63", 63), ("255", 255)] {
            let costly = [&sealed[..=at], factor.as_bytes(), &sealed[at + 2..]].concat();
            let error = unseal(&costly, &passphrase("a long passphrase")).expect_err("costly");
            let UnsealError::TooMuchWork { required: found } = error else {
                panic!("{error}");
            };
            assert_eq!(found, required);
        }
    }

    #[test]
    fn what_is_not_sealed_with_a_passphrase_is_named() {
        let right = passphrase("a long passphrase");
        for other in [&b""[..], b"-----BEGIN PRIVATE KEY-----\n", b"\x89PNG\r\n", b"age"] {
            assert!(matches!(unseal(other, &right), Err(UnsealError::NotAge)));
        }
        let key = age::x25519::Identity::generate().to_public();
        let sealed = age::encrypt(&key, SECRET).expect("encrypted");
        assert!(matches!(unseal(&sealed, &right), Err(UnsealError::NotWithPassphrase)));
    }
}
