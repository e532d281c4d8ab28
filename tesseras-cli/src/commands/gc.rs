//! `tes gc`: removes what nothing in the data directory refers to.

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;
use tesseras_storage::{Disagreement, Garbage, LostIndex};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, size};
use crate::output::Report;

/// How many disagreements people are shown.
const SHOWN: usize = 20;

/// Remove what nothing in your data directory refers to
///
/// Interrupted commands and power cuts may leave such files. A running node removes them once a day.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also what an index may have listed that was missing at `tes repair --library` and does not
    /// come back, such as pieces held for others.
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Collected {
    /// Stored files that nothing referred to.
    orphans: u64,
    orphan_bytes: u64,
    /// Stored files whose references were counted wrongly.
    leaked: u64,
    /// Those of them without any reference, which were removed.
    unreferenced: u64,
    unreferenced_bytes: u64,
    /// Temporary files of processes that are gone.
    stale: u64,
    stale_bytes: u64,
    /// Files that nothing refers to and that could not be removed.
    failed: u64,
    /// Why not, for the first of them.
    reasons: Vec<String>,
    /// Stored files that nothing refers to and that were left all the same.
    kept: u64,
    /// Capsules that the index does not list and that are left.
    unlisted: Vec<TesseraHash>,
    /// Whether they were left for an index that was missing when this one was begun.
    #[serde(skip)]
    is_one_missing: bool,
    /// Where the index and what is stored do not agree; if there is any, no stored file was removed.
    disagreements: Vec<String>,
    #[serde(skip)]
    is_index_damaged: bool,
}

/// Runs the command.
pub fn run(context: &Context, Args { all }: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_free_space()?;
    if all {
        store.give_up_missing_index()?;
    }
    // While nobody writes, a file without a row is garbage, however young.
    let garbage = store.collect_garbage(Timestamp(u64::MAX))?;
    let is_done = garbage.failed.files == 0 && garbage.disagreements.is_empty();
    context.output.report(&Collected::from(garbage))?;
    Ok(if is_done { Exit::Done } else { Exit::Failed })
}

impl From<Garbage> for Collected {
    fn from(garbage: Garbage) -> Self {
        Self {
            orphans: garbage.orphans,
            orphan_bytes: garbage.orphan_bytes,
            leaked: garbage.leaked,
            unreferenced: garbage.unreferenced,
            unreferenced_bytes: garbage.unreferenced_bytes,
            stale: garbage.stale,
            stale_bytes: garbage.stale_bytes,
            failed: garbage.failed.files,
            reasons: garbage.failed.reasons,
            kept: garbage.kept,
            is_one_missing: garbage.lost_index == Some(LostIndex::Missing),
            unlisted: garbage.unlisted,
            is_index_damaged: garbage.disagreements.iter().any(Disagreement::is_in_index),
            disagreements: garbage.disagreements.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Report for Collected {
    fn human(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| out.append_line(format_args!("{text}"));
        if let Some(done) = self.done() {
            line(done);
        }
        if self.failed > 0 {
            let files = count(self.failed, "file", "files");
            line(format!("{files} that nothing needs could not be removed:"));
        }
        for reason in &self.reasons {
            line(format!("  {reason}"));
        }
        if !self.disagreements.is_empty() {
            line(
                "No stored file was removed, since the index and the files do not agree:"
                    .to_owned(),
            );
        }
        for disagreement in self.disagreements.iter().take(SHOWN) {
            line(format!("  {disagreement}"));
        }
        if self.disagreements.len() > SHOWN {
            line(format!("  and {} more", self.disagreements.len() - SHOWN));
        }
        for hash in &self.unlisted {
            line(format!("{hash} is not in the index, and its files were left."));
        }
        let is_named = !self.disagreements.is_empty() || !self.unlisted.is_empty();
        if self.kept > 0 && (self.is_one_missing || !is_named) {
            let why = match self.is_one_missing {
                true => {
                    "the index that was missing when the library was listed again may refer to \
                     them. If it does not come back: tes gc --all"
                }
                false => {
                    "the damaged database that was kept beside the index may refer to them. Once \
                     you do not need it any more, remove it."
                }
            };
            line(format!("Left {}: {why}", count(self.kept, "file", "files")));
        }
        if self.is_index_damaged {
            line("Next: stop tesd, then tes repair --library".to_owned());
        } else if !self.disagreements.is_empty() {
            line("Next: tes scrub, with tesd running".to_owned());
        } else if !self.unlisted.is_empty() {
            line("Next: tes repair --library, or tes drop --block HASH".to_owned());
        }
        out
    }
}

impl Collected {
    /// What was removed and corrected.
    fn done(&self) -> Option<String> {
        let freed = self.orphan_bytes + self.stale_bytes + self.unreferenced_bytes;
        let files = self.orphans + self.stale + self.unreferenced;
        let removed = format!(
            "Removed {} ({})",
            count(files, "file that nothing needed", "files that nothing needed"),
            size(freed)
        );
        let counts = self.leaked - self.unreferenced;
        let corrected = count(counts, "reference count", "reference counts");
        match (files, counts) {
            // What hindered it is named below.
            (0, 0) if self.failed > 0 || !self.disagreements.is_empty() => None,
            (0, 0) => Some("Nothing to remove.".to_owned()),
            (0, _) => Some(format!("Corrected {corrected}.")),
            (_, 0) => Some(format!("{removed}.")),
            (_, _) => Some(format!("{removed}; corrected {corrected}.")),
        }
    }
}
