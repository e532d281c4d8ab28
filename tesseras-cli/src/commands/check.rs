//! `tes check`: compares the index with what is stored, and changes nothing.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::code::Piece;
use tesseras_core::ids::{ContentHash, TesseraHash};
use tesseras_storage::StoreCheck;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, size};
use crate::output::Report;

/// How many of each kind people are shown.
const SHOWN: usize = 20;

/// Compare the index of your data directory with what is stored, and change nothing
///
/// Reads every stored file. Certain only while nothing else writes: stop tesd before.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Checked {
    /// Whether everything is as it should be.
    sound: bool,
    /// Whether nothing is missing, damaged or counted wrongly.
    intact: bool,
    objects: u64,
    bytes: u64,
    pieces: u64,
    missing: Vec<ContentHash>,
    damaged: Vec<ContentHash>,
    miscounted: Vec<ContentHash>,
    lost_pieces: Vec<LostPiece>,
    unsigned: Vec<TesseraHash>,
    orphans: Vec<PathBuf>,
    foreign: Vec<PathBuf>,
}

/// A held piece whose file is missing or damaged.
#[derive(Serialize)]
struct LostPiece {
    hash: TesseraHash,
    fragment: Piece,
}

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    let checked = Checked::from(context.store_to_read()?.check()?);
    let sound = checked.sound;
    context.output.report(&checked)?;
    Ok(if sound { Exit::Done } else { Exit::Failed })
}

impl From<StoreCheck> for Checked {
    fn from(check: StoreCheck) -> Self {
        let lost = check.lost_pieces.iter();
        let lost = lost.map(|held| LostPiece { hash: held.tessera, fragment: held.piece });
        Self {
            sound: check.is_sound(),
            intact: check.is_intact(),
            objects: check.objects,
            bytes: check.bytes,
            pieces: check.pieces,
            lost_pieces: lost.collect(),
            missing: check.missing,
            damaged: check.damaged,
            miscounted: check.miscounted,
            unsigned: check.unsigned,
            orphans: check.orphans,
            foreign: check.foreign,
        }
    }
}

impl Report for Checked {
    fn human(&self) -> String {
        let mut out = String::new();
        let read = count(self.objects, "stored file", "stored files");
        out.append_line(format_args!("Read {read} ({}).", size(self.bytes)));
        list(&mut out, "Missing", self.missing.iter());
        list(&mut out, "Damaged", self.damaged.iter());
        list(&mut out, "Counted wrongly", self.miscounted.iter());
        let lost = self.lost_pieces.iter();
        list(&mut out, "Lost", lost.map(|lost| format!("{} of {}", lost.fragment, lost.hash)));
        list(&mut out, "Without a signature file", self.unsigned.iter());
        list(&mut out, "Nothing refers to", self.orphans.iter().map(|path| path.display()));
        list(&mut out, "Not a file of Tesseras", self.foreign.iter().map(|path| path.display()));
        if self.intact && !self.sound {
            let files = count(
                self.orphans.len() as u64,
                "file that nothing refers to",
                "files that nothing refers to",
            );
            out.append_line(format_args!(
                "Nothing is missing or damaged. There is waste: {files}."
            ));
        }
        let is_hurt = !self.missing.is_empty() || !self.damaged.is_empty();
        let next = match (self.sound, is_hurt, self.unsigned.is_empty()) {
            (true, ..) => "Everything is as it should be.",
            (false, true, _) => "Next: tes scrub     mends from other nodes what they have",
            (false, false, false) => "Next: tes repair --library     writes what is missing",
            (false, false, true) => {
                "Next: tes gc     removes files that nothing refers to, and corrects counts"
            }
        };
        out.append_line(format_args!("{next}"));
        out
    }
}

/// Lists what was found of one kind.
fn list(out: &mut String, what: &str, found: impl ExactSizeIterator<Item: std::fmt::Display>) {
    let more = found.len().saturating_sub(SHOWN);
    found.take(SHOWN).for_each(|one| out.append_line(format_args!("{what}: {one}")));
    if more > 0 {
        out.append_line(format_args!("{what}: {more} more"));
    }
}
