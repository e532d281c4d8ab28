//! From what a person types to a tessera: all 64 hex digits, or the first few of one stored here.

use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{FragmentStore as _, TesseraRepository as _};
use tesseras_storage::Store;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::human::count;

/// The fewest digits that are taken.
const MIN_DIGITS: usize = 4;
const ALL_DIGITS: usize = 2 * TesseraHash::LEN;
/// How many candidates an error names.
const SHOWN: usize = 5;

/// [`resolve`], without opening the store where that is not needed.
pub fn named(context: &Context, text: &str) -> Result<TesseraHash, CommandError> {
    match digits(text)?.parse() {
        Ok(hash) => Ok(hash),
        Err(_) => resolve(&context.store()?, text),
    }
}

/// The tessera that a text means, whether it is stored here or not.
pub fn resolve(store: &Store, text: &str) -> Result<TesseraHash, CommandError> {
    let prefix = digits(text)?;
    if let Ok(hash) = prefix.parse() {
        return Ok(hash);
    }
    let mut found = store.library().find(&prefix, SHOWN + 1)?;
    found.extend(held(store, &prefix)?);
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [] => Err(CommandError::new(format!("no tessera stored here begins with {prefix}"))
            .with_hint("`tes list` shows those that are; of any other give all 64 digits")),
        [hash] => Ok(hash),
        _ => {
            let shown: Vec<_> = found.iter().take(SHOWN).map(ToString::to_string).collect();
            let more = if found.len() > SHOWN { " and more" } else { "" };
            Err(CommandError::new(format!("{prefix} may mean {}{more}", shown.join(" or ")))
                .with_hint("give more digits"))
        }
    }
}

/// The error for a tessera that is not in the library.
pub fn not_in_library(store: &Store, hash: &TesseraHash) -> CommandError {
    let held = store.fragments().list_fragments(hash).map_or(0, |pieces| pieces.len());
    if held == 0 {
        return CommandError::new(format!("{hash} is not stored here"))
            .with_hint(format!("bring it here with `tes fetch {hash}`"));
    }
    let pieces = count(held as u64, "piece", "pieces");
    CommandError::new(format!("of {hash} only {pieces} held for others are stored here"))
        .with_hint(format!("bring all of it here with `tes fetch {hash}`"))
}

/// Checks that a text is hex, and lowers it.
fn digits(text: &str) -> Result<String, CommandError> {
    let prefix = text.to_ascii_lowercase();
    if !prefix.bytes().all(|b| b.is_ascii_hexdigit()) || prefix.is_empty() {
        return Err(CommandError::new(format!("{text:?} is no tessera's hash"))
            .with_hint("a hash has 64 hex digits; the first few are enough for one stored here"));
    }
    if !(MIN_DIGITS..=ALL_DIGITS).contains(&prefix.len()) {
        return Err(CommandError::new(format!(
            "{text:?} has {}; a hash has {MIN_DIGITS} to {ALL_DIGITS}",
            count(prefix.len() as u64, "digit", "digits")
        )));
    }
    Ok(prefix)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enough_hex_digits_are_taken() {
        for bad in ["", "abc", "xyz1", "ab cd", "../..", "ação", &"a".repeat(65)] {
            assert!(digits(bad).is_err(), "{bad}");
        }
        assert_eq!(digits("ABCD").expect("hex"), "abcd");
    }

    #[test]
    fn the_hash_before_a_prefix_is_just_below_it() {
        assert_eq!(before("0000"), None);
        let expected = format!("11ff{}", "f".repeat(60)).parse().expect("a hash");
        assert_eq!(before("1200"), Some(expected));
    }
}
