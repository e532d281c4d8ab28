//! What is wrong with a node, as data: `tes` finds the words, and says what to do.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What an operator can do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "code", content = "data")]
pub enum Problem {
    /// The node's clock differs from its peers' by more than they tolerate.
    ClockOff {
        /// How far it is ahead, in seconds; negative when behind.
        seconds: i64,
        /// How many peers, each of another network, said so.
        witnesses: u64,
    },
    /// It knows peers, and none of them can reach it.
    Unreachable,
    /// A bootstrap peer has not answered since the start.
    BootstrapSilent {
        /// As it was written in the settings.
        peer: String,
        /// The addresses that were tried.
        addresses: Vec<SocketAddr>,
    },
    /// The name of a bootstrap peer was not known when the node started.
    BootstrapUnknown {
        /// As it was written in the settings.
        peer: String,
    },
    /// The disk has less free space than is to stay free, so nothing more is taken.
    DiskReserve {
        /// Free bytes.
        free: u64,
        /// How many are to stay free.
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
