//! `tes publish`: signs the plan of a tessera and lets the node place it on others.

use serde::Serialize;
use tesseras_capsule::StoredCapsule;
use tesseras_core::append::Append as _;
use tesseras_core::ids::TesseraHash;
use tesseras_core::plan::{Plan, SignedPlan};
use tesseras_core::ports::{
    HoldingRepository as _, Origin, TesseraRepository as _, Workbench as _,
};
use tesseras_core::publication::{PublicationEvent, PublicationState, PublicationStop};
use tesseras_rpc::calls::{DraftPlan, Publish, PublishInBackground, StopPublication};
use tesseras_rpc::messages::{PublicationReply, PublishReply};
use tesseras_storage::Store;

use crate::ask::{ask, is_running, peers_known};
use crate::code::Code;
use crate::command_error::CommandError;
use crate::consent::warning;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{HashArg, not_in_library, resolve};
use crate::human::{count, short, survives_text};
use crate::identity::{self, Identity};
use crate::interrupt::{Ended, Why, ask_unless_interrupted, end_on_signal_with};
use crate::output::Report;

/// Let other nodes keep a tessera alive; public and for ever
///
/// Before it asks for consent, it shows what becomes public, how much is uploaded, and which photos
/// contain GPS positions. Ctrl-C stops the publication; on a terminal you can then continue it, here
/// or in the background. A stopped publication is neither completed nor announced later. A tessera
/// that you have fetched is published with the plan that its creator signed.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    hash: HashArg,
    /// Do not ask for confirmation. Required without a terminal, and with --json.
    #[arg(long, short)]
    yes: bool,
    /// Publish in the background: the node continues until it is done or cancelled, also after a
    /// restart.
    #[arg(long)]
    background: bool,
    /// Stop publishing it, and stop maintaining it. Pieces on other nodes stay there; what was
    /// published remains readable, and this asks for confirmation first.
    #[arg(long, conflicts_with = "background")]
    cancel: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    published: PublishReply,
    code: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct PublicationProgress(PublicationReply);

/// Shown before the publication of a published tessera is cancelled.
const GIVEN_UP: &str = "It is published, and stays readable for anyone who knows its hash: nobody \
                        can call it back.\nIts holders go on repairing it; your node would no \
                        longer help them.";

/// Shown before a published tessera is published again.
const AGAIN: &str = "It is published already, and stays so. Publishing it again asks its holders \
                     what they have,\nand places what is missing; what they have is not uploaded \
                     again.";

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    let store = context.store()?;
    let hash = resolve(&store, &args.hash.text()?)?;
    let record = store.library().get(&hash)?.ok_or_else(|| not_in_library(&store, &hash))?;
    let state = store.holdings().publication(&hash)?.state();
    if args.cancel {
        if state == PublicationState::Published && !args.yes {
            context.output.note(GIVEN_UP);
            // Others may need it alone while somebody thinks.
            drop(store);
            if !context.output.confirm("Let your node look after it no more?")? {
                return Err(CommandError::new("nothing was changed"));
            }
        }
        let left = cancel(context, hash)?;
        let is_begun = state != PublicationState::Local || left.placed > 0;
        if record.origin == Origin::Fetched && !is_begun {
            return Err(nothing_to_cancel(&hash));
        }
        return report_state(context, left);
    }
    if state == PublicationState::Publishing {
        let placed = store.holdings().placements(&hash)?.len() as u64;
        return match args.background {
            true => report_state(context, PublicationReply { hash, state, placed }),
            false => Err(in_progress(&hash, placed)),
        };
    }
    let capsule = StoredCapsule::of_record(&*store.blobs(), &record)?;
    let signer = signer(context, &store, &capsule)?;
    if !args.yes && !context.output.can_ask() {
        return Err(CommandError::usage("publishing is for ever, and there is nobody to ask")
            .with_hint("repeat the command with --yes if you are sure"));
    }
    let peers = peers_known(context)?;
    end_on_signal_with(context.output, left_before(&hash, state))?;
    let (consequences, question) = match state {
        PublicationState::Published => (AGAIN.to_owned(), "Look for what is missing?"),
        _ => (warning(&store, &capsule, peers)?, "Publish it?"),
    };
    // Others may need it alone while somebody thinks, or while it is published.
    drop(store);
    context.output.note(&consequences);
    if !args.yes && !context.output.confirm(question)? {
        return Err(CommandError::new("nothing was published"));
    }
    let signed = match signer {
        Some(identity) => Some(sign(context, &identity, &capsule)?),
        None => None,
    };
    if args.background {
        let begun = ask(context, PublishInBackground { hash, signed })?;
        return report_state(context, begun);
    }
    publish(context, hash, signed)
}

fn nothing_to_cancel(hash: &TesseraHash) -> CommandError {
    CommandError::new("it was fetched, and is not published from here: there is nothing to cancel")
        .with_code(Code::NOT_PUBLISHED)
        .with_hint(format!("`tes drop {}` removes it from your node", short(hash)))
}

fn in_progress(hash: &TesseraHash, placed: u64) -> CommandError {
    let short = short(hash);
    CommandError::new(format!(
        "it is being published in the background already, with {} placed so far",
        count(placed, "piece", "pieces")
    ))
    .with_code(Code::IN_PROGRESS)
    .with_hint(format!(
        "your node goes on with it whenever it runs; `tes status {short}` says how far it is, and \
         `tes publish --cancel {short}` stops it"
    ))
}

/// What a command leaves that ends before anything is sent.
fn left_before(hash: &TesseraHash, state: PublicationState) -> String {
    let state = match state {
        PublicationState::Published => "nothing was sent, and it stays published",
        _ => "nothing was sent, and it is not published",
    };
    format!("{state}; `tes publish {}` begins again", short(hash))
}

/// Publishes. Ctrl-C stops it at once; then a person is asked whether it shall go on after all.
fn publish(
    context: &Context,
    hash: TesseraHash,
    signed: Option<SignedPlan>,
) -> Result<Exit, CommandError> {
    let stop = StopPublication { hash, how: PublicationStop::Stop };
    loop {
        let call = Publish { hash, signed: signed.clone() };
        let (why, left) = match ask_unless_interrupted(context, call, stop)? {
            Ended::Answered(published) => {
                context.output.report(&Shown { code: hash.to_code(), published })?;
                return Ok(Exit::Done);
            }
            Ended::Stopped(why, left) => (why, left),
        };
        if why != Why::Interrupted || !context.output.can_ask() {
            return Err(stopped(&left));
        }
        context.output.note(&format!("\n{}.", stopped_text(&left)));
        end_on_signal_with(context.output, begins_again(&left))?;
        let question = "c  continue here\nb  go on in the background\n\
                        anything else: leave it stopped\n> ";
        match context.output.ask(question)?.as_deref() {
            Some("c") => {}
            Some("b") => {
                let begun = ask(context, PublishInBackground { hash, signed })?;
                return report_state(context, begun);
            }
            _ => return Err(stopped(&left)),
        }
    }
}

fn stopped(left: &PublicationReply) -> CommandError {
    CommandError::new(stopped_text(left)).with_code(Code::INTERRUPTED).with_hint(begins_again(left))
}

fn begins_again(left: &PublicationReply) -> String {
    let short = short(&left.hash);
    match left.state {
        PublicationState::Published => {
            format!("`tes publish {short}` begins again with what was placed")
        }
        _ => format!(
            "`tes publish {short}` begins again with what was placed, and `tes publish --cancel \
             {short}` gives it up"
        ),
    }
}

fn stopped_text(left: &PublicationReply) -> String {
    let pieces = match left.placed {
        0 => "No other node is known to hold a piece of it".to_owned(),
        1 => "At least 1 piece is with another node, and stays there".to_owned(),
        n => format!("At least {n} pieces are with other nodes, and stay there"),
    };
    let state = match left.state {
        PublicationState::Published => "it was published before, and stays so",
        _ => "it is not published",
    };
    format!("stopped: {state}. {pieces}")
}

/// Ends a publication, through the node if one runs.
fn cancel(context: &Context, hash: TesseraHash) -> Result<PublicationReply, CommandError> {
    if is_running(context)? {
        return ask(context, StopPublication { hash, how: PublicationStop::Unpublish });
    }
    let store = context.store()?;
    if store.library().get(&hash)?.is_none() {
        return Err(not_in_library(&store, &hash));
    }
    let holdings = store.holdings();
    let state = holdings.note_publication(&hash, PublicationEvent::Cancelled)?.state();
    store.workbench().unpin(&hash)?;
    let placed = holdings.placements(&hash)?.len() as u64;
    Ok(PublicationReply { hash, state, placed })
}

fn report_state(context: &Context, publication: PublicationReply) -> Result<Exit, CommandError> {
    context.output.report(&PublicationProgress(publication))?;
    Ok(Exit::Done)
}

/// Who signs the plan: the capsule's creator. Nobody needs to, where a plan that the creator
/// signed came along with a fetched capsule.
fn signer(
    context: &Context,
    store: &Store,
    capsule: &StoredCapsule,
) -> Result<Option<Identity>, CommandError> {
    let there = capsule.manifest().creator();
    let identity = identity::load(&context.data_dir);
    if identity.as_ref().is_ok_and(|identity| identity.keys.public().id() == there) {
        return identity.map(Some);
    }
    if store.holdings().plan(&capsule.hash())?.is_some() {
        return Ok(None);
    }
    let here = identity?.keys.public().id();
    Err(CommandError::new(format!(
        "only its creator can publish a tessera first: it was made by {there}, and you are {here}"
    ))
    .with_hint("once it is published, anyone who has fetched it can keep it alive"))
}

/// Lets the node make the plan, and signs it.
fn sign(
    context: &Context,
    identity: &Identity,
    capsule: &StoredCapsule,
) -> Result<SignedPlan, CommandError> {
    let plan = ask(context, DraftPlan { hash: capsule.hash() })?.plan;
    check_plan(&plan, capsule)?;
    Ok(SignedPlan { signatures: identity.keys.sign(&plan), plan })
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

impl Report for PublicationProgress {
    fn human(&self) -> String {
        let PublicationReply { hash, state, placed } = &self.0;
        let short = short(hash);
        let pieces = count(*placed, "piece", "pieces");
        match state {
            PublicationState::Publishing => format!(
                "Your node goes on publishing it in the background, also after a restart.\n\
                 Next: tes status {short}             to see how far it is\n      \
                 tes publish --cancel {short}   to stop it\n"
            ),
            PublicationState::Published => "It is published.\n".to_owned(),
            PublicationState::Local if *placed == 0 => {
                "Your node does not look after it, and has placed no piece of it on another node.\n\
                 What others have placed stays where it is.\n"
                    .to_owned()
            }
            PublicationState::Local => format!(
                "Your node no longer looks after it. Other nodes hold {pieces} of it: those stay\n\
                 with them, and nobody can call them back.\n"
            ),
        }
    }
}

impl Report for Shown {
    fn human(&self) -> String {
        let PublishReply { hash, fragments, placed, copies, holders, survives, notes } =
            &self.published;
        // Where there is no coded form, the copies are the pieces.
        let beside = if copies.total > 0 && copies.total != *fragments {
            format!(" and {} of {}", copies.live, count(copies.total, "whole copy", "whole copies"))
        } else {
            String::new()
        };
        let mut out = format!(
            "Published: {placed} of {}{beside} on {}.\n",
            count(*fragments, "piece", "pieces"),
            count(*holders, "node", "nodes")
        );
        out += &survives_text(*survives);
        if placed < fragments || copies.live < copies.total {
            out += "The rest found no place yet; your node goes on looking for one.\n";
        }
        for note in notes {
            out.append_line(format_args!("Note: {note}"));
        }
        let short = short(hash);
        out.append(format_args!("Next: tes card {short}      for a recovery card to print and keep with your papers\n      \
             tes status {short}    to see how it is\n"));
        out
    }
}
