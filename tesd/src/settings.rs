//! The one place where `tesd`'s configuration becomes the node's.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tesseras_node::{BootstrapPeer, NodeConfig};
use tracing::warn;

use crate::config::Config;

/// How long to wait for DNS.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
const MIB: u64 = 1024 * 1024;

/// The node's configuration; names of peers are looked up.
pub async fn resolve(config: Config) -> NodeConfig {
    let Config { node, bootstrap, dht, replication, performance, observability } = config;
    // Errors and hints name the directory; a relative path would say too little there.
    let data_dir = std::path::absolute(&node.data_dir).unwrap_or(node.data_dir);
    let mut out = NodeConfig::new(data_dir, listen(node.listen));
    out.advertise = node.advertise;
    out.bootstrap_peers = look_up(&bootstrap.peers).await;
    out.bootstrap = out.bootstrap_peers.iter().flat_map(|peer| &peer.addresses).copied().collect();
    out.work_bits = node.work_bits;
    out.limits.storage = node.storage_limit;
    out.limits.min_free_space = replication.min_free_space;
    out.limits.per_peer = replication.per_peer_limit;
    out.limits.deficit_allowance = replication.deficit_allowance;
    out.limits.repair_share = percent(node.storage_limit, replication.repair_share_percent);
    out.max_transfers = replication.max_transfers;
    out.repair_interval = replication.repair_interval;
    out.repair_jitter = replication.repair_jitter;
    out.dht.k = dht.k;
    out.dht.alpha = dht.alpha;
    out.rate_limit.requests_per_second = dht.requests_per_second;
    out.pool.max_connections = performance.pool_max_connections;
    out.pool.idle_timeout = performance.pool_idle_timeout;
    out.pool.reaper_interval = performance.pool_reaper_interval;
    out.storage.cache_size_kb = performance.sqlite_cache_size_kb;
    out.storage.synchronous_full = performance.sqlite_synchronous_full;
    out.storage.busy_timeout = performance.sqlite_busy_timeout;
    out.storage.wal_autocheckpoint_pages = performance.sqlite_wal_autocheckpoint_pages;
    out.fragment_cache = performance.fragment_cache_size_mb * MIB;
    out.metrics = observability.metrics_addr;
    out
}

fn percent(of: u64, percent: u8) -> u64 {
    let share = u128::from(of) * u128::from(percent) / 100;
    u64::try_from(share).unwrap_or(of)
}

/// The default address listens on IPv6 and IPv4 at once; where there is no IPv6, on IPv4.
fn listen(wanted: SocketAddr) -> SocketAddr {
    let default = Config::default().node.listen;
    if wanted != default || UdpSocket::bind((default.ip(), 0)).is_ok() {
        return wanted;
    }
    warn!("this machine has no IPv6; listening on IPv4 alone");
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, default.port()))
}

/// All peers and their addresses; none of those whose names are not known, which does not keep a
/// node from starting.
async fn look_up(peers: &[String]) -> Vec<BootstrapPeer> {
    let mut all = Vec::new();
    let deadline = tokio::time::Instant::now() + LOOKUP_DEADLINE;
    for peer in peers {
        let mut addresses = Vec::new();
        match tokio::time::timeout_at(deadline, tokio::net::lookup_host(peer)).await {
            Ok(Ok(found)) => addresses.extend(found),
            Ok(Err(error)) => warn!(peer, %error, "a bootstrap peer's name is not known"),
            Err(_) => warn!(peer, "a bootstrap peer's name was not looked up in time"),
        }
        all.push(BootstrapPeer { name: peer.clone(), addresses });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_defaults_here_are_the_defaults_of_the_node() {
        let mut config = Config::default();
        config.node.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let resolved = resolve(config.clone()).await;
        let node = NodeConfig::new(config.node.data_dir, config.node.listen);
        assert_eq!(format!("{resolved:?}"), format!("{node:?}"));
    }

    #[tokio::test]
    async fn an_unknown_name_has_no_address() {
        let peers = ["127.0.0.1:7".to_owned(), "no-such-name.invalid:7".to_owned()];
        let [known, unknown] = &look_up(&peers).await[..] else { panic!("both are kept") };
        assert_eq!(known.addresses, ["127.0.0.1:7".parse().expect("an address")]);
        assert_eq!((&unknown.name, &unknown.addresses), (&peers[1], &vec![]));
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(percent(u64::MAX, 100), u64::MAX);
        assert_eq!(percent(10, 50), 5);
    }
}
