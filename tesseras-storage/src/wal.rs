//! Group commit: one sync of the write-ahead log serves everyone who committed before it began.

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex};

use tesseras_core::lock::{lock, wait};

/// A committed transaction, not yet known to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "what was committed is durable only once it is synced"]
pub struct Ticket(u64);

impl Ticket {
    /// Nothing to wait for.
    pub(crate) fn none() -> Self {
        Self(0)
    }
}

#[derive(Debug, Default)]
struct State {
    /// Commits that were begun, and that have ended, well or not.
    begun: u64,
    ended: u64,
    committed: u64,
    /// The newest commit that an answer may rest on.
    awaited: u64,
    synced: u64,
    syncing: bool,
    /// A sync failed. The kernel may have dropped the pages it could not write and call the next
    /// sync a success, so the log cannot be trusted until it was checkpointed and begun anew.
    broken: bool,
}

/// The log of one database, as this process sees it.
#[derive(Debug)]
pub(crate) struct Wal {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

impl Wal {
    /// The log in `file`. SQLite keeps this very file for as long as a connection is open; no lock
    /// of SQLite's lies on it, so opening and closing it disturbs nothing.
    pub(crate) fn new(file: File) -> Self {
        Self { file, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Runs a commit and counts it. If it is `awaited`, an answer may rest on it once it is seen.
    pub(crate) fn commit<E>(
        &self,
        awaited: bool,
        commit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Ticket, E> {
        lock(&self.state).begun += 1;
        let outcome = commit();
        let mut state = lock(&self.state);
        state.ended += 1;
        if outcome.is_ok() {
            state.committed += 1;
            if awaited {
                state.awaited = state.committed;
            }
        }
        self.changed.notify_all();
        outcome.map(|()| Ticket(state.committed))
    }

    /// Notes commits of other processes.
    pub(crate) fn committed_elsewhere(&self) -> Ticket {
        let mut state = lock(&self.state);
        state.committed += 1;
        Ticket(state.committed)
    }

    /// The newest commit that an answer may rest on, of all that can be seen now. A commit is seen
    /// a moment before it is counted, so this waits for those under way.
    pub(crate) fn newest_awaited(&self) -> Ticket {
        let mut state = lock(&self.state);
        let begun = state.begun;
        while state.ended < begun {
            state = wait(&self.changed, state);
        }
        Ticket(state.awaited)
    }

    /// Whether a sync has failed and no checkpoint has made up for it.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.state).broken
    }

    /// Notes that everything committed so far is in the database file, and synced. Nobody may
    /// commit while this is found out.
    pub(crate) fn mended(&self) {
        let mut state = lock(&self.state);
        state.broken = false;
        state.synced = state.committed;
    }

    /// Returns once the transaction is durable. Of all who wait, one syncs.
    pub(crate) fn sync(
        &self,
        ticket: Ticket,
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        loop {
            if state.synced >= ticket.0 {
                return Ok(());
            }
            if state.broken {
                return Err(io::Error::other("an earlier sync of this log failed"));
            }
            if !state.syncing {
                break;
            }
            state = wait(&self.changed, state);
        }
        state.syncing = true;
        let target = state.committed;
        drop(state);

        let outcome = sync(&self.file);

        let mut state = lock(&self.state);
        state.syncing = false;
        match outcome {
            Ok(()) => state.synced = state.synced.max(target),
            Err(_) => state.broken = true,
        }
        self.changed.notify_all();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn committed(wal: &Wal) -> Ticket {
        wal.commit(true, || Ok::<(), ()>(())).unwrap()
    }

    #[test]
    fn an_answer_rests_on_what_is_awaited_and_on_what_is_being_committed() {
        let wal = Wal::new(tempfile::tempfile().unwrap());
        let first = committed(&wal);
        let hint = wal.commit(false, || Ok::<(), ()>(())).unwrap();
        assert!(hint > first);
        assert_eq!(wal.newest_awaited(), first, "nobody waits for a hint");
        wal.commit(true, || Err(())).unwrap_err();
        let (seen, sees) = std::sync::mpsc::sync_channel(1);
        let (asked, asks) = std::sync::mpsc::sync_channel(1);
        let wal = &wal;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let visible = move || {
                    seen.send(()).unwrap();
                    asks.recv().unwrap();
                    Ok::<(), ()>(())
                };
                wal.commit(true, visible).unwrap()
            });
            sees.recv().unwrap();
            let newest = scope.spawn(|| wal.newest_awaited());
            asked.send(()).unwrap();
            assert!(newest.join().unwrap() > hint);
        });
    }

    #[test]
    fn one_sync_serves_all_who_wait() {
        let wal = Wal::new(tempfile::tempfile().unwrap());
        let syncs = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(|| {
                    let ticket = committed(&wal);
                    wal.sync(ticket, |_| {
                        syncs.fetch_add(1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_millis(50));
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        // The first may go alone; all others arrive while it sleeps and share the second.
        let syncs = syncs.load(Ordering::SeqCst);
        assert!(syncs <= 8, "{syncs} syncs for 32 commits");
    }

    #[test]
    fn a_sync_counts_only_what_was_committed_before_it_began() {
        let wal = Wal::new(tempfile::tempfile().unwrap());
        let first = committed(&wal);
        let mut later = None;
        wal.sync(first, |_| {
            later = Some(committed(&wal));
            Ok(())
        })
        .unwrap();
        let mut synced_again = false;
        wal.sync(later.unwrap(), |_| {
            synced_again = true;
            Ok(())
        })
        .unwrap();
        assert!(synced_again);
    }

    #[test]
    fn a_failed_sync_is_remembered_until_it_is_mended() {
        let wal = Wal::new(tempfile::tempfile().unwrap());
        let ticket = committed(&wal);
        wal.sync(ticket, |_| Err(io::ErrorKind::Other.into())).unwrap_err();
        assert!(wal.is_broken());
        wal.sync(ticket, |_| Ok(())).unwrap_err();
        wal.mended();
        assert!(!wal.is_broken());
        wal.sync(ticket, |_| unreachable!("it is synced")).unwrap();
    }
}
