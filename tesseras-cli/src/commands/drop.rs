//! `tes drop`: removes a tessera from this node, and keeps it out.

use serde::Serialize;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{FragmentStore as _, HoldingRepository as _, TesseraRepository as _};

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::{not_in_library, resolve};
use crate::human::{count, size};
use crate::output::Report;

/// Remove a tessera from this machine, and keep it out
///
/// Copies on other nodes stay: nobody can delete from others. `tes fetch` lets it in again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; the first few hex digits are enough.
    hash: String,
    /// Keep it out even if nothing of it is stored here yet.
    #[arg(long)]
    block: bool,
}

#[derive(Serialize)]
struct Dropped {
    hash: TesseraHash,
    bytes: u64,
    library: bool,
    pieces: u64,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let hash = resolve(&store, &args.hash)?;
    let pieces = store.fragments().list_fragments(&hash)?;
    let listed = store.library().get(&hash)?.is_some();
    if !listed && pieces.is_empty() && !args.block {
        return Err(not_in_library(&store, &hash).with_hint("--block keeps it out all the same"));
    }
    // Kept out first: a node that runs meanwhile accepts nothing of it while it goes.
    store.holdings().block(&hash, context.now())?;
    let removed = store.library().remove(&hash)?;
    let mut dropped = Dropped {
        hash,
        bytes: removed.as_ref().map_or(0, |record| record.bytes),
        library: removed.is_some(),
        pieces: 0,
    };
    for piece in store.fragments().list_fragments(&hash)? {
        if store.fragments().delete_fragment(&piece)? {
            dropped.bytes += piece.bytes;
            dropped.pieces += 1;
        }
    }
    context.output.report(&dropped)?;
    Ok(Exit::Done)
}

impl Report for Dropped {
    fn human(&self) -> String {
        let what = match (self.library, self.pieces) {
            (true, 0) => "the tessera".to_owned(),
            (true, n) => {
                format!("the tessera and {} held for others", count(n, "piece", "pieces"))
            }
            (false, 0) => "nothing, as nothing of it was here".to_owned(),
            (false, n) => format!("{} held for others", count(n, "piece", "pieces")),
        };
        let bytes = match self.bytes {
            0 => String::new(),
            bytes => format!(": {}", size(bytes)),
        };
        format!(
            "Removed {what}{bytes}.\n{} is kept out from now on; `tes fetch` lets it in again.\n",
            self.hash
        )
    }
}
