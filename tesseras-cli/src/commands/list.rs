//! `tes list`: the library.

use serde::Serialize;
use tesseras_core::ids::{CreatorId, TesseraHash};
use tesseras_core::ports::{Origin, TesseraRecord, TesseraRepository as _};

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::human::{short, size, table};
use crate::output::Report;

/// List the tesserae in your library, newest first
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Library {
    tesseras: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    hash: TesseraHash,
    title: String,
    created: String,
    creator: CreatorId,
    memories: u64,
    files: u64,
    bytes: u64,
    origin: &'static str,
}

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    let tesseras =
        context.store_to_read()?.library().list()?.into_iter().map(Listed::from).collect();
    context.output.report(&Library { tesseras })?;
    Ok(Exit::Done)
}

impl From<TesseraRecord> for Listed {
    fn from(record: TesseraRecord) -> Self {
        Self {
            hash: record.hash,
            title: record.title,
            created: record.created,
            creator: record.creator,
            memories: record.memories,
            files: record.files,
            bytes: record.bytes,
            origin: match record.origin {
                Origin::Created => "created",
                Origin::Fetched => "fetched",
            },
        }
    }
}

impl Report for Library {
    fn human(&self) -> String {
        if self.tesseras.is_empty() {
            return "The library is empty.\nNext: tes create FOLDER\n".to_owned();
        }
        let row = |listed: &Listed| {
            [
                short(&listed.hash),
                listed.created.chars().take(10).collect(),
                listed.memories.to_string(),
                size(listed.bytes),
                listed.title.clone(),
            ]
        };
        let rows: Vec<_> = self.tesseras.iter().map(row).collect();
        table(["HASH", "CREATED", "MEMORIES", "SIZE", "TITLE"], &rows)
    }
}
