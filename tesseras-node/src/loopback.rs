//! Whole nodes on one machine that make a network of their own, each in a neighbourhood (/24) of
//! its own: what the demo, tests and measurements are built on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::NodeConfig;
use crate::node::Node;

/// How many of the others a node begins with.
const BOOTSTRAP: usize = 3;
/// The pause between two looks whether all nodes know each other.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the node of this number listens: 127.0.`number`.1, at a port that the system chooses. Only
/// Linux has all of 127.0.0.0/8; elsewhere nodes share [`Ipv4Addr::LOCALHOST`].
pub fn address(number: u8) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(127, 0, number, 1), 0))
}

/// The default settings of a node at [`address`], which begins with a few of the others.
pub fn config(
    data_dir: &Path,
    number: u8,
    others: impl IntoIterator<Item = SocketAddr>,
) -> NodeConfig {
    let mut config = NodeConfig::new(data_dir, address(number));
    config.bootstrap = others.into_iter().take(BOOTSTRAP).collect();
    config
}

/// Waits until each of these nodes knows at least so many others; `false` if that takes longer than
/// the deadline.
pub async fn acquainted<'a>(
    nodes: impl IntoIterator<Item = &'a Node>,
    others: usize,
    deadline: Duration,
) -> bool {
    let end = Instant::now() + deadline;
    for node in nodes {
        while node.dht().peers().await.len() < others {
            if Instant::now() > end {
                return false;
            }
            sleep(LOOK_EVERY).await;
        }
    }
    true
}
