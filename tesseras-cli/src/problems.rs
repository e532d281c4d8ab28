//! The words for what is wrong with a node or made a request fail, and what to do about it.

use std::net::SocketAddr;

use tesseras_core::time::ClockOffset;
use tesseras_rpc::ClientError;
use tesseras_rpc::messages::Failure;
use tesseras_rpc::problem::{Cause, Problem};

use crate::command_error::CommandError;
use crate::human::{count, size};

const SET_THE_CLOCK: &str = "set it right (NTP); until then other nodes refuse what this one dates";

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let failed = CommandError::new(error.to_string());
        match error {
            ClientError::NotRunning { data_dir } => {
                failed.with_hint(format!("start one with `tesd --data-dir {}`", data_dir.display()))
            }
            ClientError::PathTooLong { .. } => {
                failed.with_hint("choose a data directory with a shorter path")
            }
            ClientError::Connect { .. } => {
                failed.with_hint("only the user that runs tesd may talk to it")
            }
            ClientError::Ended | ClientError::Silent => {
                failed.with_hint("see what tesd last logged, start it again, repeat the command")
            }
            ClientError::Frame(_) => failed.with_hint("use the tes and the tesd of one version"),
            ClientError::Failed(failure) => self::failure(failure),
            _ => failed,
        }
    }
}

/// What is wrong with a node that listens at `listen`, and what its operator can do.
pub fn problem(problem: &Problem, listen: SocketAddr) -> (String, String) {
    let port = listen.port();
    match problem {
        Problem::ClockOff { seconds, witnesses } => {
            (clock(*seconds, *witnesses), SET_THE_CLOCK.to_owned())
        }
        Problem::Unreachable => (
            "no other node can reach this one, so it can publish and fetch, and keeps nothing \
             for others"
                .to_owned(),
            format!(
                "let UDP port {port} in through the firewall, forward it on the router, and start \
                 tesd with --advertise ADDRESS:{port} (the router's public address)"
            ),
        ),
        Problem::BootstrapSilent { peer, addresses } => {
            let tried: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let tried = tried.join(", ");
            let named = if tried == *peer { peer.clone() } else { format!("{peer} ({tried})") };
            (
                format!("the bootstrap node {named} has not answered since tesd started"),
                "check the address, or name another node (--bootstrap HOST:PORT)".to_owned(),
            )
        }
        Problem::BootstrapUnknown { peer } => (
            format!("the name of the bootstrap node {peer} is not known"),
            "check its spelling and this computer's DNS, then start tesd again".to_owned(),
        ),
        Problem::DiskReserve { free, reserve } => (
            format!(
                "the disk has {} free, and {} are to stay free: nothing more is kept for others",
                size(*free),
                size(*reserve)
            ),
            "free some disk space, or lower min_free_space".to_owned(),
        ),
        Problem::StorageLimit { used, limit } => (
            format!(
                "the space offered to others is used up: {} of {}; nothing more is kept for them",
                size(*used),
                size(*limit)
            ),
            "raise storage_limit if there is room; what is kept stays".to_owned(),
        ),
    }
}

/// Why a request failed: in words of `tes` where the node gave the reason as data.
pub fn failure(failure: Failure) -> CommandError {
    let Some(cause) = &failure.cause else {
        let failed = CommandError::new(failure.message);
        return match failure.hint {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        };
    };
    match cause {
        Cause::ClockOff { seconds, witnesses } => CommandError::new(clock(*seconds, *witnesses))
            .with_hint("set it right (NTP) and try again"),
        Cause::NoSpace { needed, free } => CommandError::new(format!(
            "there is not enough room on the disk: {} are needed, {} are free beside the reserve",
            size(*needed),
            size(*free)
        ))
        .with_hint("free some disk space, or lower min_free_space, then repeat the command"),
        Cause::DiskFull => CommandError::new(failure.message)
            .with_hint("free some disk space, then repeat the command"),
        Cause::OtherHash { answered, silent } => {
            let nodes = count(*answered, "node is", "nodes are");
            let silent = match silent {
                0 => String::new(),
                more => format!(" ({more} more did not answer)"),
            };
            CommandError::new(format!(
                "{nodes} known under this name, but none has exactly this one{silent}"
            ))
            .with_hint("a digit may be wrong; compare it with the card")
        }
        Cause::HoldersSilent { silent } => CommandError::new(match silent {
            1 => "1 node is known to hold it, but it does not answer now".to_owned(),
            n => format!("{n} nodes are known to hold it, but none of them answers now"),
        })
        .with_hint("they may be back later; then repeat the command"),
    }
}

fn clock(seconds: i64, witnesses: u64) -> String {
    format!("this computer's clock is {}", ClockOffset { seconds, witnesses })
}
