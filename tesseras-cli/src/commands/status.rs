//! `tes status`: how the node is, or how a tessera is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use tesseras_core::ids::NodeId;
use tesseras_rpc::messages::{NodeStatus, Request, Response, State, TesseraStatus};

use super::publish::survives_text;
use crate::ask::{ask, unexpected};
use crate::cli::Exit;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::hashes::named;
use crate::human::{count, size, table};
use crate::output::Report;

/// Show how your node is, or how a tessera is
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tessera: its holders are asked now. The first few hex digits are enough for one stored
    /// here.
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
    let request = match &args.hash {
        None => Request::Status,
        Some(text) => Request::TesseraStatus { hash: named(context, &text.join(" "))? },
    };
    match (ask(context, &request)?, args.hash) {
        (Response::Status(status), None) => context.output.report(&Node(status))?,
        (Response::TesseraStatus(status), Some(_)) => context.output.report(&Tessera(status))?,
        _ => return Err(unexpected()),
    }
    Ok(Exit::Done)
}

impl Report for Node {
    fn human(&self) -> String {
        let node = &self.0;
        let mut out = String::new();
        let mut line = |label: &str, value: &str| {
            writeln!(out, "{label:12}{value}").expect("a String takes all");
        };
        line("Node", &node.node_id.to_string());
        line("Listens on", &node.listen.to_string());
        let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
        line(
            "Reachable",
            &match (node.reachable, addresses.is_empty()) {
                (true, true) => "yes".to_owned(),
                (true, false) => format!("yes, at {}", addresses.join(", ")),
                (false, _) => "not yet: no other node has reached it".to_owned(),
            },
        );
        line("Knows", &count(node.peers, "other node", "other nodes"));
        let pieces = count(node.fragments, "piece", "pieces");
        let offered = size(node.storage_limit);
        line("Keeps", &format!("{pieces} for others, {} of {offered}", size(node.bytes)));
        if let Some(full) = &node.full {
            line("Full", full);
        }
        for job in &node.jobs {
            line("Job", job);
        }
        if node.peers == 0 {
            out += "It knows nobody: start tesd with --bootstrap HOST:PORT of another node.\n";
        }
        out
    }
}

impl Report for Tessera {
    fn human(&self) -> String {
        let TesseraStatus { hash, state, fragments, holders, survives, placement, notes } = &self.0;
        let mut out = format!("Tessera {hash}\n");
        out += match state {
            State::Local => "It is only here; `tes publish` lets others keep it alive.\n",
            State::Publishing => "It is being published from here right now.\n",
            State::Healthy => "It is healthy: every piece was attested just now.\n",
            State::Degraded => "It is readable, but pieces are missing; `tes repair` helps.\n",
            State::Unreachable => "It cannot be read now: too few of its holders answer.\n",
        };
        if *state != State::Local {
            writeln!(
                out,
                "Live: {} of {} on {}; {} needed to read it.",
                fragments.live,
                count(fragments.total, "piece", "pieces"),
                count(*holders, "node", "nodes"),
                match fragments.needed {
                    1 => "1 is".to_owned(),
                    n => format!("{n} are"),
                }
            )
            .expect("a String takes all");
            if *state != State::Unreachable {
                out += &survives_text(*survives);
            }
        }
        for note in notes {
            writeln!(out, "Note: {note}").expect("a String takes all");
        }
        if !placement.is_empty() {
            let mut held: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
            for placed in placement {
                held.entry(placed.node_id).or_default().push(placed.fragment.to_string());
            }
            let rows: Vec<_> = held
                .into_iter()
                .map(|(node, pieces)| [node.to_string(), pieces.join(" ")])
                .collect();
            out.push('\n');
            out += &table(["NODE", "PIECES"], &rows);
        }
        out
    }
}
