//! `tes gc`: removes what nothing in the data directory refers to.

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::time::Timestamp;
use tesseras_storage::{Garbage, LostIndex};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, size};
use crate::output::Report;

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
}

/// Runs the command.
pub fn run(context: &Context, Args { all }: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_free_space()?;
    if all {
        store.give_up_missing_index()?;
    }
    // While nobody writes, a file without a row is garbage, however young.
    let garbage = store.collect_garbage(Timestamp(u64::MAX))?;
    let failed = garbage.failed.files;
    context.output.report(&Collected::from(garbage))?;
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

impl From<Garbage> for Collected {
    fn from(garbage: Garbage) -> Self {
        Self {
            orphans: garbage.orphans,
            orphan_bytes: garbage.orphan_bytes,
            leaked: garbage.leaked,
            stale: garbage.stale,
            stale_bytes: garbage.stale_bytes,
            failed: garbage.failed.files,
            reasons: garbage.failed.reasons,
            kept: garbage.kept,
            is_one_missing: garbage.lost_index == Some(LostIndex::Missing),
            unlisted: garbage.unlisted,
        }
    }
}

impl Report for Collected {
    fn human(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| out.append_line(format_args!("{text}"));
        let bytes = self.orphan_bytes + self.stale_bytes;
        match (self.orphans + self.stale, self.leaked) {
            // What failed is named below.
            (0, 0) if self.failed > 0 => {}
            (0, 0) => line("Nothing to remove.".to_owned()),
            (0, leaked) if leaked > 0 => {
                line(format!("Corrected {}.", count(leaked, "reference count", "reference counts")))
            }
            (files, 0) => line(format!(
                "Removed {} ({}).",
                count(files, "file that nothing needed", "files that nothing needed"),
                size(bytes)
            )),
            (files, leaked) => line(format!(
                "Removed {} ({}); corrected {}.",
                count(files, "file that nothing needed", "files that nothing needed"),
                size(bytes),
                count(leaked, "reference count", "reference counts")
            )),
        }
        if self.failed > 0 {
            let files = count(self.failed, "file", "files");
            line(format!("{files} that nothing needs could not be removed:"));
        }
        for reason in &self.reasons {
            line(format!("  {reason}"));
        }
        for hash in &self.unlisted {
            line(format!("{hash} is not in the index, and its files were left."));
        }
        if self.kept > 0 && (self.unlisted.is_empty() || self.is_one_missing) {
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
        if !self.unlisted.is_empty() {
            line("Next: tes repair --library, or tes drop --block HASH".to_owned());
        }
        out
    }
}
