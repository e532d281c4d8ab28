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
    unlisted: Vec<TesseraHash>,
    /// What is wrong with the structure of the index.
    index_faults: Vec<String>,
    /// Where the index does not agree with what is stored.
    disagreements: Vec<String>,
    orphans: Vec<PathBuf>,
    waiting: Vec<PathBuf>,
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
            unlisted: check.unlisted,
            index_faults: check.index_faults,
            disagreements: check.disagreements.iter().map(ToString::to_string).collect(),
            orphans: check.orphans,
            waiting: check.waiting,
            foreign: check.foreign,
        }
    }
}

impl Report for Checked {
    fn human(&self) -> String {
        let mut out = String::new();
        let read = count(self.objects, "stored file", "stored files");
        list(&mut out, "Index damaged", self.index_faults.iter());
        if !self.index_faults.is_empty() {
            out += "Nothing else was looked at.\n";
        } else {
            out.append_line(format_args!("Read {read} ({}).", size(self.bytes)));
        }
        list(&mut out, "Missing", self.missing.iter());
        list(&mut out, "Damaged", self.damaged.iter());
        list(&mut out, "Counted wrongly", self.miscounted.iter());
        let lost = self.lost_pieces.iter();
        list(&mut out, "Lost", lost.map(|lost| format!("{} of {}", lost.fragment, lost.hash)));
        list(
            &mut out,
            "Without its signature file, or with other signatures in the index",
            self.unsigned.iter(),
        );
        list(&mut out, "Not in the index", self.unlisted.iter());
        list(&mut out, "Index damaged", self.disagreements.iter());
        list(&mut out, "Nothing refers to", self.orphans.iter().map(|path| path.display()));
        list(&mut out, "Waits to be removed", self.waiting.iter().map(|path| path.display()));
        list(&mut out, "Not a file of Tesseras", self.foreign.iter().map(|path| path.display()));
        if self.intact && self.unlisted.is_empty() && !self.orphans.is_empty() {
            let files = count(
                self.orphans.len() as u64,
                "file that nothing refers to",
                "files that nothing refers to",
            );
            out.append_line(format_args!(
                "Nothing is missing or damaged. There is waste: {files}."
            ));
        }
        if self.sound {
            out += "Everything is as it should be.\n";
        }
        if !self.lost_pieces.is_empty() && self.missing.is_empty() && self.damaged.is_empty() {
            out += "The index has another length of these pieces than their files have. No command \
                    mends that.\n";
        }
        let mut lead = "Next:";
        for (command, what) in self.next() {
            out.append_line(format_args!("{lead:5} {command:20}     {what}"));
            lead = "";
        }
        out
    }
}

impl Checked {
    /// The commands that help, in the order in which to call them, and what each does.
    fn next(&self) -> Vec<(&'static str, &'static str)> {
        let hurt = !self.missing.is_empty() || !self.damaged.is_empty();
        let agrees = self.disagreements.is_empty();
        let is_index_damaged = !agrees || !self.index_faults.is_empty();
        let unlisted = !self.unsigned.is_empty() || !self.unlisted.is_empty() || is_index_damaged;
        // What nothing refers to may belong to a capsule that is not in the index, or be what a
        // damaged index does not name.
        let waste = agrees && !(self.orphans.is_empty() && self.miscounted.is_empty());
        let all = [
            (unlisted, REBUILD),
            (hurt, ("tes scrub", "with tesd running, mends from other nodes what they have")),
            (waste, ("tes gc", "removes files that nothing refers to, and corrects counts")),
            (
                !waste && !self.waiting.is_empty(),
                ("tes gc", "tries again to remove what was dropped"),
            ),
        ];
        all.into_iter().filter(|(is_due, _)| *is_due).map(|(_, next)| next).collect()
    }
}

const REBUILD: (&str, &str) =
    ("tes repair --library", "with tesd stopped, writes what the index or library/ lacks");

/// Lists what was found of one kind.
fn list(out: &mut String, what: &str, found: impl ExactSizeIterator<Item: std::fmt::Display>) {
    let more = found.len().saturating_sub(SHOWN);
    found.take(SHOWN).for_each(|one| out.append_line(format_args!("{what}: {one}")));
    if more > 0 {
        out.append_line(format_args!("{what}: {more} more"));
    }
}
