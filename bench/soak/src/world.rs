//! Everything that the parts of a run share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use tesseras_core::code::Piece;
use tesseras_core::ids::TesseraHash;

use crate::book::Book;
use crate::disk;
use crate::failure::Result;
use crate::journal::Journal;
use crate::network::{Network, Place};
use crate::programs::Answer;

/// A run.
pub struct World {
    /// The nodes.
    pub network: Network,
    /// What was done.
    pub journal: Journal,
    book: Mutex<Book>,
    /// Written while the disks are compared with the book, read while something is dropped.
    pub drops: RwLock<()>,
    /// Written while nothing may be at work, read while something is.
    pub work: RwLock<()>,
    /// Set when the run is over.
    pub is_over: AtomicBool,
    scratch: PathBuf,
    next: AtomicU64,
}

impl World {
    /// A run over these nodes, with a directory for temporary folders.
    pub fn new(network: Network, journal: Journal, scratch: PathBuf) -> Self {
        Self {
            network,
            journal,
            book: Mutex::default(),
            drops: RwLock::default(),
            work: RwLock::default(),
            is_over: AtomicBool::new(false),
            scratch,
            next: AtomicU64::new(0),
        }
    }

    /// The book; never held while a command runs.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `tes` on a node, and writes down what came of it.
    pub fn tes(&self, place: &Place, args: &[&str]) -> Result<Answer> {
        let answer = self.network.programs.run(&place.data, args)?;
        let (node, why) = (place.number, answer.why());
        self.journal.log(&format!("node {node}: tes {}: {why}", args.join(" ")));
        let what = if answer.is_done() { "done" } else { "failed" };
        self.journal.count(&format!("{what} {}", args.first().copied().unwrap_or_default()));
        if !answer.is_done() {
            let code = answer.text("code");
            self.journal.count(&format!("failure {} {code}", args[0]));
        }
        Ok(answer)
    }

    /// A path for a folder that does not exist yet; removed with [`discard`].
    pub fn scratch(&self) -> PathBuf {
        self.scratch.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Whether the run is over.
    pub fn ends(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Reads every index: takes down what is acknowledged, names what came back after a drop, and
    /// finds capsules that have too few pieces for the first time.
    pub fn observe(&self) -> Result<()> {
        let _nothing_is_dropped = self.drops.write().unwrap_or_else(PoisonError::into_inner);
        let living: Vec<TesseraHash> = self.book().living().iter().map(|c| c.hash).collect();
        let mut there: BTreeMap<TesseraHash, BTreeSet<Piece>> = BTreeMap::new();
        for place in &self.network.places {
            let (id, touched) = {
                let state = place.state();
                (state.id, state.touched.clone())
            };
            let Some(id) = id else { continue };
            let rows = disk::rows(&place.data, &living)?;
            for back in self.book().note(id, &rows) {
                let number = place.number;
                self.journal
                    .violation(format!("{back} was dropped on node {number}, and is there"));
            }
            for ((tessera, piece), checksum) in &rows.held {
                if !touched.contains(checksum) {
                    there.entry(*tessera).or_default().insert(*piece);
                }
            }
        }
        for fallen in self.book().measure(&there) {
            let pieces = there.get(&fallen).map_or(0, BTreeSet::len);
            self.journal.count("fell below k");
            self.journal.say(&format!("{fallen} fell below k: {pieces} pieces on sound disks"));
        }
        Ok(())
    }
}

/// Removes a folder, if it is there.
pub fn discard(folder: &Path) {
    // A few files too many on the way harm nothing.
    let _ = fs::remove_dir_all(folder);
}
