//! Mending what is damaged on this node from what other nodes have.

use std::collections::BTreeSet;
use std::fmt::Display;

use futures_util::StreamExt as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::{HoldingRepository as _, Origin, StoreError, TesseraRepository as _};
use tesseras_core::progress::{self, OnProgress};
use tesseras_replication::fetch::FetchError;
use tesseras_storage::{DamagedObject, Store};

use super::{ScrubError, Scrubber};

/// How many damaged objects are listed at a time.
const PAGE: u64 = 256;
/// How often a tessera is repaired: the first time may give the piece to another node.
const ROUNDS: usize = 2;

/// The tesserae of which something is damaged here.
#[derive(Debug, Default)]
struct Damaged {
    /// A held piece, or the MANIFEST beside one.
    pieces: BTreeSet<TesseraHash>,
    /// A file of a capsule in the library.
    capsules: BTreeSet<TesseraHash>,
    /// A file of a capsule that nobody else can have.
    only_here: BTreeSet<TesseraHash>,
}

impl Scrubber {
    /// Mends what is damaged, as far as other nodes have it: at once if somebody asked, whose progress
    /// is told, and otherwise as any routine repair. Returns why the rest could not be mended,
    /// as messages for people.
    pub(crate) async fn mend(&self, asked: Option<&OnProgress>) -> Result<Vec<String>, ScrubError> {
        let silent = progress::silent();
        let damaged = self.read(damaged).await?;
        let mut notes: Vec<String> = damaged.only_here.iter().map(only_here).collect();
        for tessera in damaged.capsules {
            match self.replication.mend_capsule(tessera, asked.unwrap_or(&silent)).await {
                // What its owner does not want any more is no longer to be mended.
                Ok(_) | Err(FetchError::Dropped(_)) => {}
                Err(error) => notes.push(note(tessera, &error)),
            }
        }
        notes.extend(self.mend_pieces(damaged.pieces, asked).await?);
        Ok(notes)
    }

    async fn mend_pieces(
        &self,
        mut pieces: BTreeSet<TesseraHash>,
        asked: Option<&OnProgress>,
    ) -> Result<Vec<String>, ScrubError> {
        let mut notes = Vec::new();
        let rounds = if asked.is_some() { ROUNDS } else { 1 };
        for _ in 0..rounds {
            if pieces.is_empty() {
                break;
            }
            notes.clear();
            let tesserae = pieces.into_iter().collect();
            let mut each = match asked {
                Some(on_progress) => self.replication.repair_each(tesserae, on_progress.clone()),
                None => self.replication.repair_round(tesserae),
            };
            while let Some((tessera, repaired)) = each.next().await {
                match repaired {
                    Ok(done) => notes.extend(done.refusals.iter().map(|why| note(tessera, why))),
                    Err(error) => notes.push(note(tessera, &error)),
                }
            }
            pieces = self.read(self::damaged).await?.pieces;
        }
        Ok(notes)
    }
}

fn note(tessera: TesseraHash, why: &impl Display) -> String {
    format!("{tessera}: {why}")
}

fn only_here(tessera: &TesseraHash) -> String {
    format!("{tessera} was never published: no other node has it")
}

/// What is to be mended.
fn damaged(store: &Store) -> Result<Damaged, StoreError> {
    let mut all = Damaged::default();
    let mut after = None;
    loop {
        let page = store.damaged_objects(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.hash);
        for DamagedObject { uses, .. } in page {
            all.pieces.extend(uses.pieces.iter().map(|piece| piece.tessera));
            all.pieces.extend(uses.dossier.filter(|_| uses.capsules.is_empty()));
            for capsule in uses.capsules {
                match may_be_elsewhere(store, &capsule)? {
                    true => all.capsules.insert(capsule),
                    false => all.only_here.insert(capsule),
                };
            }
        }
    }
}

/// Whether other nodes may have a capsule of the library: it came from them, or a plan of it was made
/// to give it to them.
fn may_be_elsewhere(store: &Store, capsule: &TesseraHash) -> Result<bool, StoreError> {
    let origin = store.library().get(capsule)?.map(|record| record.origin);
    Ok(origin == Some(Origin::Fetched) || store.holdings().plan(capsule)?.is_some())
}
