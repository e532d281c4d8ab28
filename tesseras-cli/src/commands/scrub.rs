//! `tes scrub`: re-reads every stored file, and mends what is damaged.

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::code::Piece;
use tesseras_rpc::calls::Scrub;
use tesseras_rpc::messages::{DamagedFile, DamagedPart, DamagedUse, ScrubReply};
use tesseras_storage::Scrubbed;

use crate::ask::{ask, is_running};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, size};
use crate::output::Report;
use crate::progress::file_meter;

/// How much is read before progress is shown, in bytes.
const STEP: u64 = 1024 * 1024;
/// How many damaged files people are shown.
const SHOWN: usize = 20;

/// Re-read every stored file now, and mend what is damaged
///
/// Disks lose bits in silence. A running node re-reads everything once a month by itself; this does it
/// at once. What is damaged is mended from other nodes, if tesd runs and they have it. Damaged files are
/// left where they are until they are replaced.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    found: ScrubReply,
    /// Whether no node ran that could have mended anything.
    #[serde(skip)]
    alone: bool,
}

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    let alone = !is_running(context)?;
    let found = if alone { read_here(context)? } else { ask(context, Scrub {})? };
    let is_well = found.repaired == found.corrupt && found.failed == 0;
    context.output.report(&Shown { found, alone })?;
    Ok(if is_well { Exit::Done } else { Exit::Failed })
}

/// Reads everything without a node.
fn read_here(context: &Context) -> Result<ScrubReply, CommandError> {
    let store = context.store()?;
    let meter = file_meter("reading what is stored");
    meter.begin(store.object_counts()?.bytes);
    let mut walk = store.scrub(None);
    let mut done = Scrubbed::default();
    while !walk.is_done() {
        let read = walk.step(STEP)?;
        meter.add(read.bytes);
        done.add(read);
    }
    Ok(tesseras_node::scrub::reply(&store, done, Vec::new())?)
}

impl Report for Shown {
    fn human(&self) -> String {
        let ScrubReply { checked, bytes, corrupt, repaired, failed, damaged, notes } = &self.found;
        let read = count(*checked, "stored file", "stored files");
        let mut out = format!("Read {read} ({}): ", size(*bytes));
        let mut line = |text: String| out.append_line(format_args!("{text}"));
        match (*corrupt, *repaired) {
            (0, _) => line("none is damaged.".to_owned()),
            (found, mended) => line(format!(
                "{} damaged; {} mended. Check the disk.",
                count(found, "was", "were"),
                count(mended, "was", "were")
            )),
        }
        if *failed > 0 {
            line(format!("{} could not be read.", count(*failed, "file", "files")));
        }
        for DamagedFile { path, of } in damaged.iter().take(SHOWN) {
            line(format!("Damaged: {path}"));
            of.iter().for_each(|part| line(format!("  {}", words(part))));
        }
        if damaged.len() > SHOWN {
            line(format!("and {} more", damaged.len() - SHOWN));
        }
        notes.iter().for_each(|note| line(format!("Note: {note}")));
        if let Some(next) = self.next() {
            line(format!("Next: {next}"));
        }
        out
    }
}

impl Shown {
    /// What can be done about what is still damaged.
    fn next(&self) -> Option<String> {
        let mut parts = self.found.damaged.iter().flat_map(|file| &file.of);
        if self.found.repaired == self.found.corrupt {
            return None;
        }
        if self.alone {
            return Some("start tesd, then tes scrub: it mends from other nodes".to_owned());
        }
        let capsule = parts.find(|part| part.part == DamagedPart::Capsule)?;
        Some(format!("tes verify {}     to see which of its files is damaged", capsule.hash))
    }
}

/// What a damaged file is for.
fn words(DamagedUse { hash, part }: &DamagedUse) -> String {
    match part {
        DamagedPart::Piece(Piece::Whole) => format!("the whole copy of {hash}, held for others"),
        DamagedPart::Piece(Piece::Index(index)) => {
            format!("piece {index} of {hash}, held for others")
        }
        DamagedPart::Manifest => format!("the MANIFEST of {hash}, kept beside its pieces"),
        DamagedPart::Capsule => format!("part of {hash}, in your library"),
    }
}
