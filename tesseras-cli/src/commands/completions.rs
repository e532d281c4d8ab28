//! `tes completions`: what a shell needs to complete `tes`.

use clap::Command;
use clap_complete::Shell;
use serde::Serialize;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Report;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to generate the script for.
    shell: Shell,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

/// Runs the command; `tes` is the whole command line.
pub fn run(context: &Context, args: Args, mut tes: Command) -> Result<Exit, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut tes, "tes", &mut script);
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
