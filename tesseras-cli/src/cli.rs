//! The command line: parses the arguments and runs the command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, Subcommand};
use tesseras_storage::STORAGE_FORMAT;

use crate::command_error::CommandError;
use crate::commands::{
    card, check, completions, create, demo, drop, export, fetch, gc, identity, import, init, list,
    man, peers, publish, repair, restore, scrub, show, status, verify,
};
use crate::context::Context;
use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;

/// The version of the software, and the format that it stores.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (storage format {STORAGE_FORMAT})", env!("CARGO_PKG_VERSION")));

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
#[command(name = "tes", version = VERSION.as_str(), verbatim_doc_comment)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// The directory with keys, library and node [default: $TESSERAS_DATA_DIR, or else the
    /// platform's data directory].
    #[arg(long, global = true, value_name = "DIR")]
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
    Restore(restore::Args),
    Import(import::Args),
    Card(card::Args),
    Publish(publish::Args),
    Fetch(fetch::Args),
    Status(status::Args),
    Repair(repair::Args),
    Scrub(scrub::Args),
    Drop(drop::Args),
    Gc(gc::Args),
    Check(check::Args),
    Peers(peers::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Parses the command line, runs the command, and returns its exit code.
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version count as errors here, too; if nobody reads them, so be it.
            let _ = error.print();
            if !error.use_stderr() {
                return ExitCode::SUCCESS;
            }
            return Output::new(asks_for_json(&arguments)).fail_json(&usage(&error));
        }
    };
    let output = Output::new(cli.global.json);
    let context = Context::new(cli.global.data_dir, output);
    let listening = match cli.command {
        // It handles signals itself: it has to stop its nodes first.
        Command::Demo(_) => Ok(()),
        _ if output.is_json() => interrupt::end_on_signal(output),
        _ => Ok(()),
    };
    match listening.and(context).and_then(|context| cli.command.run(&context)) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::FAILURE,
        Err(error) => output.fail(&error),
    }
}

/// Whether a command line that could not be read asks for JSON.
fn asks_for_json(arguments: &[OsString]) -> bool {
    arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|a| a == "--json")
}

/// What clap says in several paragraphs, as one sentence and a hint.
fn usage(error: &clap::Error) -> CommandError {
    use ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    if matches!(error.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand) {
        return CommandError::usage("a command is missing")
            .with_hint("`tes --help` names them all");
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let what = paragraphs.next().unwrap_or_default();
    let hint = paragraphs.find_map(|next| match next.strip_prefix("tip: ") {
        Some(tip) => Some(tip.to_owned()),
        None => next.strip_prefix("Usage: ").map(|usage| format!("usage: {usage}")),
    });
    let what = CommandError::usage(what.strip_prefix("error: ").unwrap_or(&what));
    what.with_hint(hint.unwrap_or_else(|| "`tes --help` tells more".to_owned()))
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
            Self::Restore(args) => restore::run(context, args),
            Self::Import(args) => import::run(context, args),
            Self::Card(args) => card::run(context, args),
            Self::Publish(args) => publish::run(context, args),
            Self::Fetch(args) => fetch::run(context, args),
            Self::Status(args) => status::run(context, args),
            Self::Repair(args) => repair::run(context, args),
            Self::Scrub(args) => scrub::run(context, args),
            Self::Drop(args) => drop::run(context, args),
            Self::Gc(args) => gc::run(context, args),
            Self::Check(args) => check::run(context, args),
            Self::Peers(args) => peers::run(context, args),
            Self::Demo(args) => demo::run(context, args),
            Self::Completions(args) => completions::run(context, args, Cli::command()),
            Self::Man(args) => man::run(context, args, Cli::command()),
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
