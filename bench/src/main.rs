//! Measures what Tesseras does side by side with the bare parts that it is made of, in one run,
//! and prints one table. Asserts no timing: `docs/BENCHMARKS.md` says what the gaps are.
//!
//! [`lap`] measures and prints; [`capsule`], [`code`], [`storage`], [`database`] with [`rows`],
//! [`requests`], [`network`], [`dead`] and [`day`] have what is measured; [`bare`] and [`wire`] have
//! what they are compared with; [`scene`]
//! makes the things to work on.

mod bare;
mod capsule;
mod code;
mod database;
mod day;
mod dead;
mod failure;
mod lap;
mod network;
mod processes;
mod requests;
mod rows;
mod scene;
mod storage;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

use crate::failure::Result;
use crate::lap::{Sides, Table};
use crate::scene::Scene;

/// Measure Tesseras side by side with the bare parts that it is made of
#[derive(Debug, Clone, clap::Parser)]
struct Options {
    /// User data in MiB, in photos of 4 MiB. From 256 on, packs are coded 48 + 24.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(8..=4096))]
    mib: u64,
    /// Nodes that publish and fetch go over, in this process.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u8).range(8..=200))]
    nodes: u8,
    /// Only rows whose name contains this: create, verify, encode, rebuild, attest, cache,
    /// database, requests, publish, fetch; and dead and day, which only run if they are asked for.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Capsules of the daily round.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    capsules: u64,
    /// Which laps to run: one side alone is for strace, perf and the like.
    #[arg(long, value_name = "SIDE", value_enum, default_value_t = Sides::Both)]
    sides: Sides,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program starts itself again as.
#[derive(Debug, Clone, clap::Subcommand)]
enum Role {
    /// One of several processes that write to one database
    #[command(hide = true)]
    Writer(database::Writer),
    /// One of the nodes that are killed
    #[command(hide = true)]
    Alone(processes::Alone),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    match &options.role {
        Some(Role::Writer(writer)) => return writer.run(),
        Some(Role::Alone(alone)) => return alone.run(),
        None => {}
    }
    let scene = Scene::new(options.mib)?;
    let mut table = Table::new(&options.only, options.sides)?;
    capsule::rows(&scene, &mut table)?;
    code::rows(&scene, &mut table)?;
    storage::rows(&scene, &mut table)?;
    database::rows(&scene, &mut table)?;
    requests::rows(&mut table)?;
    network::rows(&scene, options.nodes, &mut table)?;
    dead::rows(&scene, &mut table)?;
    day::rows(&scene, options.capsules, &mut table)?;
    table.end()
}
