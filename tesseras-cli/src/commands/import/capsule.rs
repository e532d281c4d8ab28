//! `tes import capsule`: takes an exported tessera into the library.

use std::path::PathBuf;

use serde::Serialize;
use tesseras_capsule::ImportError;
use tesseras_capsule::import::{Before, Imported as Done};
use tesseras_capsule::unpack::UnpackError;
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, short, size};
use crate::identity;
use crate::interrupt::{NOTHING_STORED, end_on_signal_with};
use crate::output::Report;
use crate::progress::file_meter;

/// Take an exported tessera, from a memory stick or an archive, into your library
///
/// It keeps its hash. All of it is verified first; a damaged one is refused, and what is wrong with
/// it is named. If it is here already, damaged files of it are mended.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory tessera-… that `tes export` wrote.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Serialize)]
struct Imported {
    hash: TesseraHash,
    memories: u64,
    files: u64,
    bytes: u64,
    /// Whether the library held it already.
    already: bool,
    /// Whether it held it with damaged files, which are whole now.
    mended: bool,
    /// What lies in the directory and does not belong to the tessera.
    ignored: Vec<String>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let own = identity::find(&context.data_dir)?.map(|identity| identity.keys.public().id());
    end_on_signal_with(context.output, NOTHING_STORED)?;
    let store = context.store_or_new()?;
    // Removes what a killed command left. If that fails now, a later sweep removes it.
    let _ = store.sweep_tmp();
    let meter = file_meter("Importing");
    let done = tesseras_capsule::import(
        &args.directory,
        own,
        &*store.blobs(),
        &*store.library(),
        context.now(),
        &meter,
    )?;
    drop(meter);
    let Done { hash, memories, files, bytes, before, ignored } = done;
    let (already, mended) = (before != Before::Absent, before == Before::Damaged);
    context.output.report(&Imported { hash, memories, files, bytes, already, mended, ignored })?;
    Ok(Exit::Done)
}

impl Report for Imported {
    fn human(&self) -> String {
        let what = match (self.already, self.mended) {
            (true, false) => "It was here already",
            (true, true) => "It was here already, and its damaged files are mended",
            (false, _) => "Imported; every hash and both signatures are valid",
        };
        let memories = count(self.memories, "memory", "memories");
        let files = count(self.files, "file", "files");
        let (hash, short) = (self.hash, short(&self.hash));
        let mut out = format!(
            "{what}: tessera {hash}\nIt keeps {memories} in {files}, {}.\n",
            size(self.bytes)
        );
        for path in &self.ignored {
            out.append_line(format_args!("Left there, as it is not part of the tessera: {path}"));
        }
        out.append(format_args!("Next: tes show {short}\n      tes restore {short} FOLDER\n"));
        out
    }
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        let message = error.to_string();
        match error {
            ImportError::Verify(error) => error.into(),
            ImportError::Store(error) => error.into(),
            ImportError::Damaged { is_signed, .. } => {
                Self::new(message).with_code(Code::DAMAGED).with_hint(match is_signed {
                    true => {
                        "`tes verify DIR` names all that is damaged; `tes restore DIR FOLDER` \
                         gives back what is intact"
                    }
                    // Restoring refuses what nobody vouches for.
                    false => {
                        "`tes verify DIR` names all that is damaged; each file lies readable in \
                         memories/"
                    }
                })
            }
            ImportError::Unpack(UnpackError::Store(error)) => error.into(),
            ImportError::Unpack(UnpackError::NoSpace(_)) => Self::new(message)
                .with_code(Code::NO_SPACE)
                .with_hint("free some disk space, or keep the library elsewhere with --data-dir"),
            // It was verified, so it is no longer what it was then.
            ImportError::Changed(_)
            | ImportError::ChangedFile(_)
            | ImportError::Unpack(
                UnpackError::Short { .. }
                | UnpackError::Form { .. }
                | UnpackError::ManifestTooLong(_)
                | UnpackError::WrongTessera { .. }
                | UnpackError::Manifest(_)
                | UnpackError::TooLong
                | UnpackError::File { .. }
                | UnpackError::Creator(_)
                | UnpackError::Signature(_),
            ) => Self::new(message)
                .with_code(Code::CHANGED)
                .with_hint("repeat the command when nothing else writes to the directory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::ports::NoSpace;

    use super::*;

    #[test]
    fn why_a_verified_capsule_was_not_imported_has_a_code() {
        let code = |error: UnpackError| CommandError::from(ImportError::Unpack(error)).code();
        assert_eq!(code(UnpackError::TooLong), Code::CHANGED);
        assert_eq!(code(NoSpace::Bytes { needed: 2, free: 1 }.into()), Code::NO_SPACE);
        let full = tesseras_core::ports::StoreError::Full { what: String::new() };
        assert_eq!(code(full.into()).word(), "disk_full");
    }
}
