//! `tes init`: makes a creator's keys, once.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_core::ids::CreatorId;

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::identity;
use crate::output::Report;

/// Make your keys, once; they are never overwritten
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What you are called in the tesserae that you make.
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
    let (identity, created) = identity::init(&context.data_dir, args.name.as_deref())?;
    context.store()?;
    context.output.report(&Init {
        creator: identity.keys.public().id(),
        data_dir: context.data_dir.clone(),
        name: identity.name,
        created,
    })?;
    Ok(Exit::Done)
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
             Your keys are in {dir}/identity; keep a copy of them in a safe place: nobody can\n\
             make them again.\n\
             Next: tes create FOLDER\n",
            self.creator
        )
    }
}
