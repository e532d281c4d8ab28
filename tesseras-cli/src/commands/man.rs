//! `tes man`: manual pages, one for each command.

use std::fs;
use std::path::PathBuf;

use clap::Command;
use serde::Serialize;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::count;
use crate::output::Report;

/// Write manual pages into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory to write to; created if it does not exist.
    dir: PathBuf,
}

#[derive(Serialize)]
struct Pages {
    dir: PathBuf,
    pages: u64,
}

/// Runs the command; `tes` is the whole command line.
pub fn run(context: &Context, args: Args, tes: Command) -> Result<Exit, CommandError> {
    let failed = |error: &std::io::Error| CommandError::io("write pages to", &args.dir, error);
    fs::create_dir_all(&args.dir).map_err(|error| failed(&error))?;
    clap_mangen::generate_to(tes, &args.dir).map_err(|error| failed(&error))?;
    let entries = fs::read_dir(&args.dir).map_err(|error| failed(&error))?;
    let page = |name: &str| name.starts_with("tes") && name.ends_with(".1");
    let pages = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(page))
        .count() as u64;
    context.output.report(&Pages { dir: args.dir, pages })?;
    Ok(Exit::Done)
}

impl Report for Pages {
    fn human(&self) -> String {
        let pages = count(self.pages, "page", "pages");
        format!("Wrote {pages}.\nNext: man {}/tes.1\n", self.dir.display())
    }
}
