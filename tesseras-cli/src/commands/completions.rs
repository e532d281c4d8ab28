//! `tes completions`: what a shell needs to complete `tes`.

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde::Serialize;

use crate::cli::{Cli, Exit};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::Report;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tes", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if context.output.is_json() {
        context.output.report(&Script { shell: args.shell.to_string(), script })?;
    } else {
        context.output.raw(script.as_bytes())?;
    }
    Ok(Exit::Done)
}

impl Report for Script {
    fn human(&self) -> String {
        self.script.clone()
    }
}
