//! `tes import`: brings memories into the library that another program, or another `tes`, wrote.

mod capsule;

use clap::Subcommand;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;

/// Bring memories from elsewhere into your library
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Capsule(capsule::Args),
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    match args.what {
        What::Capsule(args) => capsule::run(context, args),
    }
}
