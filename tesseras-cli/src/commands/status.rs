//! `tes status`: how the node is, or how a tessera is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use tesseras_core::append::Append as _;
use tesseras_core::ids::NodeId;
use tesseras_rpc::calls::{AskStatus, AskTesseraStatus};
use tesseras_rpc::job::JobOutcome;
use tesseras_rpc::messages::{
    CopyCount, FragmentCount, LastRepair, NodeStatus, PieceLocation, RepairDue, RepairReason,
    TesseraGlance, TesseraState, TesseraStatus,
};

use crate::ask::ask;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::hashes::{joined, named};
use crate::human::{count, short, size, survives_text, table};
use crate::output::Report;
use crate::problems::problem;

/// Show how your node is, or how a tessera is
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tessera, whose holders are asked now: its code or its hash, with or without spaces; the
    /// first few hex digits are enough for one stored here.
    #[arg(num_args = 1.., value_name = "HASH")]
    hash: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Node(NodeStatus);

#[derive(Serialize)]
#[serde(transparent)]
struct Tessera(TesseraStatus);

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit, CommandError> {
    match &args.hash {
        None => context.output.report(&Node(ask(context, AskStatus {})?))?,
        Some(text) => {
            let hash = named(context, &joined(text)?)?;
            context.output.report(&Tessera(ask(context, AskTesseraStatus { hash })?))?;
        }
    }
    Ok(Exit::Done)
}

impl Report for Node {
    fn human(&self) -> String {
        let node = &self.0;
        let mut out = String::new();
        let mut line = |label: &str, value: &str| {
            out.append_line(format_args!("{label:12}{value}"));
        };
        line("Node", &node.node_id.to_string());
        line("Listens on", &node.listen.to_string());
        let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
        line(
            "Reachable",
            &match (node.reachable, addresses.is_empty()) {
                (true, true) => "yes".to_owned(),
                (true, false) => format!("yes, at {}", addresses.join(", ")),
                (false, _) => {
                    "not as far as is known: no other node has reached it lately".to_owned()
                }
            },
        );
        line("Knows", &count(node.peers, "other node", "other nodes"));
        let pieces = count(node.fragments, "piece", "pieces");
        let kept = match (node.bytes, node.storage_limit) {
            (0, 0) => "nothing for others; it offers them no space".to_owned(),
            (kept, 0) => format!("{pieces} for others, {}; it offers no more", size(kept)),
            (kept, offered) => {
                format!("{pieces} for others, {} of {}", size(kept), size(offered))
            }
        };
        line("Keeps", &kept);
        if node.damaged > 0 {
            let pieces = count(node.damaged, "of these pieces is", "of these pieces are");
            line(
                "",
                &format!("{pieces} damaged; `tes repair` replaces what other nodes still have"),
            );
        }
        for found in &node.problems {
            let (what, to_do) = problem(found, node.listen);
            line("Problem", &what);
            line("", &format!("→ {to_do}"));
        }
        let troubled =
            |outcome: &Option<JobOutcome>| outcome.as_ref().is_some_and(JobOutcome::is_trouble);
        for job in node.jobs.iter().filter(|job| troubled(&job.outcome)) {
            line("Job", &job.to_string());
        }
        out += &overview(&node.tesserae);
        if node.peers == 0 {
            out += &alone(node.silent_peers);
        }
        out
    }
}

/// What a node without any other node can do.
fn alone(silent_peers: u64) -> String {
    match silent_peers {
        0 => "It knows nobody: start tesd with --bootstrap HOST:PORT of another node.\n".to_owned(),
        _ => format!(
            "None of the {} that it remembers answers: look at the network connection of this \
             computer, or start tesd with --bootstrap HOST:PORT of another node.\n",
            count(silent_peers, "node", "nodes"),
        ),
    }
}

/// A row for each capsule of the library.
fn overview(tesserae: &[TesseraGlance]) -> String {
    if tesserae.is_empty() {
        return String::new();
    }
    let row = |glance: &TesseraGlance| {
        let FragmentCount { total, live, .. } = glance.fragments;
        let is_told =
            glance.state != TesseraState::Local && (glance.checked.is_some() || total > 0);
        let told = |text: String| if is_told { text } else { "-".to_owned() };
        [
            short(&glance.hash),
            word(glance.state).to_owned(),
            told(format!("{live} of {total}")),
            told(glance.survives.to_string()),
            match (&glance.checked, glance.state) {
                (_, TesseraState::Local) => "-".to_owned(),
                (None, _) => "not yet".to_owned(),
                (Some(date), TesseraState::Unchecked) => {
                    date.replace('T', " ").replace('Z', " UTC")
                }
                (Some(_), _) => "just now".to_owned(),
            },
            glance.title.clone(),
        ]
    };
    let mut tesserae: Vec<_> = tesserae.iter().collect();
    // Stable: within a state the newest stays first.
    tesserae.sort_by_key(|glance| urgency(glance));
    let rows: Vec<_> = tesserae.iter().map(|glance| row(glance)).collect();
    let rows = table(["HASH", "STATE", "LIVE", "MAY VANISH", "CHECKED", "TITLE"], &rows);
    format!("\n{}{rows}", endangered(&tesserae))
}

/// The place of a capsule in the list: the most endangered first.
fn urgency(glance: &TesseraGlance) -> (u8, u64) {
    let state = match glance.state {
        TesseraState::Unreachable => 0,
        TesseraState::Degraded => 1,
        TesseraState::Unchecked => 2,
        TesseraState::Publishing => 3,
        TesseraState::Local => 4,
        TesseraState::Healthy => 5,
    };
    let has_holders = matches!(glance.state, TesseraState::Degraded | TesseraState::Healthy);
    (state, if has_holders { glance.survives } else { 0 })
}

/// What is offered for degraded capsules. It brings back nothing that nobody else holds.
const MENDS: &str = "`tes repair` helps the degraded";

/// How many capsules lack pieces, and how many nobody else holds; nothing if there are none.
fn endangered(tesserae: &[&TesseraGlance]) -> String {
    let counted = |state| tesserae.iter().filter(|glance| glance.state == state).count() as u64;
    let degraded = counted(TesseraState::Degraded);
    let only_here = counted(TesseraState::Unreachable) + counted(TesseraState::Local);
    let all = count(tesserae.len() as u64, "tessera", "tesserae");
    let are = |number, what: &str| format!("{} {what}", count(number, "is", "are"));
    match (degraded, only_here) {
        (0, 0) => String::new(),
        (0, _) => format!("Of {all}, {}.\n", are(only_here, "only here")),
        (_, 0) => format!("Of {all}, {}; {MENDS}.\n", are(degraded, "degraded")),
        _ => format!(
            "Of {all}, {} and {}; {MENDS}.\n",
            are(degraded, "degraded"),
            are(only_here, "only here")
        ),
    }
}

/// The state of a capsule of the library as a word for people.
fn word(state: TesseraState) -> &'static str {
    match state {
        TesseraState::Local => "local",
        TesseraState::Publishing => "publishing",
        TesseraState::Healthy => "healthy",
        TesseraState::Degraded => "degraded",
        // What its holders can no longer give is still in the library.
        TesseraState::Unreachable => "only here",
        TesseraState::Unchecked => "not checked",
    }
}

impl Report for Tessera {
    fn human(&self) -> String {
        let status = &self.0;
        let mut out = format!("Tessera {}\n", status.hash);
        out += &sentence(status);
        out += &left_by_a_publication(status);
        if status.state != TesseraState::Local && status.fragments.total > 0 {
            out += &live(status);
        }
        out += &repairs(status);
        for note in &status.notes {
            out += &format!("Note: {note}\n");
        }
        out + &pieces_of_nodes(&status.placement)
    }
}

/// The state of a tessera as a sentence for people.
fn sentence(status: &TesseraStatus) -> Cow<'static, str> {
    let sentence = match status.state {
        TesseraState::Local => "It is not published; `tes publish` lets others keep it alive.\n",
        TesseraState::Publishing => {
            "It is being published from here; `tes publish --cancel` stops it.\n"
        }
        TesseraState::Healthy => "It is healthy: every piece was attested just now.\n",
        TesseraState::Degraded if status.only_silent > 0 => {
            let silent = count(status.only_silent, "holder does", "holders do");
            return format!(
                "It is readable; {silent} not answer, and nothing is missing on the others.\n"
            )
            .into();
        }
        TesseraState::Degraded => "It is readable, but pieces are missing; `tes repair` helps.\n",
        TesseraState::Unreachable if status.in_library => {
            "It is only here: too few of its holders answer, but your own copy is in the library.\n\
             `tes publish` places it anew.\n"
        }
        // No description of it was found, so there is nothing to count.
        TesseraState::Unreachable if status.fragments.total == 0 => {
            "It cannot be read now: no node that may hold it attests a piece of it.\n"
        }
        TesseraState::Unreachable => "It cannot be read now: too few of its holders answer.\n",
        TesseraState::Unchecked => "Its holders were not asked in time.\n",
    };
    sentence.into()
}

/// Who repaired it last, when and why, and whose turn it is now.
fn repairs(status: &TesseraStatus) -> String {
    let mut out = String::new();
    if let Some(last) = &status.last_repair {
        let LastRepair { node_id, here, date, pieces, silent, reason } = &**last;
        let pieces = count(*pieces, "piece", "pieces");
        out += &match here {
            true => format!("Last repaired by this node, {date}: {pieces}"),
            false => format!("Last repaired by {node_id}, {date}: {pieces} for this node"),
        };
        if *silent > 0 {
            out += &format!("; {} gone", count(*silent, "holder was", "holders were"));
        }
        out += match reason {
            Some(RepairReason::Asked) => "; someone asked for it",
            Some(RepairReason::Endangered) => "; it was endangered",
            Some(RepairReason::Turn) => "; it was its turn",
            None => "",
        };
        out += ".\n";
    }
    if let Some(due) = &status.repair_due {
        let RepairDue { since, at, steward } = &**due;
        out += &match steward {
            Some(steward) => format!(
                "A repair is due since {since}. It waits for its steward {steward} until {at}; \
                 then this node does it.\n"
            ),
            None => format!("A repair is due since {since}; this node does it soon.\n"),
        };
    }
    out
}

/// What others hold of a tessera that is not published.
fn left_by_a_publication(status: &TesseraStatus) -> String {
    if status.state != TesseraState::Local || status.placement.is_empty() {
        return String::new();
    }
    let pieces = count(status.placement.len() as u64, "piece of it is", "pieces of it are");
    let nodes = count(status.holders, "other node", "other nodes");
    format!(
        "{pieces} with {nodes} all the same, from a publication that was stopped or cancelled.\n\
         Nobody can call them back, and your node does not look after them.\n"
    )
}

fn live(status: &TesseraStatus) -> String {
    let TesseraStatus { state, fragments, copies, holders, survives, .. } = status;
    let needed = match fragments.needed {
        1 => "1 is".to_owned(),
        n => format!("{n} are"),
    };
    let mut out = format!(
        "Live: {} of {} on {}; {needed} needed to read it.\n",
        fragments.live,
        count(fragments.total, "piece", "pieces"),
        count(*holders, "node", "nodes"),
    );
    if fragments.needed > 1 && copies.total > 0 {
        let CopyCount { total, live } = copies;
        let copies = count(*total, "whole copy", "whole copies");
        out += &format!("In addition: {live} of {copies}.\n");
    }
    if *state != TesseraState::Unreachable {
        out += &survives_text(*survives);
    }
    out
}

/// A row for each node, with the pieces that it attested.
fn pieces_of_nodes(placement: &[PieceLocation]) -> String {
    if placement.is_empty() {
        return String::new();
    }
    let mut held: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
    for placed in placement {
        held.entry(placed.node_id).or_default().push(placed.fragment.to_string());
    }
    let rows: Vec<_> =
        held.into_iter().map(|(node, pieces)| [node.to_string(), pieces.join(" ")]).collect();
    format!("\n{}", table(["NODE", "PIECES"], &rows))
}
