//! `tes drop`: removes a tessera from this node, and keeps it out.

use serde::Serialize;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    FragmentStore as _, HoldingRepository as _, Origin, TesseraRecord, TesseraRepository as _,
    Workbench as _,
};
use tesseras_core::publication::PublicationStop;
use tesseras_rpc::calls::{AskTesseraStatus, StopPublication};
use tesseras_storage::Store;

use crate::ask::{ask, is_running};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::human::{count, size};
use crate::output::Report;

/// Remove a tessera from this machine, and keep it out
///
/// Copies on other nodes stay: nobody can delete from others. `tes fetch` lets it in again. A
/// publication under way is cancelled. It asks first, unless it is published and a running node hears
/// just now from so many holders that any of them may vanish.
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
    /// Whether files of it were here although it was not in the index; a collection removes them.
    unlisted: bool,
    /// How many pieces of unfinished tasks were removed, such as a fetch that was interrupted.
    unfinished: u64,
    /// How many other nodes attested pieces of it just now; absent if none could be asked, or what
    /// they hold of it is a draft.
    attested: Option<u64>,
}

/// What is stored here of a tessera.
struct Found {
    hash: TesseraHash,
    record: Option<TesseraRecord>,
    /// Whether files of it are here, and it is not in the index.
    unlisted: bool,
    pieces: usize,
    /// How many pieces of unfinished tasks, and their bytes.
    unfinished: (u64, u64),
    /// Whether this node made it and it is not published: until its publication has ended, the pieces
    /// at other nodes are a draft that nobody finds.
    is_draft: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    // The store is closed while other nodes and a person are asked: others may need it alone.
    let found = Found::look(&context.store_to_free_space()?, &args.hash.text()?, args.block)?;
    let hash = found.hash;
    let running = is_running(context)?;
    let others = match found.is_kept() && running && !found.is_draft {
        true => attested_elsewhere(context, hash, found.pieces > 0),
        false => None,
    };
    if found.is_kept() && !others.is_some_and(|others| others.any_may_vanish) && !args.yes {
        let why = match found.is_draft {
            true => "it is not published, so nobody finds what other nodes hold of it".to_owned(),
            false => too_few(others),
        };
        confirm_only_copy(context, &found, &why)?;
    }
    let store = context.store_to_free_space()?;
    let now = Found::look(&store, &hash.to_string(), args.block)?;
    if now.record.is_some() && found.record.is_none() && !args.yes {
        // Nobody was asked about that.
        return Err(CommandError::new(
            "it was added to your library meanwhile, and nothing was removed",
        )
        .with_hint("repeat the command if it is to go all the same"));
    }
    if running {
        // What is under way would publish it after all.
        ask(context, StopPublication { hash, how: PublicationStop::Drop })?;
    }
    context.output.report(&remove(context, &store, &now, others)?)?;
    Ok(Exit::Done)
}

/// Removes all that is here of a tessera, and keeps it out.
fn remove(
    context: &Context,
    store: &Store,
    found: &Found,
    others: Option<Others>,
) -> Result<Dropped, CommandError> {
    let hash = found.hash;
    // Kept out first: a node that runs meanwhile accepts nothing of it while it goes.
    store.holdings().block(&hash, context.now())?;
    let removed = store.library().remove(&hash)?;
    store.workbench().unpin(&hash)?;
    let (unfinished, staged) = found.unfinished;
    let mut dropped = Dropped {
        hash,
        bytes: removed.as_ref().map_or(0, |record| record.bytes).saturating_add(staged),
        library: removed.is_some(),
        pieces: 0,
        unlisted: found.unlisted,
        unfinished,
        attested: others.map(|others| others.nodes),
    };
    for piece in store.fragments().list_fragments(&hash)? {
        if store.fragments().delete_fragment(&piece)? {
            dropped.bytes += piece.bytes;
            dropped.pieces += 1;
        }
    }
    Ok(dropped)
}

impl Found {
    /// Looks for what a person typed. Fails if nothing of it is here, unless it is to be `blocked` all
    /// the same.
    fn look(store: &Store, typed: &str, blocked: bool) -> Result<Self, CommandError> {
        let hash = resolve(store, typed)?;
        let record = store.library().get(&hash)?;
        let is_own = record.as_ref().is_some_and(|record| record.origin == Origin::Created);
        let found = Self {
            hash,
            unlisted: store.is_unlisted(&hash)?,
            pieces: store.fragments().list_fragments(&hash)?.len(),
            unfinished: unfinished(store, &hash)?,
            is_draft: is_own && !store.holdings().publication(&hash)?.published,
            record,
        };
        if !found.is_kept() && found.unfinished.0 == 0 && !blocked {
            return Err(not_in_library(store, &hash).with_hint("--block keeps it out all the same"));
        }
        Ok(found)
    }

    /// Whether it is in the library, files of it are here, or pieces of it are held.
    fn is_kept(&self) -> bool {
        self.record.is_some() || self.unlisted || self.pieces > 0
    }
}

/// How many pieces of unfinished tasks are here, and their bytes.
fn unfinished(store: &Store, hash: &TesseraHash) -> Result<(u64, u64), CommandError> {
    let workbench = store.workbench();
    let pinned = workbench.pinned(hash)?;
    // One that ends meanwhile is not removed by this command.
    let lengths = pinned.iter().filter_map(|piece| workbench.open(hash, piece).ok());
    let bytes = lengths.fold(0_u64, |sum, piece| sum.saturating_add(piece.bytes()));
    Ok((pinned.len() as u64, bytes))
}

/// What is left of a tessera when this node has let its pieces go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Others {
    /// How many other nodes attested pieces of it just now.
    nodes: u64,
    /// Whether it survives the loss of any of them. If not, they are no reason not to ask.
    any_may_vanish: bool,
}

/// What other nodes attest of a tessera just now; `None` if the node cannot tell. What was placed
/// long ago does not count.
fn attested_elsewhere(context: &Context, hash: TesseraHash, holds_pieces: bool) -> Option<Others> {
    let status = ask(context, AskTesseraStatus { hash }).ok()?;
    Some(kept_without_us(status.holders, status.survives, holds_pieces))
}

fn kept_without_us(holders: u64, survives: u64, holds_pieces: bool) -> Others {
    let ours = u64::from(holds_pieces);
    Others { nodes: holders.saturating_sub(ours), any_may_vanish: survives > ours }
}

/// Why what other nodes hold is no reason not to ask.
fn too_few(others: Option<Others>) -> String {
    match others.map(|others| others.nodes) {
        None => "other nodes could not be asked just now".to_owned(),
        Some(0) => "no other node attests it just now".to_owned(),
        Some(1) => "only 1 other node attests it just now".to_owned(),
        Some(n) => format!(
            "{n} other nodes attest pieces of it just now, too few for any of them to vanish"
        ),
    }
}

/// Asks before the only copy goes; an error if it is to stay.
fn confirm_only_copy(context: &Context, found: &Found, why: &str) -> Result<(), CommandError> {
    let hash = found.hash;
    let what = match &found.record {
        Some(record) => record.title.clone(),
        None if found.unlisted => "Files of a tessera that is not in the index".to_owned(),
        None => format!("{} held for others", count(found.pieces as u64, "piece", "pieces")),
    };
    context.output.note(&format!("{what} ({hash})\nThis may be the only copy: {why}. {ONLY_COPY}"));
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
            (false, 0) if self.unfinished > 0 => {
                format!("{} of an unfinished task", count(self.unfinished, "piece", "pieces"))
            }
            (false, 0) if self.unlisted => "nothing yet: `tes gc` removes its files".to_owned(),
            (false, 0) => "nothing, as nothing of it was here".to_owned(),
            (false, n) => format!("{} held for others", count(n, "piece", "pieces")),
        };
        let after = match (self.attested, self.library) {
            (Some(nodes), _) if nodes > 0 => format!(
                "{} attested pieces of it just now, and nobody can delete it from them. While \
                 enough of them live, `tes fetch` brings it back.",
                count(nodes, "other node", "other nodes")
            ),
            (_, true) => {
                "Unless other nodes hold it, only an export or the folder it was made from can \
                 bring it back."
                    .to_owned()
            }
            (_, false) => "`tes fetch` lets it in again.".to_owned(),
        };
        let bytes = match self.bytes {
            0 => String::new(),
            bytes => format!(": {}", size(bytes)),
        };
        format!("Removed {what}{bytes}.\n{} is kept out from now on.\n{after}\n", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_nodes_own_piece_and_one_other_are_no_reason_not_to_ask() {
        let kept = |nodes, any_may_vanish| Others { nodes, any_may_vanish };
        assert_eq!(kept_without_us(1, 0, false), kept(1, false));
        assert_eq!(kept_without_us(2, 1, false), kept(2, true));
        assert_eq!(kept_without_us(2, 1, true), kept(1, false));
        assert_eq!(kept_without_us(3, 2, true), kept(2, true));
    }
}
