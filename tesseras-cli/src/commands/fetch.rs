//! `tes fetch`: brings a tessera from the network into the library.

use serde::Serialize;
use tesseras_rpc::calls::Fetch;
use tesseras_rpc::messages::FetchReply;

use crate::ask::ask;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, named};
use crate::human::{count, short, size};
use crate::interrupt::end_on_signal_with;
use crate::output::Report;

/// Bring a tessera from other nodes into your library
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    fetched: FetchReply,
    code: String,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let hash = named(context, &args.hash.text()?)?;
    let left = format!(
        "the pieces that arrived are kept: the same command goes on with them, and `tes drop {hash}` \
         removes them"
    );
    end_on_signal_with(context.output, left)?;
    let fetched = ask(context, Fetch { hash })?;
    context.output.report(&Shown { code: hash.to_code(), fetched })?;
    Ok(Exit::Done)
}

impl Report for Shown {
    fn human(&self) -> String {
        let FetchReply { hash, title, memories, files, bytes, holders, already } = &self.fetched;
        const VALID: &str = "Every hash and both signatures are valid.\n";
        let (from, checked) = match holders {
            _ if *already => ("It was in the library already".to_owned(), ""),
            0 => ("Fetched; its pieces had arrived before".to_owned(), VALID),
            n => (format!("Fetched from {}", count(*n, "node", "nodes")), VALID),
        };
        let short = short(hash);
        format!(
            "{from}: {title}, {} in {}, {}.\n\
             {checked}Next: tes restore {short} FOLDER   for the folder as it was\n      \
             tes publish {short}          to help keep it alive\n",
            count(*memories, "memory", "memories"),
            count(*files, "file", "files"),
            size(*bytes)
        )
    }
}
