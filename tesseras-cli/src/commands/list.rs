//! `tes list`: the library.

use serde::Serialize;
use tesseras_core::ids::{CreatorId, TesseraHash};
use tesseras_core::ports::{
    HoldingRepository as _, Origin, StoreError, TesseraRecord, TesseraRepository as _,
};

use tesseras_core::publication::PublicationState;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
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
    /// `local`, `publishing` or `published` from here, or `fetched`; no holder is asked for it.
    state: &'static str,
}

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_read()?;
    let holdings = store.holdings();
    let listed = |record: TesseraRecord| {
        let state = holdings.publication(&record.hash)?.state();
        Ok::<_, StoreError>(Listed::new(record, state))
    };
    let tesseras = store.library().list()?.into_iter().map(listed).collect::<Result<_, _>>()?;
    context.output.report(&Library { tesseras })?;
    Ok(Exit::Done)
}

impl Listed {
    fn new(record: TesseraRecord, state: PublicationState) -> Self {
        let state = match (state, record.origin) {
            (PublicationState::Publishing, _) => "publishing",
            (PublicationState::Published, _) => "published",
            (PublicationState::Local, Origin::Created) => "local",
            (PublicationState::Local, Origin::Fetched) => "fetched",
        };
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
            state,
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
                listed.state.to_owned(),
                listed.title.clone(),
            ]
        };
        let rows: Vec<_> = self.tesseras.iter().map(row).collect();
        table(["HASH", "CREATED", "MEMORIES", "SIZE", "STATE", "TITLE"], &rows)
    }
}
