//! `tes create`: from a folder to a signed capsule in the library.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tesseras_capsule::{CreateError, CreateOptions, Skipped};
use tesseras_core::ids::TesseraHash;
use tesseras_core::ports::HoldingRepository as _;
use tesseras_crypto::CreatorKeys;

use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::human::{count, short, size};
use crate::identity;
use crate::output::Report;
use crate::progress::FileBar;

/// Make a tessera of a folder
///
/// Photos, recordings, videos and texts are kept as they are; a .txt beside a media file of the
/// same name becomes its context. Everything that is left out is named.
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
    places: u64,
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
    };
    let mut bar = FileBar::new("Reading");
    let made = if args.dry_run {
        // Without keys of one's own, any will do: nothing is signed.
        let keys = identity::load(&context.data_dir).map(|identity| identity.keys);
        let keys = keys.or_else(|_| CreatorKeys::generate()).map_err(|error| {
            CommandError::new(format!("keys for a dry run cannot be made: {error}"))
        })?;
        let draft = tesseras_capsule::dry_run(&args.folder, &options, &keys.public(), &mut bar)?;
        let (memories, files, bytes) = (draft.memories, draft.files, draft.bytes);
        let (skipped, places) = (left(draft.skipped), draft.places);
        Made { hash: None, code: None, memories, files, bytes, skipped, places, dry_run: true }
    } else {
        let identity = identity::load(&context.data_dir)?;
        let store = context.store()?;
        // What an interrupted create left. If it cannot be removed now, it will be later.
        let _ = store.sweep_tmp();
        let created = tesseras_capsule::create(
            &args.folder,
            &options,
            &identity.keys,
            &*store.blobs(),
            &*store.library(),
            &mut bar,
        )?;
        store.holdings().unblock(&created.hash)?;
        let (memories, files, bytes) = (created.memories, created.files, created.bytes);
        let (skipped, places) = (left(created.skipped), created.places);
        let (hash, code) = (Some(created.hash), Some(created.hash.to_code()));
        Made { hash, code, memories, files, bytes, skipped, places, dry_run: false }
    };
    drop(bar);
    context.output.report(&made)?;
    Ok(Exit::Done)
}

fn left(skipped: Vec<Skipped>) -> Vec<Left> {
    let left = |s: Skipped| Left { path: s.path, reason: s.reason.to_string() };
    skipped.into_iter().map(left).collect()
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
            Some(code) => format!("Made tessera {code}\nIt keeps {kept}.\n"),
            None => format!("It would keep {kept}. Nothing was stored.\n"),
        };
        out.push_str(&skipped_text(&self.skipped));
        if let Some(hash) = &self.hash {
            let short = short(hash);
            write!(
                out,
                "Until it is published, it exists only here, on this computer.\n\
                 Next: tes publish {short}    to let others keep it alive\n      \
                 tes card {short}       then, for a recovery card to print\n"
            )
            .expect("a String takes all");
        }
        out
    }
}

fn skipped_text(skipped: &[Left]) -> String {
    if skipped.is_empty() {
        return String::new();
    }
    let mut out = format!("Left out: {}\n", count(skipped.len() as u64, "entry", "entries"));
    for left in skipped {
        writeln!(out, "  {}: {}", left.path, left.reason).expect("a String takes all");
    }
    out
}

impl From<CreateError> for CommandError {
    fn from(error: CreateError) -> Self {
        let message = error.to_string();
        match error {
            CreateError::Store(error) => error.into(),
            CreateError::Nothing { skipped } => {
                let list = skipped_text(&left(skipped));
                Self::new(format!("{message}\n{list}").trim_end())
                    .with_hint("photos, recordings, videos and texts are kept")
            }
            CreateError::Folder { .. } => {
                Self::new(message).with_hint("give the path of a folder that you may read")
            }
            CreateError::NoSpace { needed, free } => Self::new(format!(
                "{} are needed, and only {} are free on the disk",
                size(needed),
                size(free)
            ))
            .with_hint("free some disk space, or keep the library elsewhere with --data-dir"),
            _ => Self::new(message),
        }
    }
}
