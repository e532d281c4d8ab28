//! `tes verify`: whether a tessera is still what its creator signed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tesseras_capsule::verify::{FileReport, Report as Found};
use tesseras_capsule::{FileStatus, SignatureStatus, VerifyError, verify_directory, verify_stored};
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_core::progress::Meter;

use crate::code::Code;
use crate::command_error::{CommandError, EXPORTED};
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{joined, not_in_library, resolve, whole};
use crate::human::count;
use crate::output::Report;
use crate::progress::file_meter;

/// Check every byte and both signatures of a tessera; exit code 1 if it is not valid
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tessera of your library, the first few hex digits are enough; or the directory of an
    /// exported one, which needs no library.
    #[arg(required = true, num_args = 1.., value_name = "HASH|DIR")]
    what: Vec<OsString>,
    /// The tessera that the directory must be: its code or all 64 hex digits, as a recovery card
    /// has them.
    #[arg(long, value_name = "HASH", value_parser = whole)]
    expect: Option<TesseraHash>,
}

#[derive(Serialize)]
struct Verified {
    hash: TesseraHash,
    valid: bool,
    signatures: BTreeMap<&'static str, &'static str>,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    path: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let meter = file_meter("Verifying");
    let what = match &args.what[..] {
        [one] => PathBuf::from(one),
        groups => {
            let groups: Vec<_> = groups.iter().map(|g| g.to_string_lossy().into_owned()).collect();
            PathBuf::from(joined(&groups)?)
        }
    };
    let found = if what.is_dir() {
        verify_directory(&what, args.expect.as_ref(), &meter)?
    } else {
        stored(context, &what, &meter)?
    };
    drop(meter);
    let expected = args.expect.is_none_or(|expected| expected == found.hash);
    if !expected {
        context.output.note(&format!("this is tessera {}, not the expected one", found.hash));
    }
    let exit = if found.valid && expected { Exit::Done } else { Exit::Failed };
    context.output.report(&Verified::from(found))?;
    Ok(exit)
}

fn stored(context: &Context, what: &Path, meter: &Meter) -> Result<Found, CommandError> {
    let missing = || {
        CommandError::new(format!("there is no directory {}", what.display()))
            .with_hint("give the directory of an exported tessera, or a tessera's hash")
    };
    if what.exists() || what.components().count() > 1 {
        return Err(missing());
    }
    let store = context.store_to_read()?;
    let hash = resolve(&store, what.to_str().ok_or_else(missing)?)?;
    if store.library().get(&hash)?.is_none() {
        return Err(not_in_library(&store, &hash));
    }
    Ok(verify_stored(&*store.blobs(), &*store.library(), &hash, meter)?)
}

impl From<Found> for Verified {
    fn from(found: Found) -> Self {
        let file = |file: FileReport| File {
            path: file.path,
            status: file.status.as_str(),
            reason: file.reason,
        };
        Self {
            hash: found.hash,
            valid: found.valid,
            signatures: BTreeMap::from([
                ("ed25519", found.ed25519.as_str()),
                ("ml-dsa-65", found.ml_dsa_65.as_str()),
            ]),
            files: found.files.into_iter().map(file).collect(),
        }
    }
}

impl Report for Verified {
    fn human(&self) -> String {
        let files = count(self.files.len() as u64, "file", "files");
        if self.valid {
            return format!(
                "Tessera {}\nValid: {files}, all hashes and both signatures are as they were.\n",
                self.hash
            );
        }
        let mut out = format!("Tessera {}\nNot valid.\n", self.hash);
        for (name, status) in &self.signatures {
            if *status != SignatureStatus::Valid.as_str() {
                out.append_line(format_args!("  signature {name}: {status}"));
            }
        }
        for file in self.files.iter().filter(|file| file.status != FileStatus::Ok.as_str()) {
            let reason = file.reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            out.append_line(format_args!("  {}: {}{reason}", file.status, file.path));
        }
        out
    }
}

impl From<VerifyError> for CommandError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Store(error) => error.into(),
            VerifyError::NoCapsule { .. } => {
                Self::new(error.to_string()).with_code(Code::NO_CAPSULE).with_hint(EXPORTED)
            }
            VerifyError::Directory { .. } | VerifyError::NotStored(_) => {
                Self::new(error.to_string())
            }
        }
    }
}
