//! `tes show`: what a tessera keeps.

use serde::Serialize;
use tesseras_capsule::{MemorySummary, MemoryType, OpenError, Place, StoredCapsule};
use tesseras_core::append::Append as _;
use tesseras_core::ids::{CreatorId, TesseraHash};
use tesseras_core::ports::TesseraRepository as _;

use crate::command_error::{CommandError, MEND};
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::human::{count, size, table};
use crate::output::Report;

/// Show what a tessera of your library keeps
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
}

#[derive(Serialize)]
struct Shown {
    hash: TesseraHash,
    code: String,
    title: String,
    creator: CreatorId,
    creator_name: Option<String>,
    created: String,
    tags: Vec<String>,
    location: Option<String>,
    language: Option<String>,
    files: u64,
    bytes: u64,
    memories: Vec<Memory>,
}

#[derive(Serialize)]
struct Memory {
    path: String,
    #[serde(rename = "type")]
    memory_type: MemoryType,
    original: String,
    mime: String,
    bytes: u64,
    taken: Option<String>,
    place: Option<Place>,
    context: bool,
    described: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store_to_read()?;
    let hash = resolve(&store, &args.hash.text()?)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    let header = |key: &str| capsule.manifest().header(key).map(str::to_owned);
    let tags = header("tags").unwrap_or_default();
    let tags = tags.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty());
    context.output.report(&Shown {
        hash,
        code: hash.to_code(),
        title: record.title,
        creator: record.creator,
        creator_name: header("creator-name"),
        created: record.created,
        tags: tags.collect(),
        location: header("location"),
        language: header("language"),
        files: record.files,
        bytes: record.bytes,
        memories: capsule.memories(&*store.blobs())?.into_iter().map(Memory::from).collect(),
    })?;
    Ok(Exit::Done)
}

impl From<MemorySummary> for Memory {
    fn from(memory: MemorySummary) -> Self {
        Self {
            path: memory.path,
            memory_type: memory.memory_type,
            original: memory.original,
            mime: memory.mime,
            bytes: memory.bytes,
            taken: memory.taken,
            place: memory.place,
            context: memory.has_context,
            described: memory.described,
        }
    }
}

impl Report for Shown {
    fn human(&self) -> String {
        let mut out = String::new();
        let mut line = |label: &str, value: &str| {
            if !value.is_empty() {
                out.append_line(format_args!("{label:10}{value}"));
            }
        };
        let creator = match &self.creator_name {
            Some(name) => format!("{name} ({})", self.creator),
            None => self.creator.to_string(),
        };
        line("Title", &self.title);
        line("Code", &self.code);
        line("Hash", &self.hash.to_string());
        line("Creator", &creator);
        line("Created", &self.created);
        line("Tags", &self.tags.join(", "));
        line("Location", self.location.as_deref().unwrap_or_default());
        line("Language", self.language.as_deref().unwrap_or_default());
        let memories = count(self.memories.len() as u64, "memory", "memories");
        let files = count(self.files, "file", "files");
        line("Keeps", &format!("{memories} in {files}, {}", size(self.bytes)));
        out.push('\n');
        let row = |memory: &Memory| {
            [
                memory.taken.as_deref().unwrap_or("-").chars().take(10).collect(),
                size(memory.bytes),
                format!("{}{}", memory.mime, if memory.described { "" } else { " *" }),
                if memory.context { "yes" } else { "" }.to_owned(),
                memory.original.clone(),
            ]
        };
        let undescribed = self.memories.iter().filter(|memory| !memory.described).count() as u64;
        if undescribed > 0 {
            let files = count(undescribed, "file", "files");
            out.append_line(format_args!(
                "Of a kind that its decode/ does not describe (*): {files}\n"
            ));
        }
        let rows: Vec<_> = self.memories.iter().map(row).collect();
        out + &table(["TAKEN", "SIZE", "KIND", "CONTEXT", "FILE"], &rows)
    }
}

impl From<OpenError> for CommandError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            OpenError::Damaged(_) => Self::new(error.to_string()).with_hint(MEND),
            OpenError::NotStored(_)
            | OpenError::Manifest { .. }
            | OpenError::Meta { .. }
            | OpenError::TooLong(_) => Self::new(error.to_string()),
        }
    }
}
