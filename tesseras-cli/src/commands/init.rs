//! `tes init`: makes a creator's keys, once.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_core::ids::CreatorId;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::identity;
use crate::output::Report;

/// Make your keys, once; they are never overwritten
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What you are called in the tesserae that you make. Without it, you are asked.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

#[derive(Serialize)]
struct Init {
    creator: CreatorId,
    data_dir: PathBuf,
    name: String,
    created: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let name = match args.name {
        // Whatever the flags are, an identity that is here stays as it is.
        _ if identity::find(&context.data_dir)?.is_some() => String::new(),
        Some(name) => name.trim().to_owned(),
        None => ask_name(context)?,
    };
    let (identity, created) = identity::init(&context.data_dir, &name)?;
    context.store_or_new()?;
    context.output.report(&Init {
        creator: identity.keys.public().id(),
        data_dir: context.data_dir.clone(),
        name: identity.name,
        created,
    })?;
    Ok(Exit::Done)
}

fn ask_name(context: &Context) -> Result<String, CommandError> {
    let nobody = || {
        CommandError::usage("there is nobody to ask for your name")
            .with_hint("give a name with --name NAME")
    };
    if !context.output.can_ask() {
        return Err(nobody());
    }
    context
        .output
        .note("Your name stands in every tessera that you make, so that others know whose it is.");
    loop {
        let name = context.output.ask("Your name: ")?.ok_or_else(nobody)?;
        match identity::check_name(&name) {
            Ok(()) => return Ok(name),
            Err(error) => context.output.note(error.message()),
        }
    }
}

impl Report for Init {
    fn human(&self) -> String {
        let dir = self.data_dir.display();
        let name = if self.name.is_empty() { String::new() } else { format!(" ({})", self.name) };
        if !self.created {
            return format!(
                "There is a creator in {dir} already: {}{name}.\nNothing was changed.\n",
                self.creator
            );
        }
        format!(
            "You are creator {}{name}.\n\
             Your keys are in {dir}/identity. Nobody can make them again: keep a copy elsewhere.\n\
             Next: tes identity backup FILE    for that copy, protected by a passphrase\n      \
             tes create FOLDER           to make a tessera\n",
            self.creator
        )
    }
}
