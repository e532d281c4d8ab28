//! The words for what is wrong with a node, and what to do about it.

use std::net::SocketAddr;

use tesseras_core::time::ClockOffset;
use tesseras_rpc::problem::Problem;

use crate::command_error::INDEX_GONE;
use crate::human::size;

const SET_THE_CLOCK: &str = "set it right (NTP); until then other nodes refuse what this one dates";

/// What is wrong with a node that listens at `listen`, and what its operator can do.
pub fn problem(problem: &Problem, listen: SocketAddr) -> (String, String) {
    let port = listen.port();
    match problem {
        Problem::IndexGone { path } => (
            format!(
                "the index {path} was removed or replaced while tesd runs: nothing is stored, \
                 dropped or attested any more"
            ),
            INDEX_GONE.to_owned(),
        ),
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

/// What is said of a clock.
pub fn clock(seconds: i64, witnesses: u64) -> String {
    format!("this computer's clock is {}", ClockOffset { seconds, witnesses })
}
