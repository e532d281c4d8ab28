//! The problems of a node, as data: `tes` has the text and the advice for each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A problem that the operator of a node can solve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code", content = "data")]
pub enum Problem {
    /// The index of the data directory was removed or replaced while the node runs, which stores and
    /// acknowledges nothing until the same files are back, or it is started again.
    IndexGone {
        /// Where it was.
        path: String,
    },
    /// The node's clock differs from its peers' by more than they tolerate.
    ClockOff {
        /// How far it is ahead, in seconds; negative when behind.
        seconds: i64,
        /// How many peers, each in a different network, reported this.
        witnesses: u64,
    },
    /// It knows peers, and none of them can reach it.
    Unreachable,
    /// A bootstrap peer has not answered since the start.
    BootstrapSilent {
        /// Its name in the settings.
        peer: String,
        /// The addresses that were tried.
        addresses: Vec<SocketAddr>,
    },
    /// The name of a bootstrap peer could not be resolved when the node started.
    BootstrapUnknown {
        /// Its name in the settings.
        peer: String,
    },
    /// The disk has less free space than the reserve, so nothing more is accepted.
    DiskReserve {
        /// Free bytes.
        free: u64,
        /// The reserve in bytes.
        reserve: u64,
    },
    /// The space offered to others is used up.
    StorageLimit {
        /// Bytes held.
        used: u64,
        /// Bytes offered.
        limit: u64,
    },
}
