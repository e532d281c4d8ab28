//! The addresses at which a listening node may be reachable.

use std::net::{IpAddr, SocketAddr};

use tesseras_core::contact::{MAX_ADDRESSES, Subnet};

/// The addresses that a node listening on `listen` may announce, best first, at most
/// [`MAX_ADDRESSES`]: a concrete address itself; on a wildcard, the addresses of the interfaces
/// that are up, global ones first, then private ones, loopback last.
///
/// An IPv6 wildcard also takes IPv4. Link-local addresses are left out: they are valid only
/// together with an interface of the other machine. If the interfaces cannot be listed, the result
/// is empty. These are candidates: an address counts once a dial back to it has succeeded.
pub fn announce_candidates(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let interfaces = match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "cannot list the network interfaces");
            return Vec::new();
        }
    };
    let up = interfaces
        .into_iter()
        .filter(|interface| interface.is_oper_up() || interface.is_loopback())
        .map(|interface| interface.ip());
    candidates(listen, up.collect())
}

fn candidates(listen: SocketAddr, mut addresses: Vec<IpAddr>) -> Vec<SocketAddr> {
    addresses.retain(|ip| !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(*ip));
    addresses.retain(|ip| listen.is_ipv6() || ip.is_ipv4());
    addresses.sort_by_key(|ip| (distance(*ip), *ip));
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    addresses.into_iter().map(|ip| SocketAddr::new(ip, listen.port())).collect()
}

/// How far away a peer may be that can use the address; lower is nearer.
fn distance(ip: IpAddr) -> u8 {
    if ip.is_loopback() { 2 } else { u8::from(Subnet::of(ip).is_local()) }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(listen: &str, addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let found = candidates(listen.parse().unwrap(), addresses);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn global_then_private_then_loopback() {
        let all = ["127.0.0.1", "10.0.0.2", "fe80::1", "::1", "203.0.113.5", "2001:db8::1"];
        assert_eq!(
            order("[::]:7", &all),
            ["203.0.113.5:7", "[2001:db8::1]:7", "10.0.0.2:7", "127.0.0.1:7"]
        );
        assert_eq!(order("0.0.0.0:7", &all), ["203.0.113.5:7", "10.0.0.2:7", "127.0.0.1:7"]);
    }

    #[test]
    fn a_concrete_address_is_itself() {
        let listen = "192.0.2.1:4433".parse().unwrap();
        assert_eq!(announce_candidates(listen), [listen]);
        let wildcard = announce_candidates("0.0.0.0:4433".parse().unwrap());
        assert!(!wildcard.is_empty() && wildcard.len() <= MAX_ADDRESSES);
        assert!(wildcard.iter().all(|address| address.port() == 4433));
    }
}
