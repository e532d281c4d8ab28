//! `tes card`: a recovery card, to be printed.

use serde::Serialize;
use tesseras_capsule::{CardFacts, Kept, StoredCapsule, recovery_card};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{
    HoldingRepository as _, Origin, PeerRepository as _, TesseraRecord, TesseraRepository as _,
};
use tesseras_storage::Store;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::output::Report;

/// Print a recovery card: all that is needed to find a tessera again
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
}

#[derive(Serialize)]
struct Card {
    hash: TesseraHash,
    code: String,
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
    let hash = resolve(&store, &args.hash.text()?)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let peers = store.peers().known_peers(NODES)?;
    let addresses = peers.iter().filter_map(|peer| peer.addresses.first());
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    let kept = kept(&store, &record)?;
    let facts = CardFacts::new(&record, capsule.manifest(), &addresses, SOFTWARE, kept);
    let (code, text) = (hash.to_code(), recovery_card(&facts));
    context.output.report(&Card { hash, code, text })?;
    Ok(Exit::Done)
}

/// Who keeps a capsule, as far as this node knows.
fn kept(store: &Store, record: &TesseraRecord) -> Result<Kept, CommandError> {
    let holdings = store.holdings();
    if record.origin == Origin::Fetched || holdings.publication(&record.hash)?.published {
        return Ok(Kept::ByOthers);
    }
    // Those who were sent a piece are remembered, whether they acknowledged it or not.
    match holdings.known_holders(&record.hash)?.is_empty() {
        true => Ok(Kept::OnlyHere),
        false => Ok(Kept::LeftBehind),
    }
}

impl Report for Card {
    fn human(&self) -> String {
        self.text.clone()
    }
}
