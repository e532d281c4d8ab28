//! `tes repair`: one repair cycle of the node, now; or the library, listed again from its files.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::StoreError;
use tesseras_rpc::calls::Repair;
use tesseras_rpc::messages::RepairReply;
use tesseras_storage::{Rebuilt, StorageConfig, Store};

use crate::ask::ask;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{joined, named};
use crate::human::count;
use crate::output::Report;

/// Check what your node keeps, and rebuild what others have lost
///
/// All pieces that your node holds of these tesserae are read from its disk first; damaged ones are
/// replaced by what other nodes have.
/// The exit code is 0 also while pieces are still missing; how many, and why, is said.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this tessera: its code or its hash, with or without spaces; the first few hex digits
    /// are enough for one stored here.
    #[arg(num_args = 1.., value_name = "HASH")]
    hash: Option<Vec<String>>,
    /// List the tesserae of your library again from the stored files, after the database in db/ was
    /// damaged or lost. Deletes nothing; tesd must not run meanwhile. The exit code is 1 if files of
    /// a tessera are missing, or something could not be read.
    #[arg(long, conflicts_with = "hash")]
    library: bool,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(RepairReply);

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    if args.library {
        return rebuild(context);
    }
    let hash = match &args.hash {
        None => None,
        Some(groups) => Some(named(context, &joined(groups)?)?),
    };
    let done = ask(context, Repair { hash })?;
    context.output.report(&Shown(done))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Library {
    found: u64,
    restored: Vec<TesseraHash>,
    /// Those whose rows in the index did not agree with their MANIFEST, and do now.
    mended: Vec<TesseraHash>,
    /// Pieces held for others whose rows were wrong.
    mended_pieces: u64,
    incomplete: Vec<Incomplete>,
    /// What could not be read or written; all else was done.
    skipped: Vec<String>,
    set_aside: Option<PathBuf>,
}

#[derive(Serialize)]
struct Incomplete {
    hash: TesseraHash,
    /// Whether it is listed, so that `tes restore` gives back the rest of it.
    listed: bool,
    /// How many files it has; 0 if its MANIFEST is missing.
    files: u64,
    missing: Vec<String>,
}

/// Lists the library again.
fn rebuild(context: &Context) -> Result<Exit, CommandError> {
    context.check_data_dir()?;
    let now = i64::try_from(context.now().0).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(now).map(|now| now.strftime("%Y-%m-%d").to_string());
    let date = date.unwrap_or_else(|_| now.to_string());
    match Store::rebuild_library(&context.data_dir, &StorageConfig::default(), &date) {
        Ok(rebuilt) => {
            let is_whole = rebuilt.incomplete.is_empty() && rebuilt.skipped.is_empty();
            context.output.report(&Library::from(rebuilt))?;
            Ok(if is_whole { Exit::Done } else { Exit::Failed })
        }
        Err(error @ StoreError::Locked { .. }) => Err(CommandError::from(error)
            .with_hint("stop tesd, and every other tes, then repeat the command")),
        Err(other) => Err(other.into()),
    }
}

impl From<Rebuilt> for Library {
    fn from(rebuilt: Rebuilt) -> Self {
        let incomplete = |one: tesseras_storage::Incomplete| {
            let tesseras_storage::Incomplete { hash, listed, files, missing } = one;
            Incomplete { hash, listed, files, missing }
        };
        Self {
            found: rebuilt.found,
            restored: rebuilt.restored,
            mended: rebuilt.mended,
            mended_pieces: rebuilt.mended_pieces,
            incomplete: rebuilt.incomplete.into_iter().map(incomplete).collect(),
            skipped: rebuilt.skipped,
            set_aside: rebuilt.set_aside,
        }
    }
}

/// How many missing files of one tessera people are shown.
const SHOWN: usize = 5;

impl Report for Library {
    fn human(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| out.append_line(format_args!("{text}"));
        if let Some(path) = &self.set_aside {
            line(format!("The damaged database was kept as {}", path.display()));
            line(
                "What it listed for others is given up; other nodes bring it to full redundancy again."
                    .to_owned(),
            );
        }
        line(format!(
            "Found {}; listed {} again.",
            count(self.found, "tessera", "tesserae"),
            self.restored.len()
        ));
        for hash in &self.restored {
            line(format!("  {hash}"));
        }
        for hash in &self.mended {
            line(format!("{hash}: what the index said of it was damaged, and is right now."));
        }
        if self.mended_pieces > 0 {
            let pieces = count(self.mended_pieces, "held piece", "held pieces");
            line(format!("The index did not name {pieces}, and does now."));
        }
        self.incomplete.iter().for_each(|one| out += &one.human());
        let mut line = |text: String| out.append_line(format_args!("{text}"));
        for sentence in &self.skipped {
            line(format!("Skipped: {sentence}"));
        }
        if !self.skipped.is_empty() {
            line("Check the disk and who owns these files, then repeat the command.".to_owned());
        }
        if self.found > 0 {
            line(
                "Next: tes list, and tes verify for each: files were not read in full.".to_owned(),
            );
        }
        out
    }
}

impl Incomplete {
    /// What it lacks, and what to do.
    fn human(&self) -> String {
        let Self { hash, listed, files, missing } = self;
        let mut out = match *listed && *files > 0 {
            true => format!(
                "{hash} is not complete: {} of its {files} files are missing or damaged:\n",
                missing.len()
            ),
            false => format!("{hash} is not complete. Missing or damaged:\n"),
        };
        missing.iter().take(SHOWN).for_each(|path| out.append_line(format_args!("  {path}")));
        if missing.len() > SHOWN {
            out.append_line(format_args!("  and {} more", missing.len() - SHOWN));
        }
        if *listed && *files > 0 {
            out.append_line(format_args!("  The others: tes restore {hash} FOLDER"));
        }
        out += "  If it was published, `tes fetch` with this hash brings all of it back; `tes create` \
                of the same folder does so, too.\n";
        out
    }
}

impl Report for Shown {
    fn human(&self) -> String {
        let RepairReply { checked, restored, missing, failed, .. } = &self.0;
        let RepairReply { damaged, replaced, unreachable, notes, .. } = &self.0;
        let mut out = format!(
            "Checked {}; restored {}.\n",
            count(*checked, "tessera", "tesserae"),
            count(*restored, "piece", "pieces")
        );
        if *damaged > 0 {
            let found = count(*damaged, "of this node's pieces was", "of this node's pieces were");
            let mended = count(*replaced, "was", "were");
            out.append_line(format_args!("{found} damaged; {mended} replaced; check the disk."));
        }
        if *missing > 0 {
            let pieces = count(*missing, "piece is", "pieces are");
            out.append_line(format_args!("{pieces} still missing."));
        }
        if *failed > 0 {
            let tesserae = count(*failed, "tessera", "tesserae");
            out.append_line(format_args!("{tesserae} could not be checked or repaired."));
        }
        if *unreachable > 0 {
            let nodes = count(*unreachable, "holder", "holders");
            out.append_line(format_args!("{nodes} did not answer."));
        }
        for note in notes {
            out.append_line(format_args!("Note: {note}"));
        }
        if *missing > 0 {
            out += "Next: tes peers     to see which nodes yours knows; with more of them, or more\n      \
                    room on them, the next repair places the rest\n";
        }
        out
    }
}
