//! The command line: what can be asked for, and who does it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command_error::CommandError;
use crate::commands::{
    card, completions, create, demo, drop, export, fetch, identity, init, list, man, peers,
    publish, repair, show, status, verify,
};
use crate::context::Context;
use crate::output::Output;

/// Keep photos, voices and letters alive, together.
///
/// A folder of memories becomes a tessera: signed, self-describing files that can be read in a
/// century without this software. Nodes of other people keep copies of each other's tesserae.
///
///   tes init --name Ana
///   tes create ~/Photos/Summer --title "Summer 2024"
///   tesd &                      # a node, to reach the others
///   tes publish HASH
#[derive(Debug, Parser)]
#[command(name = "tes", version, verbatim_doc_comment)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Where keys, library and node live [default: the platform's data directory].
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TESSERAS_DATA_DIR",
        hide_env_values = true
    )]
    data_dir: Option<PathBuf>,
    /// Print exactly one JSON object on stdout, and ask no questions.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Identity(identity::Args),
    Create(create::Args),
    List(list::Args),
    Show(show::Args),
    Verify(verify::Args),
    Export(export::Args),
    Card(card::Args),
    Publish(publish::Args),
    Fetch(fetch::Args),
    Status(status::Args),
    Repair(repair::Args),
    Drop(drop::Args),
    Peers(peers::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is as it should be.
    Done,
    /// What was verified is not valid.
    NotValid,
}

/// Reads the command line, does what it says, and tells how it went.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version count as errors here, too; if nobody reads them, so be it.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.global.json);
    let context = Context::new(cli.global.data_dir, output);
    match context.and_then(|context| cli.command.run(&context)) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::NotValid) => ExitCode::FAILURE,
        Err(error) => output.fail(&error),
    }
}

impl Command {
    fn run(self, context: &Context) -> Result<Exit, CommandError> {
        match self {
            Self::Init(args) => init::run(context, args),
            Self::Identity(args) => identity::run(context, args),
            Self::Create(args) => create::run(context, args),
            Self::List(args) => list::run(context, args),
            Self::Show(args) => show::run(context, args),
            Self::Verify(args) => verify::run(context, args),
            Self::Export(args) => export::run(context, args),
            Self::Card(args) => card::run(context, args),
            Self::Publish(args) => publish::run(context, args),
            Self::Fetch(args) => fetch::run(context, args),
            Self::Status(args) => status::run(context, args),
            Self::Repair(args) => repair::run(context, args),
            Self::Drop(args) => drop::run(context, args),
            Self::Peers(args) => peers::run(context, args),
            Self::Demo(args) => demo::run(context, args),
            Self::Completions(args) => completions::run(context, args),
            Self::Man(args) => man::run(context, args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
