//! What a scrub has found, for people and scripts.

use tesseras_core::ports::StoreError;
use tesseras_rpc::messages::{DamagedFile, DamagedPart, DamagedUse, ScrubReply};
use tesseras_storage::{DamagedObject, Scrubbed, Store};

/// The most damaged files that are listed.
const MOST_LISTED: u64 = 1000;

/// The result of a scrub that has read these objects, with the messages of what was mended since.
pub fn reply(
    store: &Store,
    read: Scrubbed,
    mut notes: Vec<String>,
) -> Result<ScrubReply, StoreError> {
    notes.splice(0..0, read.reasons);
    let left = store.count_damaged_objects()?;
    let damaged = store.damaged_objects(None, MOST_LISTED)?;
    Ok(ScrubReply {
        checked: read.objects,
        bytes: read.bytes,
        corrupt: read.corrupt,
        repaired: read.corrupt.saturating_sub(left),
        failed: read.unread,
        damaged: damaged.into_iter().map(file).collect(),
        notes,
    })
}

fn file(DamagedObject { path, uses, .. }: DamagedObject) -> DamagedFile {
    let pieces = uses
        .pieces
        .iter()
        .map(|held| DamagedUse { hash: held.tessera, part: DamagedPart::Piece(held.piece) });
    let dossier = uses.dossier.map(|hash| DamagedUse { hash, part: DamagedPart::Manifest });
    let capsules =
        uses.capsules.iter().map(|hash| DamagedUse { hash: *hash, part: DamagedPart::Capsule });
    let of = pieces.chain(dossier).chain(capsules).collect();
    DamagedFile { path: path.display().to_string(), of }
}
