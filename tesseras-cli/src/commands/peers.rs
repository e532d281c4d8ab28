//! `tes peers`: the nodes that the node knows.

use serde::Serialize;
use tesseras_rpc::messages::{PeerInfo, Request, Response};

use crate::ask::{ask, unexpected};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::exit::Exit;
use crate::human::table;
use crate::output::Report;

/// List the nodes that your node knows
#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
struct Peers {
    peers: Vec<PeerInfo>,
}

/// Runs the command.
pub fn run(context: &Context, Args {}: Args) -> Result<Exit, CommandError> {
    let Response::Peers { peers } = ask(context, &Request::Peers)? else {
        return Err(unexpected());
    };
    context.output.report(&Peers { peers })?;
    Ok(Exit::Done)
}

impl Report for Peers {
    fn human(&self) -> String {
        if self.peers.is_empty() {
            return "Your node knows nobody yet.\n\
                    Next: start tesd with --bootstrap HOST:PORT of another node\n"
                .to_owned();
        }
        let row = |peer: &PeerInfo| [peer.node_id.to_string(), peer.address.to_string()];
        let rows: Vec<_> = self.peers.iter().map(row).collect();
        table(["NODE", "ADDRESS"], &rows)
    }
}
