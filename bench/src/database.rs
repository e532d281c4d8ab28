//! Rows: single-row transactions, of one process and of eight, through `open_database` and through
//! SQLite's own settings.
//!
//! SQLite's own settings sync the disk at every commit. Ours leave that to the part that
//! acknowledges something, so they are measured both ways: committed, as for what can be rebuilt,
//! and synced, as before an acknowledgement. The busy timeout is the same for all.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tesseras_storage::database::DEFAULT_BUSY_TIMEOUT;

use crate::failure::Result;
use crate::lap::{Contest, Lap, Table, Work, lap};
use crate::rows::{Rows, Settings};
use crate::scene::Scene;

/// Transactions of a lap, of all processes together.
const TRANSACTIONS: u64 = 1600;
const PROCESSES: u64 = 8;

/// Measures all of them.
pub fn rows(scene: &Scene, table: &mut Table) -> Result<()> {
    for (single, eight, ours) in [
        ("database: single-row transactions", "database: eight writers", Settings::Committed),
        ("database: single-row, synced", "database: eight writers, synced", Settings::Synced),
    ] {
        let one = |settings| move |_: usize| one_writer(scene, settings);
        table.add(Contest {
            name: single.to_owned(),
            work: Work::Operations(TRANSACTIONS),
            real: Box::new(one(ours)),
            bare: vec![("SQLite's own settings", Box::new(one(Settings::Defaults)))],
        })?;
        let refused = RefCell::new((0, 0));
        table.add(Contest {
            name: eight.to_owned(),
            work: Work::Operations(TRANSACTIONS),
            real: Box::new(|_| {
                let (lap, busy) = eight_writers(scene, ours)?;
                refused.borrow_mut().0 += busy;
                Ok(lap)
            }),
            bare: vec![(
                "SQLite's own settings",
                Box::new(|_| {
                    let (lap, busy) = eight_writers(scene, Settings::Defaults)?;
                    refused.borrow_mut().1 += busy;
                    Ok(lap)
                }),
            )],
        })?;
        if table.wants(eight) {
            let (ours, theirs) = refused.into_inner();
            table.note(format!("{eight}: SQLITE_BUSY {ours} times for ours, {theirs} for theirs"));
        }
    }
    Ok(())
}

fn one_writer(scene: &Scene, settings: Settings) -> Result<Lap> {
    let path = scene.empty("database")?.join("rows.db");
    let rows = Rows::open(&path, settings, DEFAULT_BUSY_TIMEOUT)?;
    let (lap, ()) = lap(|| {
        (0..TRANSACTIONS).try_for_each(|number| match rows.insert(number)? {
            true => Ok(()),
            false => Err("the only writer was refused".into()),
        })
    })?;
    all_are_there(&rows)?;
    Ok(lap)
}

/// As many processes, each with its share of the rows; also how often any of them was refused.
fn eight_writers(scene: &Scene, settings: Settings) -> Result<(Lap, u64)> {
    let path = scene.empty("database")?.join("rows.db");
    let rows = Rows::open(&path, settings, DEFAULT_BUSY_TIMEOUT)?;
    let mut writers = (0..PROCESSES)
        .map(|number| Writer { settings, path: path.clone(), number }.start())
        .collect::<Result<Vec<_>>>()?;
    let (lap, busy) = lap(|| {
        writers.iter_mut().for_each(Started::go);
        writers.iter_mut().map(Started::end).sum()
    })?;
    all_are_there(&rows)?;
    Ok((lap, busy))
}

fn all_are_there(rows: &Rows) -> Result<()> {
    let there = rows.numbers()?.into_iter().eq(0..TRANSACTIONS);
    if there { Ok(()) } else { Err("rows are missing, or there are others".into()) }
}

/// One of several processes: this program, started again.
#[derive(Debug, Clone, clap::Args)]
pub struct Writer {
    settings: Settings,
    path: PathBuf,
    /// Which of them.
    number: u64,
}

/// A process that has opened the database.
struct Started {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Writer {
    /// Starts the process, and waits until it is ready to write.
    fn start(&self) -> Result<Started> {
        let settings = match self.settings {
            Settings::Committed => "committed",
            Settings::Synced => "synced",
            Settings::Defaults => "defaults",
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["writer", settings])
            .arg(&self.path)
            .arg(self.number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stdout.take().ok_or("the child has no output")?);
        said.read_line(&mut String::new())?;
        Ok(Started { child, said })
    }

    /// What the process does: opens the database, says so, waits to be told, writes every eighth
    /// row, and says how often it was refused. It tries again until it is not.
    pub fn run(&self) -> Result<()> {
        let rows = Rows::open(&self.path, self.settings, DEFAULT_BUSY_TIMEOUT)?;
        let mut out = std::io::stdout();
        writeln!(out, "ready")?;
        std::io::stdin().read_to_end(&mut Vec::new())?;
        let mut refused = 0_u64;
        for number in (self.number..TRANSACTIONS).step_by(PROCESSES as usize) {
            while !rows.insert(number)? {
                refused += 1;
            }
        }
        Ok(writeln!(out, "{refused}")?)
    }
}

impl Started {
    /// Tells the process to write.
    fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end; how often it was refused.
    fn end(&mut self) -> Result<u64> {
        let mut refused = String::new();
        self.said.read_to_string(&mut refused)?;
        if !self.child.wait()?.success() {
            return Err("a writer failed".into());
        }
        Ok(refused.trim().parse()?)
    }
}
