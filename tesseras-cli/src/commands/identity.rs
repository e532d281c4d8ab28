//! `tes identity`: shows who you are, renames you, and takes the keys to a backup and back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tesseras_core::ids::CreatorId;
use tesseras_crypto::passphrase::{Passphrase, UnsealError, seal, unseal};

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::identity::{self, Identity, backup};
use crate::output::Report;
use crate::passphrase;

/// Show who you are; rename, back up or restore your identity
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Change your name in tesserae that you make from now on
    Rename {
        /// The new name.
        name: String,
    },
    /// Write your keys and name to one file, encrypted with a passphrase
    ///
    /// The file is text of the age format, and can be printed. Any program for that format opens
    /// it. Without the passphrase nobody can.
    Backup {
        /// The file to write; an existing file is never overwritten.
        file: PathBuf,
        /// Take the passphrase from the first line of this file.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Bring your keys and name back from a backup
    ///
    /// Never replaces an identity that is here.
    Restore {
        /// What `tes identity backup` wrote.
        file: PathBuf,
        /// Take the passphrase from the first line of this file.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

/// The largest file that is taken for a backup, in bytes; one has two or three thousand.
const MAX_BACKUP_BYTES: u64 = 1024 * 1024;

#[derive(Serialize)]
struct Shown {
    creator: CreatorId,
    name: String,
    path: PathBuf,
}

#[derive(Serialize)]
struct Renamed {
    creator: CreatorId,
    name: String,
}

#[derive(Serialize)]
struct BackedUp {
    creator: CreatorId,
    name: String,
    path: PathBuf,
}

#[derive(Serialize)]
struct Restored {
    creator: CreatorId,
    name: String,
    restored: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    match args.action {
        None => show(context)?,
        Some(Action::Rename { name }) => {
            let identity = identity::rename(&context.data_dir, name.trim())?;
            let creator = identity.keys.public().id();
            context.output.report(&Renamed { creator, name: identity.name })?;
        }
        Some(Action::Backup { file, passphrase_file }) => {
            back_up(context, &file, passphrase_file.as_deref())?;
        }
        Some(Action::Restore { file, passphrase_file }) => {
            restore(context, &file, passphrase_file.as_deref())?;
        }
    }
    Ok(Exit::Done)
}

fn show(context: &Context) -> Result<(), CommandError> {
    let identity = identity::load(&context.data_dir)?;
    context.output.report(&Shown {
        creator: identity.keys.public().id(),
        name: identity.name,
        path: context.data_dir.join(identity::DIRECTORY),
    })
}

fn back_up(
    context: &Context,
    file: &Path,
    passphrase_file: Option<&Path>,
) -> Result<(), CommandError> {
    let identity = identity::load(&context.data_dir)?;
    let path = std::path::absolute(file).map_err(|error| CommandError::io("find", file, &error))?;
    // Told before anyone thinks of a passphrase; writing checks it again.
    if fs::symlink_metadata(&path).is_ok() {
        return Err(exists(&path));
    }
    let passphrase = passphrase::new(context, passphrase_file)?;
    let sealed = seal(backup::render(&identity).as_bytes(), &passphrase)
        .map_err(|error| CommandError::new(format!("the backup cannot be made: {error}")))?;
    write_new(&path, sealed.as_bytes())?;
    let creator = identity.keys.public().id();
    context.output.report(&BackedUp { creator, name: identity.name, path })
}

fn restore(
    context: &Context,
    file: &Path,
    passphrase_file: Option<&Path>,
) -> Result<(), CommandError> {
    let sealed = read_backup(file)?;
    let passphrase = passphrase::known(context, passphrase_file)?;
    let backup = open_backup(file, &sealed, &passphrase)?;
    let restored = identity::restore(&context.data_dir, &backup)?;
    let here = identity::load(&context.data_dir)?;
    let creator = here.keys.public().id();
    context.output.report(&Restored { creator, name: here.name, restored })
}

fn exists(path: &Path) -> CommandError {
    CommandError::new(format!("{} exists already", path.display()))
        .with_hint("choose another file; nothing is written over")
}

/// Writes a file that must not be there, for this user alone. What cannot be written whole is
/// removed again.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        Err(error) => return Err(CommandError::io("write", path, &error)),
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // The error that is reported says more than a second one could.
        let _ = fs::remove_file(path);
        CommandError::io("write", path, &error)
    })?;
    // Not every file system of a memory stick can sync a directory, and the bytes are safe.
    let _ = path.parent().map(|directory| File::open(directory)?.sync_all());
    Ok(())
}

fn read_backup(path: &Path) -> Result<Vec<u8>, CommandError> {
    let failed = |error| CommandError::io("read", path, &error);
    // Asked before it is opened: opening a pipe would wait for someone who writes to it.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CommandError::new(format!("{} is not a regular file", path.display())));
    }
    let mut sealed = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BACKUP_BYTES + 1).read_to_end(&mut sealed).map_err(failed)?;
    if sealed.len() as u64 > MAX_BACKUP_BYTES {
        return Err(CommandError::new(format!(
            "{} is too large for the backup of an identity",
            path.display()
        ))
        .with_hint(GIVE_BACKUP));
    }
    Ok(sealed)
}

const GIVE_BACKUP: &str = "give the file that `tes identity backup` wrote";

fn open_backup(
    path: &Path,
    sealed: &[u8],
    passphrase: &Passphrase,
) -> Result<Identity, CommandError> {
    let path = path.display();
    let plaintext = unseal(sealed, passphrase).map_err(|error| {
        let failed = CommandError::new(format!("{path} cannot be opened: {error}"));
        match error {
            UnsealError::WrongPassphrase => failed
                .with_code(Code::WRONG_PASSPHRASE)
                .with_hint("every space counts, and so do capitals and small letters"),
            UnsealError::Header(_) | UnsealError::Damaged(_) => {
                failed.with_hint("use another copy of the backup, if there is one")
            }
            UnsealError::NotAge
            | UnsealError::NotWithPassphrase
            | UnsealError::TooMuchWork { .. } => failed.with_hint(GIVE_BACKUP),
        }
    })?;
    let text = std::str::from_utf8(&plaintext).map_err(|_| backup::BackupError::NotBackup);
    text.and_then(backup::parse).map_err(|error| {
        CommandError::new(format!("{path} was opened, but {error}")).with_hint(GIVE_BACKUP)
    })
}

impl Report for Shown {
    fn human(&self) -> String {
        let Self { creator, name, path } = self;
        let name =
            if name.is_empty() { "(none; `tes identity rename NAME` gives one)" } else { name };
        format!("{:10}{name}\n{:10}{creator}\n{:10}{}\n", "Name", "Creator", "Keys", path.display())
    }
}

impl Report for Renamed {
    fn human(&self) -> String {
        format!(
            "You are {} from now on. Tesserae that were made before keep the name that they have.\n",
            self.name
        )
    }
}

impl Report for BackedUp {
    fn human(&self) -> String {
        let path = self.path.display();
        format!(
            "Wrote {path}, with your keys and your name, encrypted.\n\
             Keep it on another medium, or print it. Keep the passphrase as well, in another place:\n\
             nobody can open the file without it, and anyone who has both can sign in your name.\n\
             On a new computer: tes identity restore {path}\n"
        )
    }
}

impl Report for Restored {
    fn human(&self) -> String {
        let Self { creator, name, restored } = self;
        if *restored {
            format!(
                "You are creator {creator} ({name}) on this computer.\nNext: tes create FOLDER\n"
            )
        } else {
            format!("This identity is here already: {creator} ({name}).\nNothing was changed.\n")
        }
    }
}
