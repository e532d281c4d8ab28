//! What was done, when, and what was found wrong: on stdout in short, in a file in full.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Since;
use crate::failure::Result;

/// The record of a run.
pub struct Journal {
    begun: Since,
    inner: Mutex<Inner>,
}

struct Inner {
    log: File,
    counts: BTreeMap<String, u64>,
    violations: Vec<String>,
}

impl Journal {
    /// A new one; every line goes to the file at this path.
    pub fn new(path: &Path) -> Result<Self> {
        let log = File::create(path)?;
        let inner = Inner { log, counts: BTreeMap::new(), violations: Vec::new() };
        Ok(Self { begun: Since::now(), inner: Mutex::new(inner) })
    }

    /// How long the run has taken.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Writes a line to the file.
    pub fn log(&self, line: &str) {
        self.with(|inner| write_line(&mut inner.log, self.begun, line));
    }

    /// Writes a line to the file and to stdout.
    pub fn say(&self, line: &str) {
        self.with(|inner| {
            write_line(&mut inner.log, self.begun, line);
            // A closed stdout ends no run; the file has everything.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{:>6.0} s  {line}", self.begun.elapsed().as_secs_f64());
            let _ = out.flush();
        });
    }

    /// Counts something by its name.
    pub fn count(&self, what: &str) {
        self.add(what, 1);
    }

    /// Counts so many of something.
    pub fn add(&self, what: &str, number: u64) {
        self.with(|inner| *inner.counts.entry(what.to_owned()).or_default() += number);
    }

    /// How many of something were counted.
    pub fn counted(&self, what: &str) -> u64 {
        self.with(|inner| inner.counts.get(what).copied().unwrap_or(0))
    }

    /// All counts whose names begin with this, without it.
    pub fn counts_of(&self, group: &str) -> Vec<(String, u64)> {
        self.with(|inner| {
            let named = inner.counts.iter();
            let named =
                named.filter_map(|(name, n)| Some((name.strip_prefix(group)?.to_owned(), *n)));
            named.collect()
        })
    }

    /// Records that something is not as it must be.
    pub fn violation(&self, what: String) {
        self.say(&format!("VIOLATION: {what}"));
        self.with(|inner| inner.violations.push(what));
    }

    /// How many violations there are.
    pub fn violations(&self) -> usize {
        self.with(|inner| inner.violations.len())
    }

    fn with<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        what(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn write_line(log: &mut File, begun: Since, line: &str) {
    // A full disk under the log must not end the run.
    let _ = writeln!(log, "{:.3} {line}", begun.elapsed().as_secs_f64());
}
