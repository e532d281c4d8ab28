//! `tes card`: a recovery card, to be printed.

use serde::Serialize;
use tesseras_capsule::{CardFacts, StoredCapsule, recovery_card};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{PeerRepository as _, TesseraRepository as _};

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::{not_in_library, resolve};
use crate::output::Report;

/// Print a recovery card: all that is needed to find a tessera again
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; the first few hex digits are enough.
    hash: String,
}

#[derive(Serialize)]
struct Card {
    hash: TesseraHash,
    text: String,
}

/// How many nodes a card names.
const NODES: usize = 5;
/// What a card calls the software.
const SOFTWARE: &str =
    concat!("Tesseras, the programs tes and tesd, version ", env!("CARGO_PKG_VERSION"));

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_read()?;
    let hash = resolve(&store, &args.hash)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let peers = store.peers().known_peers(NODES)?;
    let addresses = peers.iter().filter_map(|peer| peer.addresses.first());
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    let facts = CardFacts::new(&record, capsule.manifest(), &addresses, SOFTWARE);
    context.output.report(&Card { hash, text: recovery_card(&facts) })?;
    Ok(Exit::Done)
}

impl Report for Card {
    fn human(&self) -> String {
        self.text.clone()
    }
}
