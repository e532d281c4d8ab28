//! Laps, contests of laps, and the table of contests.

use std::io::Write as _;
use std::time::{Duration, Instant};

use tesseras_core::units::MIB;

use crate::failure::Result;

/// How often every side of a contest runs, in turns.
pub const LAPS: usize = 3;

const WARM_BYTES: usize = 3 << 30;

/// One run of one side.
#[derive(Debug, Clone, Copy)]
pub struct Lap {
    /// How long it took.
    pub time: Duration,
    /// The peak memory of the process during the lap, in bytes.
    pub peak: u64,
}

impl Lap {
    /// The share of one of `times` equal parts.
    pub fn part_of(self, times: u32) -> Self {
        Self { time: self.time / times, ..self }
    }
}

/// Runs `work` on a quiet disk, and measures it.
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
pub fn lap<T>(work: impl FnOnce() -> Result<T>) -> Result<(Lap, T)> {
    // Earlier writes must not be written back during the lap.
    rustix::fs::sync();
    // If the kernel does not reset the old peak, ours is merely too high.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let start = Instant::now();
    let done = work()?;
    Ok((Lap { time: start.elapsed(), peak: peak_memory() }, done))
}

/// Like [`lap`], for work that writes much. A virtual machine may have lent free memory to its
/// host, and then the first access to a page costs more than everything measured; so more memory
/// than such a lap needs is touched before, and released.
pub fn lap_on_warm_memory<T>(work: impl FnOnce() -> Result<T>) -> Result<(Lap, T)> {
    warm_memory();
    lap(work)
}

fn warm_memory() {
    let mut pages = vec![0_u8; WARM_BYTES];
    pages.iter_mut().step_by(4096).for_each(|page| *page = 1);
    std::hint::black_box(&pages);
}

/// `VmHWM` of this process in bytes; 0 where the system does not say.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// How much is done in one lap.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// So many bytes of user data; the table says MB/s (10⁶ bytes a second).
    Bytes(u64),
    /// So many operations; the table says how many a second.
    Operations(u64),
}

impl Work {
    /// The rate of laps, in words; none if none was run.
    fn rate(self, laps: &[Lap]) -> Option<String> {
        let seconds = median(laps)?;
        Some(match self {
            Self::Bytes(bytes) => format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds),
            Self::Operations(count) => format!("{:.0}/s", count as f64 / seconds),
        })
    }
}

/// One side of a contest: runs the lap of this number.
pub type Side<'a> = Box<dyn FnMut(usize) -> Result<Lap> + 'a>;

/// Our implementation and its reference.
pub struct Contest<'a> {
    /// What is done.
    pub name: String,
    /// How much of it.
    pub work: Work,
    /// How we do it.
    pub real: Side<'a>,
    /// The reference implementations, each with its name.
    pub bare: Vec<(&'static str, Side<'a>)>,
}

/// Which laps are run: both sides', or one's alone, to look at it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sides {
    /// In turns.
    Both,
    /// Only how we do it.
    Ours,
    /// Only the bare parts.
    Theirs,
}

/// Rows as they are measured, on stdout.
pub struct Table {
    only: String,
    sides: Sides,
    rows: usize,
    notes: Vec<String>,
}

impl Table {
    /// A table of the rows whose name contains `only`.
    pub fn new(only: &str, sides: Sides) -> Result<Self> {
        let table = Self { only: only.to_owned(), sides, rows: 0, notes: Vec::new() };
        print(&format!(
            "| {:33} | {:>12} | {:35} | {:>12} | {:>7} | {:>13} | {:>8} |\n|{}|",
            "what",
            "rate",
            "against",
            "rate",
            "ratio",
            "of each lap",
            "peak MiB",
            [35, 14, 37, 14, 9, 15, 10].map(|n| "-".repeat(n)).join("|")
        ))?;
        Ok(table)
    }

    /// Whether a row of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Whether a row of this name is asked for by this name; for what takes long.
    pub fn wants_only(&self, name: &str) -> bool {
        !self.only.is_empty() && name.contains(&self.only)
    }

    /// Prints a row of another shape.
    pub fn line(&mut self, row: &str) -> Result<()> {
        self.rows += 1;
        print(row)
    }

    /// Something to say below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Runs a contest if it is asked for, and prints a row for each of the bare parts.
    pub fn add(&mut self, contest: Contest<'_>) -> Result<()> {
        let Contest { name, work, mut real, mut bare } = contest;
        if !self.wants(&name) {
            return Ok(());
        }
        let mut ours = Vec::new();
        let mut theirs = vec![Vec::new(); bare.len()];
        for number in 0..LAPS {
            if self.sides != Sides::Theirs {
                ours.push(real(number)?);
            }
            if self.sides != Sides::Ours {
                for ((_, side), laps) in bare.iter_mut().zip(&mut theirs) {
                    laps.push(side(number)?);
                }
            }
        }
        let peak = ours.iter().map(|lap| lap.peak).max().unwrap_or(0) / MIB;
        for ((against, _), laps) in bare.iter().zip(&theirs) {
            let each = ours.iter().zip(laps);
            let each = each.map(|(o, t)| t.time.as_secs_f64() / o.time.as_secs_f64());
            let range =
                each.map(|ratio| (ratio, ratio)).reduce(|(a, b), (r, _)| (a.min(r), b.max(r)));
            let ratio = median(laps).zip(median(&ours)).map(|(theirs, ours)| theirs / ours);
            let nothing = || "-".to_owned();
            print(&format!(
                "| {name:33} | {:>12} | {against:35} | {:>12} | {:>7} | {:>13} | {peak:>8} |",
                work.rate(&ours).unwrap_or_else(nothing),
                work.rate(laps).unwrap_or_else(nothing),
                ratio.map_or_else(nothing, |ratio| format!("{ratio:.2}")),
                range.map_or_else(nothing, |(least, most)| format!("{least:.2}..{most:.2}")),
            ))?;
            self.rows += 1;
        }
        Ok(())
    }

    /// Prints the notes.
    pub fn end(self) -> Result<()> {
        if self.rows == 0 {
            return Err(format!("no row's name contains {:?}", self.only).into());
        }
        print("")?;
        self.notes.iter().try_for_each(|note| print(note))
    }
}

/// The time of the lap in the middle, in seconds; none if none was run.
fn median(laps: &[Lap]) -> Option<f64> {
    let mut times: Vec<f64> = laps.iter().map(|lap| lap.time.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

fn print(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
