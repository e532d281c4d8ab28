//! Where a node can be reached, and which addresses are likely to fail together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::ids::NodeId;

/// The most addresses that one contact may name; the rest is ignored.
pub const MAX_ADDRESSES: usize = 4;

/// A node and the addresses at which it claims to listen. A hint until a dial has succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// The node that must answer.
    pub id: NodeId,
    /// Where to dial, best first; at most [`MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
}

/// The one way an address is written: IPv4 that came through an IPv6 socket as IPv4, without flow
/// or zone.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The neighbourhood of an address: its /24 (IPv4) or /48 (IPv6), where machines fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subnet {
    /// The first three bytes of an IPv4 address.
    V4([u8; 3]),
    /// The first six bytes of an IPv6 address.
    V6([u8; 6]),
}

impl Subnet {
    /// The neighbourhood of an address; IPv4 written as IPv6 counts as IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let o = v6.octets();
                Self::V6([o[0], o[1], o[2], o[3], o[4], o[5]])
            }
        }
    }

    /// The neighbourhood whose members are limited together; `None` where they are not, because it is
    /// local.
    pub fn limited(self) -> Option<Self> {
        (!self.is_local()).then_some(self)
    }

    /// Whether limits per neighbourhood are relaxed here: loopback, private (RFC 1918, RFC 4193)
    /// and link-local networks are one owner's machines.
    pub fn is_local(&self) -> bool {
        match self {
            Self::V4([a, b, c]) => {
                let ip = Ipv4Addr::new(*a, *b, *c, 1);
                ip.is_loopback() || ip.is_private() || ip.is_link_local()
            }
            Self::V6(o) => {
                let ip = Ipv6Addr::from([
                    o[0], o[1], o[2], o[3], o[4], o[5], 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
                ]);
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(f, "{a}.{b}.{c}.0/24"),
            Self::V6(o) => {
                let group = |i: usize| u16::from_be_bytes([o[i], o[i + 1]]);
                write!(f, "{:x}:{:x}:{:x}::/48", group(0), group(2), group(4))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_subnet_and_mapped_addresses_do_not_hide() {
        let subnet = |text: &str| Subnet::of(text.parse().expect("an address"));
        assert_eq!(subnet("127.0.1.1"), subnet("127.0.1.200"));
        assert_ne!(subnet("127.0.1.1"), subnet("127.0.2.1"));
        assert_eq!(subnet("::ffff:8.8.8.8"), subnet("8.8.8.9"));
        assert!(subnet("127.3.1.1").is_local() && subnet("::1").is_local());
        assert!(subnet("10.1.2.3").is_local() && !subnet("8.8.8.8").is_local());
        assert!(subnet("fd00::1").is_local() && !subnet("2001:db8::1").is_local());
        assert_eq!(subnet("10.1.2.3").limited(), None);
        assert_eq!(subnet("8.8.8.8").limited(), Some(subnet("8.8.8.9")));
        assert_eq!(subnet("2001:db8:1::5").to_string(), "2001:db8:1::/48");
    }
}
