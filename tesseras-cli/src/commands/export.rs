//! `tes export`: writes a tessera as the directory that a person keeps.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_capsule::{ExportError, StoredCapsule};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::TesseraRepository as _;

use crate::code::Code;
use crate::command_error::{CommandError, MEND};
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::interrupt::{NOTHING_WRITTEN, end_on_signal_with};
use crate::output::Report;
use crate::progress::file_meter;

/// Write a tessera of your library as plain files
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
    /// Where to make its directory; nothing that is there is written over.
    dest: PathBuf,
}

#[derive(Serialize)]
struct Exported {
    hash: TesseraHash,
    path: PathBuf,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_read()?;
    let hash = resolve(&store, &args.hash.text()?)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let blobs = store.blobs();
    let capsule = StoredCapsule::of_record(&*blobs, &record)?;
    let dest = std::path::absolute(&args.dest)
        .map_err(|error| CommandError::io("find", &args.dest, &error))?;
    end_on_signal_with(context.output, NOTHING_WRITTEN)?;
    let meter = file_meter("Writing");
    let path = tesseras_capsule::export(&capsule, &*blobs, &dest, &meter)?;
    drop(meter);
    context.output.report(&Exported { hash, path })?;
    Ok(Exit::Done)
}

impl Report for Exported {
    fn human(&self) -> String {
        let path = self.path.display();
        format!(
            "Wrote {path}\n\
             It can be read without this software; README.decode in it says how.\n\
             Next: tes verify {path}\n"
        )
    }
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        let message = error.to_string();
        match error {
            ExportError::Store(error) => error.into(),
            ExportError::Write { path, source } => Self::io("write", &path, &source),
            ExportError::Exists { .. } => Self::new(message)
                .with_code(Code::EXISTS)
                .with_hint("export to another place, or move that one away"),
            ExportError::Damaged { .. } => {
                Self::new(message).with_code(Code::DAMAGED).with_hint(MEND)
            }
        }
    }
}
