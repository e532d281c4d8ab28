//! `tes repair`: one repair cycle of the node, now.

use std::fmt::Write as _;

use serde::Serialize;
use tesseras_rpc::messages::{Repaired, Request, Response};

use crate::ask::{ask, unexpected};
use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::named;
use crate::human::count;
use crate::output::Report;

/// Check what your node keeps, and rebuild what others have lost
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this tessera; the first few hex digits are enough.
    hash: Option<String>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Repaired);

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let hash = match &args.hash {
        None => None,
        Some(text) => Some(named(context, text)?),
    };
    let Response::Repaired(repaired) = ask(context, &Request::Repair { hash })? else {
        return Err(unexpected());
    };
    context.output.report(&Shown(repaired))?;
    Ok(Exit::Done)
}

impl Report for Shown {
    fn human(&self) -> String {
        let Repaired { checked, restored, unreachable, notes } = &self.0;
        let mut out = format!(
            "Checked {}; restored {}.\n",
            count(*checked, "tessera", "tesserae"),
            count(*restored, "piece", "pieces")
        );
        if *unreachable > 0 {
            let nodes = count(*unreachable, "holder", "holders");
            writeln!(out, "{nodes} did not answer.").expect("a String takes all");
        }
        for note in notes {
            writeln!(out, "Note: {note}").expect("a String takes all");
        }
        out
    }
}
