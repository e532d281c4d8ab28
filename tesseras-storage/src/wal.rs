//! Group commit: one sync of the write-ahead log serves everyone who committed before it began.
//! After a sync that failed, nobody is served until the log was verified and written back.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex};

use tesseras_core::lock::{lock, wait};

/// Why a commit that was not synced in time is not acknowledged.
pub(crate) const LOST: &str = "the disk damaged a part of the log that it could not write; what was not yet acknowledged may \
     be lost";

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
    health: Health,
    /// Commits that were not synced when the log turned out to be damaged.
    lost: Option<RangeInclusive<u64>>,
    losses: u64,
}

impl State {
    fn check_not_lost(&self, ticket: Ticket) -> io::Result<()> {
        match &self.lost {
            Some(lost) if lost.contains(&ticket.0) => Err(io::Error::other(LOST)),
            _ => Ok(()),
        }
    }
}

/// What is known of the log.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Health {
    #[default]
    Sound,
    /// A sync failed. The kernel may have dropped the pages that it could not write, and calls the
    /// next sync a success. What is read from the log may not be what was written to it.
    Unverified,
    /// All checksums were verified since, so it can be read; but what was read may be in the memory
    /// of the kernel alone.
    Verified,
}

/// The log of one database, as this process sees it.
#[derive(Debug)]
pub(crate) struct Wal {
    file: Mutex<Arc<File>>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Wal {
    /// The log in `file`. SQLite keeps this very file for as long as a connection is open; no lock
    /// of SQLite's lies on it, so opening and closing it disturbs nothing.
    pub(crate) fn new(file: File) -> Self {
        Self { file: Mutex::new(Arc::new(file)), state: Mutex::default(), changed: Condvar::new() }
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

    /// Whether nothing may be acknowledged: a sync has failed, and the log was not verified and
    /// written back since.
    pub(crate) fn is_broken(&self) -> bool {
        lock(&self.state).health != Health::Sound
    }

    /// Whether the log holds what was written to it, as far as is known.
    pub(crate) fn is_readable(&self) -> bool {
        lock(&self.state).health != Health::Unverified
    }

    /// Notes that a sync of the log failed. Once this returns, none is under way, and none begins.
    pub(crate) fn distrust(&self) {
        let mut state = lock(&self.state);
        state.health = Health::Unverified;
        while state.syncing {
            state = wait(&self.changed, state);
        }
    }

    /// Notes that the log was damaged: of what was not synced, nobody knows whether it is stored.
    pub(crate) fn lose_unsynced(&self) {
        let mut state = lock(&self.state);
        if state.synced < state.committed {
            let first = state.lost.as_ref().map_or(state.synced + 1, |lost| *lost.start());
            state.lost = Some(first..=state.committed);
            state.losses += 1;
            state.synced = state.committed;
        }
        // What can be seen now was verified.
        state.awaited = 0;
    }

    /// How often unsynced commits were lost.
    pub(crate) fn losses(&self) -> u64 {
        lock(&self.state).losses
    }

    /// Notes that all checksums of the log were verified, and that it is now in `file`.
    pub(crate) fn verified(&self, file: File) {
        *lock(&self.file) = Arc::new(file);
        lock(&self.state).health = Health::Verified;
    }

    /// The file of the log.
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&lock(&self.file))
    }

    /// Notes that everything committed so far is in the database file, and synced. Nobody may
    /// commit while this is found out.
    pub(crate) fn mended(&self) {
        let mut state = lock(&self.state);
        state.health = Health::Sound;
        state.synced = state.committed;
    }

    /// Fails for a transaction that was not synced when the log turned out to be damaged.
    pub(crate) fn check_not_lost(&self, ticket: Ticket) -> io::Result<()> {
        lock(&self.state).check_not_lost(ticket)
    }

    /// Returns once the transaction is durable. Of all who wait, one syncs.
    pub(crate) fn sync(
        &self,
        ticket: Ticket,
        sync: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = lock(&self.state);
        loop {
            state.check_not_lost(ticket)?;
            if state.synced >= ticket.0 {
                return Ok(());
            }
            if state.health != Health::Sound {
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

        let outcome = sync(&self.file());

        let mut state = lock(&self.state);
        state.syncing = false;
        match outcome {
            Ok(()) => state.synced = state.synced.max(target),
            Err(_) => state.health = Health::Unverified,
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
        assert!(wal.is_broken() && !wal.is_readable());
        wal.sync(ticket, |_| Ok(())).unwrap_err();
        wal.verified(tempfile::tempfile().unwrap());
        assert!(wal.is_broken() && wal.is_readable());
        wal.sync(ticket, |_| Ok(())).unwrap_err();
        wal.mended();
        assert!(!wal.is_broken());
        wal.sync(ticket, |_| unreachable!("it is synced")).unwrap();
    }

    #[test]
    fn what_was_not_synced_when_the_log_was_damaged_is_never_acknowledged() {
        let wal = Wal::new(tempfile::tempfile().unwrap());
        let synced = committed(&wal);
        wal.sync(synced, |_| Ok(())).unwrap();
        let (one, two) = (committed(&wal), committed(&wal));
        wal.sync(two, |_| Err(io::ErrorKind::Other.into())).unwrap_err();
        wal.lose_unsynced();
        wal.verified(tempfile::tempfile().unwrap());
        wal.mended();
        assert_eq!((wal.losses(), wal.newest_awaited()), (1, Ticket::none()));
        for lost in [one, two] {
            wal.sync(lost, |_| Ok(())).unwrap_err();
        }
        wal.sync(synced, |_| unreachable!("it is synced")).unwrap();
        let later = committed(&wal);
        wal.sync(later, |_| Ok(())).unwrap();
        assert_eq!(wal.newest_awaited(), later);
    }
}
