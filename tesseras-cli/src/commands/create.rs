//! `tes create`: from a folder to a signed capsule in the library.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tesseras_capsule::{CreateError, CreateOptions, Skipped};
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::progress::Meter;
use tesseras_crypto::CreatorKeys;

use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::{count, short, size};
use crate::identity;
use crate::interrupt::{NOTHING_STORED, end_on_signal_with};
use crate::output::Report;
use crate::progress::file_meter;

/// Make a tessera of a folder
///
/// Photos, recordings, films, texts and documents are kept as they are, whatever their kind; a .txt
/// beside a media file of the same name becomes its context. Left out are links, empty and hidden
/// files, programs, private keys, data directories of Tesseras, and side files of other programs; all
/// of them are named.
///
/// Exit code 1 with a result means that the tessera was made but a file could not be read, changed
/// or vanished meanwhile, or has a name that cannot be stored; it is named among those left out. If
/// the folder itself vanishes before all of it was read, nothing is made. A folder that is in the library
/// already is not kept twice.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The title [default: the folder's name].
    #[arg(long)]
    title: Option<String>,
    /// Words to find it by.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    tags: Vec<String>,
    /// Where its memories come from.
    #[arg(long, value_name = "PLACE")]
    location: Option<String>,
    /// The language of its texts, such as pt-BR.
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<String>,
    /// Make a new tessera even if the library holds one of the same content.
    #[arg(long)]
    again: bool,
    /// Read everything and say what would be kept, but store nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Made {
    hash: Option<TesseraHash>,
    code: Option<String>,
    memories: u64,
    files: u64,
    bytes: u64,
    skipped: Vec<Left>,
    /// How many memories have a GPS position.
    places: u64,
    /// The paths of their files.
    gps_files: Vec<String>,
    /// The paths of files whose format `decode/` does not describe.
    undescribed: Vec<String>,
    /// How many of the skipped were to be kept, and could not be.
    missing: u64,
    /// Whether it was in the library already, so that nothing was created.
    already: bool,
    dry_run: bool,
}

#[derive(Serialize)]
struct Left {
    path: String,
    reason: String,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let options = CreateOptions {
        title: args.title,
        created: context.now(),
        creator_name: identity::name(&context.data_dir)?,
        language: args.language,
        location: args.location,
        tags: args.tags,
        again: args.again,
    };
    let meter = file_meter("Reading");
    let made = match args.dry_run {
        true => dry_run(context, &args.folder, &options, &meter)?,
        false => create(context, &args.folder, &options, &meter)?,
    };
    drop(meter);
    context.output.report(&made)?;
    Ok(if made.missing > 0 { Exit::Failed } else { Exit::Done })
}

fn dry_run(
    context: &Context,
    folder: &Path,
    options: &CreateOptions,
    meter: &Meter,
) -> Result<Made, CommandError> {
    // Without an identity, temporary keys suffice: nothing is signed.
    let keys = identity::load(&context.data_dir).map(|identity| identity.keys);
    let keys = keys.or_else(|_| CreatorKeys::generate()).map_err(|error| {
        CommandError::new(format!("keys for a dry run cannot be made: {error}"))
    })?;
    let draft = tesseras_capsule::dry_run(folder, options, &keys.public(), meter)?;
    Ok(Made {
        hash: None,
        code: None,
        memories: draft.memories,
        files: draft.files,
        bytes: draft.bytes,
        skipped: left(&draft.skipped),
        missing: missing(&draft.skipped),
        places: draft.places,
        gps_files: draft.gps_files,
        undescribed: draft.undescribed,
        already: false,
        dry_run: true,
    })
}

fn create(
    context: &Context,
    folder: &Path,
    options: &CreateOptions,
    meter: &Meter,
) -> Result<Made, CommandError> {
    let identity = identity::load(&context.data_dir)?;
    end_on_signal_with(context.output, NOTHING_STORED)?;
    let store = context.store()?;
    // Removes what a killed command left. If that fails now, a later sweep removes it.
    let _ = store.sweep_tmp();
    let (blobs, library) = (store.blobs(), store.library());
    let created =
        tesseras_capsule::create(folder, options, &identity.keys, &*blobs, &*library, meter)?;
    Ok(Made {
        hash: Some(created.hash),
        code: Some(created.hash.to_code()),
        memories: created.memories,
        files: created.files,
        bytes: created.bytes,
        skipped: left(&created.skipped),
        missing: missing(&created.skipped),
        places: created.places,
        gps_files: created.gps_files,
        undescribed: created.undescribed,
        already: !created.new,
        dry_run: false,
    })
}

fn missing(skipped: &[Skipped]) -> u64 {
    skipped.iter().filter(|left| left.reason.is_failure()).count() as u64
}

fn left(skipped: &[Skipped]) -> Vec<Left> {
    let left = |s: &Skipped| Left { path: s.path.clone(), reason: s.reason.to_string() };
    skipped.iter().map(left).collect()
}

impl Report for Made {
    fn human(&self) -> String {
        let kept = format!(
            "{} in {}, {}",
            count(self.memories, "memory", "memories"),
            count(self.files, "file", "files"),
            size(self.bytes)
        );
        let mut out = match &self.code {
            Some(code) if self.already => format!(
                "It is here already, as tessera {code}\nIt keeps {kept}. Nothing was made; --again \
                 makes a new one all the same.\n"
            ),
            Some(code) if self.missing > 0 => {
                format!("Made tessera {code} of a part of the folder only\nIt keeps {kept}.\n")
            }
            Some(code) => format!("Made tessera {code}\nIt keeps {kept}.\n"),
            None => format!("It would keep {kept}. Nothing was stored.\n"),
        };
        out.push_str(&named(
            "Says where it was taken (GPS), and publishing would show it",
            &self.gps_files,
        ));
        out.push_str(&named(
            "Kept as it is, though decode/ does not describe its kind",
            &self.undescribed,
        ));
        out.push_str(&skipped_text(&self.skipped));
        if let Some(hash) = &self.hash {
            let short = short(hash);
            match self.already {
                true => out.append_line(format_args!("Next: tes show {short}")),
                false => out.append(format_args!(
                    "Until it is published, it exists only here, on this computer.\n\
                     Next: tes publish {short}    to let others keep it alive\n      \
                     tes card {short}       then, for a recovery card to print\n"
                )),
            }
        }
        out.push_str(&self.missing_text());
        out
    }
}

impl Made {
    /// The last line if the folder is not kept as a whole.
    fn missing_text(&self) -> String {
        if self.missing == 0 {
            return String::new();
        }
        let missing = count(self.missing, "entry", "entries");
        let are = if self.missing == 1 { "is" } else { "are" };
        let (is, made) = match &self.hash {
            Some(hash) if !self.already => {
                (are, format!("; `tes drop {}` removes this tessera", short(hash)))
            }
            Some(_) => (are, String::new()),
            None => ("would be", String::new()),
        };
        format!(
            "NOT COMPLETE: {missing} of the folder {is} missing, as listed above. Mend that, then \
             run create again{made}.\n"
        )
    }
}

/// How many files are named of a list that nobody has to act on.
const NAMED: usize = 20;

/// A list of files under a heading with their number, or nothing.
fn named(heading: &str, files: &[String]) -> String {
    if files.is_empty() {
        return String::new();
    }
    let mut out = format!("{heading}: {}\n", count(files.len() as u64, "file", "files"));
    for file in files.iter().take(NAMED) {
        out.append_line(format_args!("  {file}"));
    }
    if files.len() > NAMED {
        out.append_line(format_args!("  and {} more (--json names all)", files.len() - NAMED));
    }
    out
}

fn skipped_text(skipped: &[Left]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let mut out = format!("Left out: {}\n", count(skipped.len() as u64, "entry", "entries"));
    for left in skipped {
        out.append_line(format_args!("  {}: {}", left.path, left.reason));
    }
    out
}

impl From<CreateError> for CommandError {
    fn from(error: CreateError) -> Self {
        let message = error.to_string();
        match error {
            CreateError::Store(error) => error.into(),
            CreateError::Nothing { skipped } => {
                let list = skipped_text(&left(&skipped));
                Self::new(format!("{message}\n{list}").trim_end())
                    .with_hint("give a folder with photos, recordings, films, texts or documents")
            }
            CreateError::Gone { .. } => Self::new(message)
                .with_code(Code::CHANGED)
                .with_hint("bring it back (connect and mount its disk), then run create again"),
            CreateError::Folder { .. } => {
                Self::new(message).with_hint("give the path of a folder that you may read")
            }
            CreateError::NoSpace(_) => Self::new(message)
                .with_code(Code::NO_SPACE)
                .with_hint("free some disk space, or keep the library elsewhere with --data-dir"),
            CreateError::Walk(_)
            | CreateError::TooMuch { .. }
            | CreateError::Header { .. }
            | CreateError::TagWithComma(_)
            | CreateError::Manifest(_) => Self::new(message),
        }
    }
}
