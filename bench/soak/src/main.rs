//! Drives real nodes for hours while they are killed, erased, filled and damaged, and checks that
//! nothing is lost that was acknowledged. `CONTRIBUTING.md` says how to run it.
//!
//! [`soak`] is the long run: [`actions`] are what owners do, [`faults`] what happens to nodes,
//! [`checkpoint`] what must hold. [`kills`] is the run of a thousand kills. [`book`] knows what must be where, and [`disk`] reads what is there.

mod actions;
mod book;
mod chance;
mod checkpoint;
mod clock;
mod daemon;
mod disk;
mod failure;
mod faults;
mod goods;
mod journal;
mod kills;
mod mount;
mod network;
mod programs;
mod soak;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::failure::Result;
use crate::journal::Journal;
use crate::network::Network;
use crate::programs::Programs;
use crate::world::World;

/// Run real nodes while they are killed, erased, filled and damaged, and check that nothing is lost
#[derive(Debug, Clone, clap::Parser)]
struct Options {
    /// What decides all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long, in hours.
    #[arg(long, default_value_t = 2.0)]
    hours: f64,
    /// Instead of running for hours: kill so many times while capsules are created, received,
    /// published and dropped.
    #[arg(long, value_name = "TIMES", conflicts_with = "hours")]
    kills: Option<u64>,
    /// How many nodes.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(8..=64))]
    nodes: u8,
    /// Where `tes` and `tesd` are [default: beside this program].
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// An empty or missing directory for everything; it is kept [default: a temporary one, which is
    /// removed if all is well].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(options: &Options) -> Result<bool> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("."));
    let programs = Programs::in_directory(options.programs.as_deref().unwrap_or(beside))?;
    let temporary = tempfile::Builder::new().prefix("tesseras-soak-").tempdir()?;
    // Kept until it is known that nothing in it need be looked at.
    let (root, is_temporary) = match &options.dir {
        Some(dir) => (dir.clone(), false),
        None => (temporary.keep(), true),
    };
    let scratch = root.join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let journal = Journal::new(&root.join("journal"))?;
    let (seed, hours, nodes) = (options.seed, options.hours, options.nodes);
    let length = options.kills.map_or(format!("{hours} hours"), |times| format!("{times} kills"));
    journal.say(&format!("seed {seed}, {length}, {nodes} nodes, in {}", root.display()));
    let world = World::new(Network::new(&root, programs, nodes)?, journal, scratch);
    let outcome = match options.kills {
        Some(times) => kills::kills(&world, seed, times),
        None => soak::soak(&world, seed, Duration::from_secs_f64(hours * 3600.0)),
    };
    if let Err(error) = outcome {
        world.journal.violation(format!("the run could not go on: {error}"));
        match options.kills {
            Some(_) => kills::summary(&world),
            None => soak::summary(&world),
        }
    }
    let is_well = world.journal.violations() == 0;
    drop(world);
    if is_well && is_temporary {
        std::fs::remove_dir_all(root)?;
    }
    Ok(is_well)
}
