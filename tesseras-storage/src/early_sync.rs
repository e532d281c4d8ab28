//! Syncs staged files while others are still being written, so that adopting them is faster.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use tesseras_core::lock::{lock, wait};
use tesseras_disk::Disk;

/// Enough to write one file while another's flush is pending.
const THREADS: usize = 2;
/// Files that wait for a thread; further ones are synced when they are adopted.
const WAITING: usize = 64;

/// The result of an early sync.
#[derive(Debug)]
enum Early {
    Waiting,
    Running,
    Done(io::Result<()>),
}

/// Syncs files on threads of its own, which are started with the first file.
pub(crate) struct EarlySync {
    shared: Arc<Shared>,
    workers: Mutex<Option<Workers>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    files: Mutex<HashMap<String, Early>>,
    changed: Condvar,
}

struct Workers {
    queue: SyncSender<(String, PathBuf)>,
    threads: Vec<JoinHandle<()>>,
}

impl EarlySync {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let shared = Shared { disk, files: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared), workers: Mutex::new(None) }
    }

    /// Queues a file for syncing, unless too many are queued already.
    pub(crate) fn begin(&self, name: &str, path: PathBuf) {
        let mut workers = lock(&self.workers);
        let workers = workers.get_or_insert_with(|| Workers::start(&self.shared));
        lock(&self.shared.files).insert(name.to_owned(), Early::Waiting);
        let sent = workers.queue.try_send((name.to_owned(), path));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = sent {
            lock(&self.shared.files).remove(name);
        }
    }

    /// The result for a file, once it is known; `None` if its turn has not come: then it is no
    /// longer synced here.
    pub(crate) fn finish(&self, name: &str) -> Option<io::Result<()>> {
        let mut files = lock(&self.shared.files);
        while let Some(Early::Running) = files.get(name) {
            files = wait(&self.shared.changed, files);
        }
        match files.remove(name) {
            Some(Early::Done(outcome)) => Some(outcome),
            _ => None,
        }
    }
}

impl Drop for EarlySync {
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
        let (queue, files) = sync_channel(WAITING);
        let files = Arc::new(Mutex::new(files));
        let spawn = |_| {
            let (shared, files) = (Arc::clone(shared), Arc::clone(&files));
            let thread = std::thread::Builder::new().name("early-sync".to_owned());
            thread.spawn(move || shared.work(&files)).ok()
        };
        Self { queue, threads: (0..THREADS).filter_map(spawn).collect() }
    }
}

impl Shared {
    fn work(&self, queue: &Mutex<Receiver<(String, PathBuf)>>) {
        loop {
            let next = lock(queue).recv();
            let Ok((name, path)) = next else { return };
            match lock(&self.files).get_mut(&name) {
                Some(waiting @ Early::Waiting) => *waiting = Early::Running,
                // Adopted or discarded in the meantime.
                _ => continue,
            }
            let outcome = self.disk.sync_file(&path);
            if let Some(running) = lock(&self.files).get_mut(&name) {
                *running = Early::Done(outcome);
            }
            self.changed.notify_all();
        }
    }
}
