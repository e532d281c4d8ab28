//! Settings that depend on the machine: absolute paths, the addresses of names, and whether there
//! is IPv6.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tesseras_node::NodeConfig;
use tesseras_node::config::DEFAULT_LISTEN;
use tracing::warn;

/// How long to wait for DNS.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);

/// The settings adapted to this machine; the names of bootstrap peers are resolved.
pub async fn resolve(mut node: NodeConfig) -> NodeConfig {
    // Errors and hints name the directory; a relative path would be ambiguous there.
    node.data_dir = std::path::absolute(&node.data_dir).unwrap_or(node.data_dir);
    node.listen = listen(node.listen);
    look_up(&mut node).await;
    node
}

/// The default address listens on IPv6 and IPv4 at once; without IPv6, on IPv4.
fn listen(wanted: SocketAddr) -> SocketAddr {
    if wanted != DEFAULT_LISTEN || UdpSocket::bind((DEFAULT_LISTEN.ip(), 0)).is_ok() {
        return wanted;
    }
    warn!("this machine has no IPv6; listening on IPv4 alone");
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_LISTEN.port()))
}

/// Resolves all bootstrap peers. An unknown name has no address, which does not keep a node from
/// starting.
async fn look_up(node: &mut NodeConfig) {
    let deadline = tokio::time::Instant::now() + LOOKUP_DEADLINE;
    for peer in &mut node.bootstrap {
        let name = &peer.name;
        match tokio::time::timeout_at(deadline, tokio::net::lookup_host(name)).await {
            Ok(Ok(found)) => peer.addresses.extend(found),
            Ok(Err(error)) => {
                warn!(peer = name, %error, "cannot resolve the name of a bootstrap peer")
            }
            Err(_) => warn!(peer = name, "resolving the name of a bootstrap peer timed out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tesseras_node::BootstrapPeer;

    use super::*;

    fn config(peers: &[&str]) -> NodeConfig {
        let mut node = NodeConfig::new("/d", SocketAddr::from(([127, 0, 0, 1], 0)));
        let peer = |name: &&str| BootstrapPeer { name: (*name).to_owned(), addresses: vec![] };
        node.bootstrap = peers.iter().map(peer).collect();
        node
    }

    #[tokio::test]
    async fn nothing_changes_that_this_machine_need_not_say() {
        assert_eq!(resolve(config(&[])).await, config(&[]));
    }

    #[tokio::test]
    async fn an_unknown_name_has_no_address() {
        let node = resolve(config(&["127.0.0.1:7", "no-such-name.invalid:7"])).await;
        let [known, unknown] = &node.bootstrap[..] else { panic!("both are kept") };
        assert_eq!(known.addresses, ["127.0.0.1:7".parse().expect("an address")]);
        assert_eq!(
            (unknown.name.as_str(), &unknown.addresses),
            ("no-such-name.invalid:7", &vec![])
        );
    }
}
