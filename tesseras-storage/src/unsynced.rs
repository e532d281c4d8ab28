//! Staged files that are not synced yet. They are kept open, so that each can be synced through the
//! descriptor that wrote it: one that is opened later may not be told that bytes were lost. Some are
//! synced while others are still being written, so that adopting them is faster.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use tesseras_core::lock::{lock, wait};
use tesseras_disk::Disk;

use crate::parallel::in_parallel;

/// So many files are kept open at most. Some systems let a process have only 256.
const OPEN: usize = 64;
/// Enough to write one file while another's flush is pending.
const THREADS: usize = 2;

/// What is known of a file.
#[derive(Debug)]
enum State {
    Open(File),
    /// Open as well; it is being synced.
    Running,
    Done(io::Result<()>),
}

/// A file that is no longer kept here.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Not synced; the descriptor that wrote it.
    Unsynced(File),
    /// The result of its sync.
    Synced(io::Result<()>),
}

/// Files by their staged names. Threads of its own are started with the first early sync.
pub(crate) struct Unsynced {
    shared: Arc<Shared>,
    workers: Mutex<Option<Workers>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    files: Mutex<HashMap<String, State>>,
    changed: Condvar,
}

struct Workers {
    queue: SyncSender<String>,
    threads: Vec<JoinHandle<()>>,
}

impl Unsynced {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let shared = Shared { disk, files: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared), workers: Mutex::new(None) }
    }

    /// Keeps a file open until it is taken or synced. Returned if too many are.
    pub(crate) fn keep(&self, name: &str, file: File) -> Result<(), File> {
        let mut files = lock(&self.shared.files);
        if files.values().filter(|state| !matches!(state, State::Done(_))).count() >= OPEN {
            return Err(file);
        }
        files.insert(name.to_owned(), State::Open(file));
        Ok(())
    }

    /// Keeps a file as [`Self::keep`] does. Where too many are open, these are synced now, and this
    /// one is if that does not help.
    pub(crate) fn keep_or_sync(&self, name: &str, file: File) {
        let Err(file) = self.keep(name, file) else { return };
        let is_open = |state: &State| matches!(state, State::Open(_));
        let open: Vec<String> = lock(&self.shared.files)
            .iter()
            .filter(|(_, state)| is_open(state))
            .map(|(name, _)| name.clone())
            .collect();
        // Each result is kept with its file.
        let _ = in_parallel(&open, |name| {
            self.shared.sync(name);
            Ok(())
        });
        let Err(file) = self.keep(name, file) else { return };
        let outcome = self.shared.disk.sync_file(&file);
        lock(&self.shared.files).insert(name.to_owned(), State::Done(outcome));
    }

    /// Queues a file for syncing, unless too many are queued already, or it is not kept open.
    pub(crate) fn sync_early(&self, name: &str) {
        let mut workers = lock(&self.workers);
        let workers = workers.get_or_insert_with(|| Workers::start(&self.shared));
        // One that finds no place is synced when it is adopted.
        let _ = workers.queue.try_send(name.to_owned());
    }

    /// Keeps a file no longer, after its sync if that has begun. `None` if it was not kept.
    pub(crate) fn take(&self, name: &str) -> Option<Taken> {
        let mut files = lock(&self.shared.files);
        while let Some(State::Running) = files.get(name) {
            files = wait(&self.shared.changed, files);
        }
        match files.remove(name)? {
            State::Open(file) => Some(Taken::Unsynced(file)),
            State::Done(outcome) => Some(Taken::Synced(outcome)),
            State::Running => unreachable!("waited for under the lock"),
        }
    }
}

impl Drop for Unsynced {
    fn drop(&mut self) {
        lock(&self.shared.files).clear();
        if let Some(Workers { queue, threads }) = lock(&self.workers).take() {
            drop(queue);
            for thread in threads {
                // There is no caller left to report a panic to.
                let _ = thread.join();
            }
        }
    }
}

impl Workers {
    /// If the system refuses threads, nothing is synced early.
    fn start(shared: &Arc<Shared>) -> Self {
        let (queue, names) = sync_channel(OPEN);
        let names = Arc::new(Mutex::new(names));
        let spawn = |_| {
            let (shared, names) = (Arc::clone(shared), Arc::clone(&names));
            let thread = std::thread::Builder::new().name("early-sync".to_owned());
            thread.spawn(move || shared.work(&names)).ok()
        };
        Self { queue, threads: (0..THREADS).filter_map(spawn).collect() }
    }
}

impl Shared {
    fn work(&self, queue: &Mutex<Receiver<String>>) {
        loop {
            let next = lock(queue).recv();
            let Ok(name) = next else { return };
            self.sync(&name);
        }
    }

    /// Syncs a file and closes it, unless it was adopted or discarded, or another thread does so.
    fn sync(&self, name: &str) {
        let Some(file) = self.begin(name) else { return };
        let outcome = self.disk.sync_file(&file);
        drop(file);
        if let Some(running) = lock(&self.files).get_mut(name) {
            *running = State::Done(outcome);
        }
        self.changed.notify_all();
    }

    fn begin(&self, name: &str) -> Option<File> {
        let mut files = lock(&self.files);
        let state = files.get_mut(name)?;
        match std::mem::replace(state, State::Running) {
            State::Open(file) => Some(file),
            other => {
                *state = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tesseras_disk::OsDisk;

    use super::*;

    #[test]
    fn few_files_are_kept_open_and_those_that_are_closed_are_synced() {
        let dir = tempfile::tempdir().unwrap();
        let unsynced = Unsynced::new(Arc::new(OsDisk));
        let create = |number: usize| OsDisk.create(&dir.path().join(number.to_string())).unwrap();
        for number in 0..OPEN {
            unsynced.keep(&number.to_string(), create(number)).unwrap();
        }
        unsynced.keep("one more", create(OPEN)).unwrap_err();
        for number in OPEN + 1..3 * OPEN {
            unsynced.keep_or_sync(&number.to_string(), create(number));
        }
        let (mut open, mut synced) = (0, 0);
        for number in (0..OPEN).chain(OPEN + 1..3 * OPEN) {
            match unsynced.take(&number.to_string()).unwrap() {
                Taken::Unsynced(_) => open += 1,
                Taken::Synced(outcome) => {
                    outcome.unwrap();
                    synced += 1;
                }
            }
        }
        assert!(open <= OPEN && open + synced == 3 * OPEN - 1, "{open} {synced}");
        assert!(unsynced.take("0").is_none());
    }
}
