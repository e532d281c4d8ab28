//! Where passphrases come from: a person at a terminal, who does not see what is typed, or the
//! first line of a file.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use tesseras_crypto::passphrase::Passphrase;
use zeroize::Zeroizing;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::hidden_line;
use crate::interrupt::interrupted;

/// The fewest characters of a new passphrase.
pub const MIN_CHARACTERS: usize = 10;
/// The longest first line that is read of a file, in bytes.
const MAX_BYTES: u64 = 4096;

/// A passphrase to protect something with: long enough, and typed twice.
pub fn new(context: &Context, file: Option<&Path>) -> Result<Passphrase, CommandError> {
    if let Some(file) = file {
        let text = first_line(file)?;
        if is_short(&text) {
            return Err(CommandError::new(format!(
                "the passphrase in {} is too short: it needs at least {MIN_CHARACTERS} characters",
                file.display()
            )));
        }
        return Ok(Passphrase::new(text));
    }
    check_terminal(context)?;
    loop {
        let text = hidden("Passphrase: ")?;
        if is_short(&text) {
            context.output.note(&format!(
                "Too short: it needs at least {MIN_CHARACTERS} characters. A few words are good."
            ));
            continue;
        }
        if *hidden("The same again: ")? == *text {
            return Ok(Passphrase::new(text));
        }
        context.output.note("These were two different passphrases. Once more:");
    }
}

/// The passphrase of something that exists.
pub fn known(context: &Context, file: Option<&Path>) -> Result<Passphrase, CommandError> {
    if let Some(file) = file {
        return Ok(Passphrase::new(first_line(file)?));
    }
    check_terminal(context)?;
    Ok(Passphrase::new(hidden("Passphrase: ")?))
}

fn is_short(text: &str) -> bool {
    text.chars().count() < MIN_CHARACTERS
}

fn check_terminal(context: &Context) -> Result<(), CommandError> {
    if context.output.can_ask() {
        return Ok(());
    }
    Err(CommandError::usage("there is nobody to ask for the passphrase")
        .with_hint("give it as the first line of a file, with --passphrase-file FILE"))
}

fn hidden(prompt: &str) -> Result<Zeroizing<String>, CommandError> {
    let failed =
        |error: io::Error| CommandError::new(format!("cannot read the passphrase: {error}"));
    match hidden_line::ask(prompt).map_err(failed)? {
        Some(line) => Ok(line),
        None => Err(interrupted()),
    }
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let failed = |error| CommandError::io("read the passphrase in", path, &error);
    // Large enough from the start: a string that grows leaves copies behind that nobody wipes.
    let mut line = Zeroizing::new(String::with_capacity(MAX_BYTES as usize));
    let file = File::open(path).map_err(failed)?;
    BufReader::new(file.take(MAX_BYTES)).read_line(&mut line).map_err(failed)?;
    let ends = line.trim_end_matches(['\r', '\n']).len();
    if ends as u64 == MAX_BYTES {
        return Err(CommandError::new(format!(
            "the first line of {} is too long for a passphrase",
            path.display()
        )));
    }
    line.truncate(ends);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_first_line_as_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("passphrase");
        for (written, read) in [
            ("four words of mine\n", "four words of mine"),
            (" spaces stay \r\nnot this\n", " spaces stay "),
            ("no line feed", "no line feed"),
            ("", ""),
        ] {
            std::fs::write(&path, written).expect("written");
            assert_eq!(first_line(&path).expect("read").as_str(), read);
        }
        std::fs::write(&path, "x".repeat(5000)).expect("written");
        assert!(first_line(&path).expect_err("endless").message().contains("too long"));
        std::fs::write(&path, b"\xff\xfe").expect("written");
        assert!(first_line(&path).is_err());
        assert!(first_line(&dir.path().join("none")).is_err());
    }
}
