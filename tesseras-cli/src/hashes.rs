//! From what a person types to a tessera: its code, all 64 hex digits of its hash, or the first few
//! of one stored here. Spaces, line breaks, dashes and case do not matter.

use thiserror::Error;

use tesseras_core::hash_code::{CODE_CHARACTERS, HashCodeError};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{FragmentStore as _, TesseraRepository as _};
use tesseras_storage::Store;

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::human::count;

/// The fewest digits that are taken.
const MIN_DIGITS: usize = 4;
const ALL_DIGITS: usize = 2 * TesseraHash::LEN;
/// How many candidates an error names.
const SHOWN: usize = 5;
/// How much of what was typed an error repeats, in characters; longer than any card's spelling.
const REPEATED: usize = 100;

/// What the help of every command says of a hash.
pub const WHICH: &str = "Its code or all 64 hex digits, as a recovery card has them, with or \
                         without spaces; the first few digits are enough for one stored here";

/// The hash that a command is about. Several arguments are the groups of one code or hash.
#[derive(Debug, clap::Args)]
pub struct HashArg {
    #[arg(required = true, num_args = 1.., value_name = "HASH", help = WHICH)]
    hash: Vec<String>,
}

impl HashArg {
    /// What was typed, as one string. Fails if it names more than one tessera.
    pub fn text(&self) -> Result<String, CommandError> {
        joined(&self.hash)
    }
}

/// Why a string does not name a tessera.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HashTextError {
    /// It is neither a code nor hex.
    #[error("{0:?} is not a tessera's hash")]
    Neither(String),
    /// Too few or too many hex digits.
    #[error(
        "{text:?} has {}; a hash has {MIN_DIGITS} to {ALL_DIGITS}",
        count(*.found as u64, "digit", "digits")
    )]
    Digits {
        /// What was typed.
        text: String,
        /// How many digits that is.
        found: usize,
    },
    /// It begins like a code and is not one.
    #[error("{text:?}: {why}")]
    Code {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        #[source]
        why: HashCodeError,
    },
    /// The first digits only, where nothing says how it goes on.
    #[error("{0:?} is not the whole hash")]
    NotWhole(String),
}

/// What a string can mean.
#[derive(Debug, PartialEq, Eq)]
enum Typed {
    /// One tessera, stored here or not.
    Whole(TesseraHash),
    /// The first lower-case hex digits of one stored here.
    Prefix(String),
}

/// What several arguments mean: the groups of one code or whole hash, as a card has them. Two
/// tesserae are not one.
pub fn joined(parts: &[String]) -> Result<String, CommandError> {
    let text = parts.join(" ");
    let is_one = parts.len() < 2
        || matches!(typed(&text), Ok(Typed::Whole(_)) | Err(HashTextError::Code { .. }));
    if is_one {
        return Ok(text);
    }
    let given = count(parts.len() as u64, "argument is", "arguments are");
    Err(CommandError::usage(format!("the {given} not one code or hash"))
        .with_hint("give one tessera at a time; the groups of its code or hash may stand apart"))
}

/// [`resolve`], without opening the store where that is not needed. However much of a hash was typed,
/// a data directory of a newer version is refused.
pub fn named(context: &Context, text: &str) -> Result<TesseraHash, CommandError> {
    match typed(text)? {
        Typed::Whole(hash) => context.check_format().map(|()| hash),
        Typed::Prefix(_) => resolve(&context.store_to_read()?, text),
    }
}

/// The tessera of a whole hash; for clap, where there is no store to complete the first digits.
pub fn whole(text: &str) -> Result<TesseraHash, HashTextError> {
    match typed(text)? {
        Typed::Whole(hash) => Ok(hash),
        Typed::Prefix(_) => Err(HashTextError::NotWhole(repeated(text))),
    }
}

/// The tessera that a string means, whether it is stored here or not.
pub fn resolve(store: &Store, text: &str) -> Result<TesseraHash, CommandError> {
    let prefix = match typed(text)? {
        Typed::Whole(hash) => return Ok(hash),
        Typed::Prefix(prefix) => prefix,
    };
    let mut found = store.library().find(&prefix, SHOWN + 1)?;
    found.extend(held(store, &prefix)?);
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [] => Err(CommandError::new(format!("no tessera stored here begins with {prefix}"))
            .with_code(Code::NOT_IN_LIBRARY)
            .with_hint(
                "`tes list` shows those that are; of any other give the code or all 64 digits",
            )),
        [hash] => Ok(hash),
        _ => {
            let shown: Vec<_> = found.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = if found.len() > SHOWN { " and more" } else { "" };
            Err(CommandError::new(format!("{prefix} is ambiguous: {}{more}", shown.join(" or ")))
                .with_code(Code::AMBIGUOUS)
                .with_hint("give more digits"))
        }
    }
}

/// The error for a tessera that is not in the library.
pub fn not_in_library(store: &Store, hash: &TesseraHash) -> CommandError {
    let held = store.fragments().list_fragments(hash).map_or(0, |pieces| pieces.len());
    if held == 0 {
        return CommandError::new(format!("{hash} is not stored here"))
            .with_code(Code::NOT_IN_LIBRARY)
            .with_hint(format!("bring it here with `tes fetch {hash}`"));
    }
    let (pieces, are) = if held == 1 { ("piece", "is") } else { ("pieces", "are") };
    CommandError::new(format!("only {held} {pieces} of {hash} {are} stored here, held for others"))
        .with_code(Code::NOT_IN_LIBRARY)
        .with_hint(format!("bring all of it here with `tes fetch {hash}`"))
}

/// What a string means, once everything is out of the way that cards, screens and keyboards add.
fn typed(text: &str) -> Result<Typed, HashTextError> {
    let plain: String = text.chars().filter(|c| !is_between(*c)).collect();
    let plain = plain.to_ascii_lowercase();
    let is_hex = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex {
        // What is as long as a code was meant as one, even where its prefix is mistyped.
        return if plain.starts_with("tes") || plain.chars().count() == CODE_CHARACTERS {
            TesseraHash::from_code(&plain)
                .map(Typed::Whole)
                .map_err(|why| HashTextError::Code { text: repeated(text), why })
        } else {
            Err(HashTextError::Neither(repeated(text)))
        };
    }
    if let Ok(hash) = plain.parse() {
        return Ok(Typed::Whole(hash));
    }
    if !(MIN_DIGITS..=ALL_DIGITS).contains(&plain.len()) {
        return Err(HashTextError::Digits { text: repeated(text), found: plain.len() });
    }
    Ok(Typed::Prefix(plain))
}

/// Whether a character only stands between those of a hash: spaces, line breaks, dashes, and the
/// invisible marks that come along when text is copied from a page.
fn is_between(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '-' | '\u{ad}' | '\u{200b}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{feff}'
        )
}

/// What was typed, for an error.
fn repeated(text: &str) -> String {
    text.chars().take(REPEATED).collect()
}

/// Tesserae of which pieces are held here for others and that begin with `prefix`.
fn held(store: &Store, prefix: &str) -> Result<Vec<TesseraHash>, CommandError> {
    let after = before(prefix);
    let mut found = store.fragments().held_tesserae(after.as_ref(), SHOWN + 1)?;
    found.retain(|hash| hash.to_string().starts_with(prefix));
    Ok(found)
}

/// The greatest hash below all that begin with `prefix`; `None` if there is none.
fn before(prefix: &str) -> Option<TesseraHash> {
    let lowest: TesseraHash = format!("{prefix:0<ALL_DIGITS$}").parse().ok()?;
    let mut bytes = *lowest.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return Some(TesseraHash::new(bytes));
        }
    }
    None
}

impl From<HashTextError> for CommandError {
    fn from(error: HashTextError) -> Self {
        let failed = Self::new(error.to_string()).with_code(Code::NOT_A_HASH);
        match error {
            HashTextError::Neither(_) => failed.with_hint(
                "give the code that begins with tes1, or the 64 hex digits; the first few digits \
                 are enough for a tessera stored here",
            ),
            HashTextError::NotWhole(_) => failed.with_hint("give the code or all 64 digits"),
            HashTextError::Code { .. } | HashTextError::Digits { .. } => failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_hex_digits_are_taken() {
        for bad in ["", " - ", "abc", "a b c", "xyz1", "../..", "ação", &"a".repeat(65)] {
            assert!(typed(bad).is_err(), "{bad}");
        }
        assert_eq!(typed("ABCD"), Ok(Typed::Prefix("abcd".to_owned())));
    }

    #[test]
    fn a_hash_may_be_spelled_as_cards_and_phones_spell_it() {
        let hash = TesseraHash::new([0x9c; 32]);
        for plain in [hash.to_string(), hash.to_code()] {
            let groups = |between: &str| {
                let groups: Vec<_> = plain.as_bytes().chunks(4).collect();
                String::from_utf8(groups.join(between.as_bytes())).expect("ASCII")
            };
            let first = plain[..1].to_uppercase() + &plain[1..];
            for text in
                [&first, &plain.to_uppercase(), &groups(" "), &groups("\r\n  "), &groups("-")]
            {
                assert_eq!(whole(text), Ok(hash), "{text}");
            }
        }
        assert_eq!(typed("9C9c 9c-9c"), Ok(Typed::Prefix("9c9c9c9c".to_owned())));
        assert!(matches!(whole("9c9c 9c9c"), Err(HashTextError::NotWhole(_))));
    }

    #[test]
    fn a_mistyped_code_is_told_from_what_was_never_one() {
        let code = TesseraHash::new([0x9c; 32]).to_code();
        let swapped = format!("{}{}{}", &code[..30], &code[31..32], &code[30..31]) + &code[32..];
        for wrong in [code.replacen("tes1", "tas1", 1), code.replacen("s1", "s7", 1), swapped] {
            let error = typed(&wrong).expect_err("wrong").to_string();
            assert!(error.contains("a character is wrong; compare with the card"), "{error}");
        }
        let error = typed(&code[..61]).expect_err("short").to_string();
        assert!(error.contains("62 characters, and this one has 61"), "{error}");
        let error = typed(&"?".repeat(5000)).expect_err("neither").to_string();
        assert!(error.len() < 200 && error.contains("is not a tessera's hash"), "{error}");
    }

    #[test]
    fn the_hash_before_a_prefix_is_just_below_it() {
        assert_eq!(before("0000"), None);
        let expected = format!("11ff{}", "f".repeat(60)).parse().expect("a hash");
        assert_eq!(before("1200"), Some(expected));
    }
}
