//! `tes restore`: gives back the folder of which a tessera was made.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tesseras_capsule::restore::Restored as Done;
use tesseras_capsule::{ExportedCapsule, ExportedError, RestoreError, StoredCapsule};
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::Meter;

use crate::code::Code;
use crate::command_error::{CommandError, EXPORTED};
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{not_in_library, resolve};
use crate::human::{count, size};
use crate::interrupt::{NOTHING_WRITTEN, end_on_signal_with};
use crate::output::Report;
use crate::progress::file_meter;

/// Give back the folder of which a tessera was made
///
/// Every file comes back with its name, its place in the folder and the date of its last change,
/// checked on the way; nothing else is written. Empty directories, and files that were left out
/// when the tessera was made, cannot come back. Names that this file system refuses or takes for
/// the same are replaced by safe ones and named.
///
/// Damaged files are named and left out; the others come back, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tessera of your library, the first few hex digits are enough; or the directory of an
    /// exported one, which needs no library.
    #[arg(required = true, num_args = 1.., value_name = "HASH|DIR")]
    what: Vec<OsString>,
    /// The folder to make; if it exists, it must be empty.
    dest: PathBuf,
}

#[derive(Serialize)]
struct Restored {
    hash: TesseraHash,
    path: PathBuf,
    files: u64,
    bytes: u64,
    renamed: Vec<Renamed>,
    damaged: Vec<Damaged>,
    undated: Vec<String>,
    /// Signatures of an exported directory that are lost or not valid.
    unsigned: Vec<&'static str>,
}

#[derive(Serialize)]
struct Renamed {
    path: String,
    #[serde(rename = "as")]
    now: String,
    reason: String,
}

#[derive(Serialize)]
struct Damaged {
    path: String,
    original: Option<String>,
    reason: String,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let dest = std::path::absolute(&args.dest)
        .map_err(|error| CommandError::io("find", &args.dest, &error))?;
    end_on_signal_with(context.output, NOTHING_WRITTEN)?;
    let meter = file_meter("Writing");
    // Several arguments are the groups of one code or hash.
    let what = PathBuf::from(args.what.join(OsStr::new(" ")));
    let (hash, done, unsigned) = if what.is_dir() {
        let exported = ExportedCapsule::open(&what)?;
        let check = exported.signatures();
        let signatures = [("ed25519", check.ed25519), ("ml-dsa-65", check.ml_dsa_65)];
        let unsigned = signatures.into_iter().filter(|(_, valid)| !valid).map(|(name, _)| name);
        let capsule = exported.capsule();
        let done = tesseras_capsule::restore(capsule, &**exported.blobs(), &dest, &meter)?;
        (capsule.hash(), done, unsigned.collect())
    } else {
        let (hash, done) = stored(context, &what, &dest, &meter)?;
        (hash, done, Vec::new())
    };
    drop(meter);
    let restored = Restored::new(hash, done, unsigned);
    let whole = restored.damaged.is_empty() && restored.unsigned.is_empty();
    context.output.report(&restored)?;
    Ok(if whole { Exit::Done } else { Exit::Failed })
}

fn stored(
    context: &Context,
    what: &Path,
    dest: &Path,
    meter: &Meter,
) -> Result<(TesseraHash, Done), CommandError> {
    let missing = || {
        CommandError::new(format!("there is no directory {}", what.display()))
            .with_hint("give the directory of an exported tessera, or a tessera's hash")
    };
    if what.exists() || what.components().count() > 1 {
        return Err(missing());
    }
    let store = context.store_to_read()?;
    let hash = resolve(&store, what.to_str().ok_or_else(missing)?)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    Ok((hash, tesseras_capsule::restore(&capsule, &*store.blobs(), dest, meter)?))
}

impl Restored {
    fn new(hash: TesseraHash, done: Done, unsigned: Vec<&'static str>) -> Self {
        let renamed = done.renamed.into_iter();
        let damaged = done.damaged.into_iter();
        Self {
            hash,
            path: done.path,
            files: done.files,
            bytes: done.bytes,
            renamed: renamed
                .map(|r| Renamed { path: r.path, now: r.now, reason: r.reason })
                .collect(),
            damaged: damaged
                .map(|d| Damaged { path: d.path, original: d.original, reason: d.reason })
                .collect(),
            undated: done.undated,
            unsigned,
        }
    }
}

impl Report for Restored {
    fn human(&self) -> String {
        let files = count(self.files, "file", "files");
        let mut out = format!("Wrote {files}, {}, to {}\n", size(self.bytes), self.path.display());
        if !self.renamed.is_empty() {
            out += "These have another name than they had:\n";
        }
        for Renamed { path, now, reason } in &self.renamed {
            out.append_line(format_args!("  {now}: was {path} ({reason})"));
        }
        if !self.undated.is_empty() {
            let files = count(self.undated.len() as u64, "file", "files");
            out.append_line(format_args!(
                "When {files} last changed is not known, or cannot be set here."
            ));
        }
        for name in &self.unsigned {
            out.append_line(format_args!(
                "The creator's {name} signature is missing or not valid."
            ));
        }
        if !self.damaged.is_empty() {
            out += "Damaged:\n";
        }
        for Damaged { path, original, reason } in &self.damaged {
            let was = original.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
            out.append_line(format_args!("  {path}{was}: {reason}"));
        }
        out
    }
}

impl From<RestoreError> for CommandError {
    fn from(error: RestoreError) -> Self {
        let message = error.to_string();
        match error {
            RestoreError::Store(error) => error.into(),
            RestoreError::Write { path, source } => Self::io("write", &path, &source),
            RestoreError::Exists { .. } => Self::new(message)
                .with_code(Code::EXISTS)
                .with_hint("name a folder that does not exist yet"),
            RestoreError::Nothing { .. } => {
                Self::new(message).with_hint("`tes verify` names what is damaged")
            }
        }
    }
}

impl From<ExportedError> for CommandError {
    fn from(error: ExportedError) -> Self {
        let failed = Self::new(error.to_string());
        match &error {
            ExportedError::NoCapsule { .. } => {
                failed.with_code(Code::NO_CAPSULE).with_hint(EXPORTED)
            }
            ExportedError::Read { source, .. } if source.kind() == PermissionDenied => {
                failed.with_code(Code::NOT_ALLOWED).with_hint("check that you may read it")
            }
            ExportedError::Read { .. } => failed.with_hint("check that you may read it"),
            ExportedError::Manifest(_) | ExportedError::Unsigned { .. } => {
                failed.with_code(Code::DAMAGED).with_hint(
                    "`tes verify DIR` names what is damaged; each file lies readable in memories/",
                )
            }
        }
    }
}
