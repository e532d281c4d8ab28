//! `tes peers`: the nodes that the node knows.

use serde::Serialize;
use tesseras_rpc::calls::AskPeers;
use tesseras_rpc::messages::{PeerInfo, PeerList};

use crate::ask::ask;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::table;
use crate::output::Report;

/// List the nodes that your node knows
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
#[serde(transparent)]
struct Peers(PeerList);

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    context.output.report(&Peers(ask(context, AskPeers {})?))?;
    Ok(Exit::Done)
}

impl Report for Peers {
    fn human(&self) -> String {
        let PeerList { peers } = &self.0;
        if peers.is_empty() {
            return "Your node knows nobody yet.\n\
                    Next: start tesd with --bootstrap HOST:PORT of another node\n"
                .to_owned();
        }
        let row = |peer: &PeerInfo| [peer.node_id.to_string(), peer.address.to_string()];
        let rows: Vec<_> = peers.iter().map(row).collect();
        table(["NODE", "ADDRESS"], &rows)
    }
}
