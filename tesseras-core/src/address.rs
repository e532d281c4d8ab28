//! Which addresses may be dialled, told to a peer or accepted from one.

use std::net::{IpAddr, SocketAddr};

use crate::contact::{Contact, MAX_ADDRESSES, Subnet, canonical};

/// How far an address can be reached from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressScope {
    /// From this machine only.
    Loopback,
    /// From this network only: private, unique local or link-local.
    Local,
    /// From anywhere.
    Global,
}

/// The scope of an address; IPv4 written as IPv6 counts as IPv4.
pub fn scope(ip: IpAddr) -> AddressScope {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        AddressScope::Loopback
    } else if Subnet::of(ip).is_local() {
        AddressScope::Local
    } else {
        AddressScope::Global
    }
}

/// Whether an address names one host and a port.
pub fn is_dialable(address: SocketAddr) -> bool {
    let host = match address.ip().to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    host && address.port() != 0
}

/// Whether an address is meaningful between this node and a peer whose packets come from `remote`:
/// loopback addresses only on this machine, private ones only within a private network. It applies
/// in both directions: to what the peer tells us and to what we tell the peer.
pub fn makes_sense_to(address: SocketAddr, remote: IpAddr) -> bool {
    match scope(address.ip()) {
        AddressScope::Global => true,
        AddressScope::Local => scope(remote) <= AddressScope::Local,
        AddressScope::Loopback => scope(remote) == AddressScope::Loopback,
    }
}

/// Filters a list of addresses that a peer sent: canonical, dialable, meaningful for that peer,
/// without duplicates, at most [`MAX_ADDRESSES`].
pub fn cleaned(addresses: &[SocketAddr], remote: IpAddr) -> Vec<SocketAddr> {
    let mut kept = Vec::new();
    for address in addresses.iter().copied().map(canonical) {
        if kept.len() == MAX_ADDRESSES {
            break;
        }
        if is_dialable(address) && makes_sense_to(address, remote) && !kept.contains(&address) {
            kept.push(address);
        }
    }
    kept
}

/// The first `most` contacts that a peer sent, with the addresses that are meaningful for it; of
/// several of one node the first.
pub fn cleaned_contacts(contacts: Vec<Contact>, most: usize, remote: IpAddr) -> Vec<Contact> {
    let mut kept: Vec<Contact> = Vec::new();
    for Contact { id, addresses } in contacts.into_iter().take(most) {
        if kept.iter().all(|other| other.id != id) {
            kept.push(Contact { id, addresses: cleaned(&addresses, remote) });
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use crate::ids::NodeId;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn nobody_is_sent_where_he_cannot_go() {
        let told = [
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[ff02::1]:1",
            "8.8.8.8:0",
            "8.8.8.8:7",
            "[::ffff:8.8.8.8]:7",
            "192.168.1.2:7",
            "127.0.0.1:7",
            "[::1]:7",
        ]
        .map(address);
        let kept = |remote: &str| cleaned(&told, remote.parse().expect("an IP"));
        assert_eq!(kept("9.9.9.9"), ["8.8.8.8:7"].map(address));
        assert_eq!(kept("10.0.0.1"), ["8.8.8.8:7", "192.168.1.2:7"].map(address));
        assert_eq!(
            kept("127.0.0.1"),
            ["8.8.8.8:7", "192.168.1.2:7", "127.0.0.1:7", "[::1]:7"].map(address)
        );
        let many: Vec<_> = (1..100).map(|port| address(&format!("8.8.8.8:{port}"))).collect();
        assert_eq!(cleaned(&many, IpAddr::from([9, 9, 9, 9])).len(), MAX_ADDRESSES);
    }

    #[test]
    fn contacts_are_bounded_and_named_once() {
        let contact = |id: u8, port: u16| {
            let addresses = vec![address("8.8.8.8:0"), SocketAddr::from(([8, 8, 8, 8], port))];
            Contact { id: NodeId::new([id; 20]), addresses }
        };
        let told = vec![contact(1, 1), contact(1, 2), contact(2, 3), contact(3, 4)];
        let kept = cleaned_contacts(told, 3, IpAddr::from([9, 9, 9, 9]));
        let kept: Vec<_> = kept.iter().map(|c| (c.id.as_bytes()[0], &c.addresses[..])).collect();
        let expected = ["8.8.8.8:1", "8.8.8.8:3"].map(address);
        assert_eq!(kept, [(1, &expected[..1]), (2, &expected[1..])]);
    }
}
