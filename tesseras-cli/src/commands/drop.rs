//! `tes drop`: removes a tessera from this node, and keeps it out.

use serde::Serialize;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    FragmentStore as _, HoldingRepository as _, Origin, TesseraRepository as _,
};
use tesseras_storage::Store;

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::human::{count, size};
use crate::output::Report;

/// Remove a tessera from this machine, and keep it out
///
/// Copies on other nodes stay: nobody can delete from others. `tes fetch` lets it in again. Of a
/// tessera that no other node is known to keep, this asks first.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
    /// Keep it out even if nothing of it is stored here yet.
    #[arg(long)]
    block: bool,
    /// Do not ask, even if this is the only copy.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Serialize)]
struct Dropped {
    hash: TesseraHash,
    bytes: u64,
    library: bool,
    pieces: u64,
    /// Whether other nodes keep pieces of it, as far as this one knows.
    published: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let hash = resolve(&store, &args.hash.text())?;
    let pieces = store.fragments().list_fragments(&hash)?;
    let listed = store.library().get(&hash)?.is_some();
    if !listed && pieces.is_empty() && !args.block {
        return Err(not_in_library(&store, &hash).with_hint("--block keeps it out all the same"));
    }
    let published = is_published(&store, &hash)?;
    if listed && !published && !args.yes {
        confirm_only_copy(context, &store, &hash)?;
    }
    // Kept out first: a node that runs meanwhile accepts nothing of it while it goes.
    store.holdings().block(&hash, context.now())?;
    let removed = store.library().remove(&hash)?;
    let mut dropped = Dropped {
        hash,
        bytes: removed.as_ref().map_or(0, |record| record.bytes),
        library: removed.is_some(),
        pieces: 0,
        published,
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

/// Whether other nodes keep pieces of a tessera, as far as this one knows.
fn is_published(store: &Store, hash: &TesseraHash) -> Result<bool, CommandError> {
    let holdings = store.holdings();
    let Some(record) = store.library().get(hash)? else { return Ok(true) };
    Ok(match record.origin {
        Origin::Fetched => !holdings.known_holders(hash)?.is_empty(),
        // What a publication that was stopped has left elsewhere does not suffice.
        Origin::Created => {
            holdings.publication(hash)?.published && !holdings.placements(hash)?.is_empty()
        }
    })
}

/// Asks before the only copy goes; an error if it is to stay.
fn confirm_only_copy(
    context: &Context,
    store: &Store,
    hash: &TesseraHash,
) -> Result<(), CommandError> {
    let title = store.library().get(hash)?.map(|record| record.title).unwrap_or_default();
    context.output.note(&format!(
        "{title} ({hash})\nis not published as far as this node knows: this may be the only \
         copy. {ONLY_COPY}"
    ));
    match context.output.confirm("Delete it?")? {
        true => Ok(()),
        false => Err(CommandError::new("nothing was removed")),
    }
}

const ONLY_COPY: &str = "Once it is removed, nothing can bring it back unless you have an export (`tes export`) or the \
     folder it was made from.";

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
        let after = match (self.published, self.library) {
            (true, _) => {
                "Other nodes keep their pieces, and nobody can delete it from them. While enough \
                 of them live, `tes fetch` brings it back."
            }
            (false, true) => "Only an export or the folder it was made from can bring it back.",
            (false, false) => "`tes fetch` lets it in again.",
        };
        let bytes = match self.bytes {
            0 => String::new(),
            bytes => format!(": {}", size(bytes)),
        };
        format!("Removed {what}{bytes}.\n{} is kept out from now on.\n{after}\n", self.hash)
    }
}
