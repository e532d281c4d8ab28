//! Derives the problems that need the operator from the state of the node. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::contact::canonical;
use tesseras_dht::Status;
use tesseras_rpc::problem::Problem;

use crate::config::BootstrapPeer;

/// The time after the start in which it is not yet a problem that no peer has reached this node.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
/// The offered space counts as used up when less than this fraction, 1/n, is left.
const LAST_PART: u64 = 100;
/// The most bootstrap peers that are listed.
const MAX_NAMED: usize = 64;

/// The use of the disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free on the disk.
    pub free: u64,
    /// The reserve that stays free.
    pub reserve: u64,
    /// Held for others.
    pub used: u64,
    /// Offered to others.
    pub limit: u64,
}

/// All problems, the worst first. `gone` is where the index was, if it is not there any more.
pub fn problems(
    status: &Status,
    peers: &[BootstrapPeer],
    space: Space,
    gone: Option<String>,
) -> Vec<Problem> {
    let mut found: Vec<Problem> =
        gone.map(|path| Problem::IndexGone { path }).into_iter().collect();
    if let Some(offset) = status.clock.filter(|offset| offset.is_off()) {
        let (seconds, witnesses) = (offset.seconds, offset.witnesses);
        found.push(Problem::ClockOff { seconds, witnesses });
    }
    if space.free < space.reserve {
        found.push(Problem::DiskReserve { free: space.free, reserve: space.reserve });
    }
    // A node that offers nothing cannot run out of it.
    if space.limit > 0 && space.limit.saturating_sub(space.used) < space.limit.div_ceil(LAST_PART) {
        found.push(Problem::StorageLimit { used: space.used, limit: space.limit });
    }
    if !status.reachable && status.peers > 0 && status.running_for >= REACHED_WITHIN {
        found.push(Problem::Unreachable);
    }
    found.extend(dead_bootstrap(&status.silent_bootstrap, peers).into_iter().take(MAX_NAMED));
    found
}

/// A peer that has a name is silent if all its addresses are: a machine may have no IPv6.
fn dead_bootstrap(silent: &[SocketAddr], peers: &[BootstrapPeer]) -> Vec<Problem> {
    let mut found = Vec::new();
    for BootstrapPeer { name, addresses } in peers {
        let addresses: Vec<_> = addresses.iter().copied().map(canonical).collect();
        if addresses.is_empty() {
            found.push(Problem::BootstrapUnknown { peer: name.clone() });
        } else if addresses.iter().all(|address| silent.contains(address)) {
            found.push(Problem::BootstrapSilent { peer: name.clone(), addresses });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use tesseras_core::time::ClockOffset;

    use super::*;

    const SPACE: Space = Space { free: 100, reserve: 10, used: 0, limit: 1000 };

    fn well() -> Status {
        Status {
            reachable: true,
            addresses: Vec::new(),
            peers: 3,
            records: 0,
            clock: Some(ClockOffset { seconds: 4, witnesses: 3 }),
            silent_bootstrap: Vec::new(),
            running_for: Duration::from_secs(100),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_node_that_is_well_has_none() {
        assert_eq!(problems(&well(), &[], SPACE, None), []);
        let nothing_offered = Space { limit: 0, ..SPACE };
        assert_eq!(problems(&well(), &[], nothing_offered, None), []);
    }

    #[test]
    fn a_wrong_clock_a_full_disk_and_a_full_offer_are_named() {
        let status = Status { clock: Some(ClockOffset { seconds: -7200, witnesses: 1 }), ..well() };
        let space = Space { free: 9, reserve: 10, used: 991, limit: 1000 };
        let found = [
            Problem::ClockOff { seconds: -7200, witnesses: 1 },
            Problem::DiskReserve { free: 9, reserve: 10 },
            Problem::StorageLimit { used: 991, limit: 1000 },
        ];
        assert_eq!(problems(&status, &[], space, None), found);
        assert_eq!(problems(&well(), &[], Space { used: 990, ..SPACE }, None), []);
    }

    #[test]
    fn nobody_is_alarmed_in_the_first_minute_or_without_peers() {
        let unreached = Status { reachable: false, ..well() };
        assert_eq!(problems(&unreached, &[], SPACE, None), [Problem::Unreachable]);
        let young = Status { running_for: Duration::from_secs(59), ..unreached.clone() };
        assert_eq!(problems(&young, &[], SPACE, None), []);
        assert_eq!(problems(&Status { peers: 0, ..unreached }, &[], SPACE, None), []);
    }

    #[test]
    fn a_name_is_silent_when_all_its_addresses_are() {
        let (one, two, three) = (address("9.9.9.9:7"), address("[::1]:7"), address("8.8.8.8:7"));
        let peer = |name: &str, addresses: &[SocketAddr]| BootstrapPeer {
            name: name.to_owned(),
            addresses: addresses.to_vec(),
        };
        let peers = [
            peer("half:7", &[one, two]),
            peer("gone:7", &[two]),
            peer("nowhere:7", &[]),
            three.into(),
        ];
        let status = Status { silent_bootstrap: vec![two, three], ..well() };
        let silent = |peer: &str, address| Problem::BootstrapSilent {
            peer: peer.to_owned(),
            addresses: vec![address],
        };
        let found = [
            silent("gone:7", two),
            Problem::BootstrapUnknown { peer: "nowhere:7".to_owned() },
            silent("8.8.8.8:7", three),
        ];
        assert_eq!(problems(&status, &peers, SPACE, None), found);
    }
}
