//! `tes publish`: signs the plan of a tessera and lets the node place it on others.

use std::fmt::Write as _;

use serde::Serialize;
use tesseras_capsule::StoredCapsule;
use tesseras_core::plan::Plan;
use tesseras_core::ports::TesseraRepository as _;
use tesseras_rpc::messages::{Published, Request, Response};
use tesseras_storage::Store;

use crate::ask::{ask, check_running, unexpected};
use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::{not_in_library, resolve};
use crate::human::{count, short, size};
use crate::identity::{self, Identity};
use crate::output::Report;

/// Let other nodes keep a tessera alive; public and for ever
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which; the first few hex digits are enough.
    hash: String,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    published: Published,
    code: String,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let hash = resolve(&store, &args.hash)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    let identity = identity::load(&context.data_dir)?;
    check_creator(&identity, &capsule)?;
    check_running(context)?;
    if !args.yes && !context.output.is_json() {
        context.output.note(&warning(&store, &capsule)?);
        if !context.output.confirm("Publish it?")? {
            return Err(CommandError::new("nothing was published"));
        }
    }
    let Response::DraftPlan { plan } = ask(context, &Request::DraftPlan { hash })? else {
        return Err(unexpected());
    };
    check_plan(&plan, &capsule)?;
    let signatures = identity.keys.sign(&plan);
    let Response::Published(published) =
        ask(context, &Request::Publish { hash, plan, signatures })?
    else {
        return Err(unexpected());
    };
    context.output.report(&Shown { code: hash.to_code(), published })?;
    Ok(Exit::Done)
}

fn check_creator(identity: &Identity, capsule: &StoredCapsule) -> Result<(), CommandError> {
    let (here, there) = (identity.keys.public().id(), capsule.manifest().creator());
    if here == there {
        return Ok(());
    }
    Err(CommandError::new(format!(
        "only its creator can publish a tessera: it was made by {there}, and you are {here}"
    )))
}

/// What a person should know before it is too late.
fn warning(store: &Store, capsule: &StoredCapsule) -> Result<String, CommandError> {
    let memories = capsule.memories(&*store.blobs())?;
    let places = memories.iter().filter(|memory| memory.place.is_some()).count() as u64;
    let mut text = format!(
        "{} ({}) becomes public, and for ever: whoever knows its hash can read it, and nobody,\n\
         not even you, can take it back.",
        capsule.manifest().header("title").unwrap_or("This tessera"),
        size(capsule.layout().bytes())
    );
    if places > 0 {
        let (photos, where_taken) = if places == 1 {
            ("1 photo says".to_owned(), "it was taken")
        } else {
            (format!("{places} photos say"), "they were taken")
        };
        write!(text, "\n{photos} where {where_taken} (GPS): that becomes public, too.")
            .expect("a String takes all");
    }
    Ok(text)
}

/// The plan comes from the node, and is signed only if it is about this very capsule. Its
/// checksums the node alone has computed: a false one harms this capsule, and no other.
fn check_plan(bytes: &[u8], capsule: &StoredCapsule) -> Result<(), CommandError> {
    let refuse = |why: String| {
        CommandError::new(format!("tesd made a plan that cannot be signed: {why}"))
            .with_hint("`tes verify HASH` says whether the tessera is damaged")
    };
    let plan = Plan::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    if plan.tessera() != capsule.hash() {
        return Err(refuse(format!("it is about tessera {}", plan.tessera())));
    }
    let expected = capsule.layout().bytes();
    if plan.pack_bytes() != expected {
        return Err(refuse(format!("it packs {} bytes, not {expected}", plan.pack_bytes())));
    }
    Ok(())
}

impl Report for Shown {
    fn human(&self) -> String {
        let Published { hash, fragments, placed, holders, survives, notes } = &self.published;
        let mut out = format!(
            "Published: {placed} of {} on {}.\n",
            count(*fragments, "piece", "pieces"),
            count(*holders, "node", "nodes")
        );
        out += &survives_text(*survives);
        if placed < fragments {
            out += "The rest found no place yet; your node goes on looking for one.\n";
        }
        for note in notes {
            writeln!(out, "Note: {note}").expect("a String takes all");
        }
        let short = short(hash);
        write!(
            out,
            "Next: tes card {short}      for a recovery card to print and keep with your papers\n      \
             tes status {short}    to see how it is\n"
        )
        .expect("a String takes all");
        out
    }
}

/// How much loss a tessera stands, as a sentence.
pub fn survives_text(survives: u64) -> String {
    match survives {
        0 => "It may not survive the loss of even one of these nodes.\n".to_owned(),
        1 => "It survives the loss of any one of these nodes.\n".to_owned(),
        n => format!("It survives the loss of any {n} of these nodes.\n"),
    }
}
