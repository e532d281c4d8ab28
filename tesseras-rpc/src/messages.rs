//! What can be asked of a running node, and what it answers.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::signature::SignaturePair;

/// What `tes` asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How the node is.
    Status,
    /// Whom it knows.
    Peers,
    /// How a tessera is, asked of its holders now.
    TesseraStatus {
        /// Which.
        hash: TesseraHash,
    },
    /// Compute the plan of a capsule in the library, so that its creator can sign it.
    DraftPlan {
        /// Which.
        hash: TesseraHash,
    },
    /// Place a capsule of the library on other nodes.
    Publish {
        /// Which.
        hash: TesseraHash,
        /// The plan's bytes.
        plan: Vec<u8>,
        /// Its creator's signatures over it.
        signatures: SignaturePair,
    },
    /// Bring a tessera into the library.
    Fetch {
        /// Which.
        hash: TesseraHash,
    },
    /// One repair cycle, now.
    Repair {
        /// Of one tessera; of all that are held here, without.
        hash: Option<TesseraHash>,
    },
}

/// How far a long request has come. Sent at most a few times a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in a few words for people.
    pub stage: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 when that is not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Anything else: pieces, nodes, tesserae.
    Items,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One sentence: what failed, and why.
    pub message: String,
    /// What the person can do next.
    pub hint: Option<String>,
}

/// What the node answers when it was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(NodeStatus),
    /// To [`Request::Peers`].
    Peers {
        /// Those in the routing table.
        peers: Vec<PeerInfo>,
    },
    /// To [`Request::TesseraStatus`].
    TesseraStatus(TesseraStatus),
    /// To [`Request::DraftPlan`].
    DraftPlan {
        /// The plan's bytes, to be signed as they are.
        plan: Vec<u8>,
    },
    /// To [`Request::Publish`].
    Published(Published),
    /// To [`Request::Fetch`].
    Fetched(Fetched),
    /// To [`Request::Repair`].
    Repaired(Repaired),
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Who it is.
    pub node_id: NodeId,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The addresses that others have reached it at.
    pub addresses: Vec<SocketAddr>,
    /// Whether any other node has reached it.
    pub reachable: bool,
    /// How many nodes it knows.
    pub peers: u64,
    /// How many pieces it holds for others.
    pub fragments: u64,
    /// Their length together.
    pub bytes: u64,
    /// How much it offers to others, in bytes.
    pub storage_limit: u64,
    /// Why it takes no more pieces now, if it does not.
    pub full: Option<String>,
    /// Its background jobs, a line each.
    pub jobs: Vec<String>,
}

/// A node that another one knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    pub node_id: NodeId,
    /// Where it was reached.
    pub address: SocketAddr,
}

/// How a tessera is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TesseraStatus {
    /// Which.
    pub hash: TesseraHash,
    /// In one word.
    pub state: State,
    /// Its pieces.
    pub fragments: FragmentCount,
    /// Its whole copies, those beside a coded form too.
    pub copies: CopyCount,
    /// How many nodes attested to hold any of it.
    pub holders: u64,
    /// How many of them, the worst ones, may vanish at once.
    pub survives: u64,
    /// Who holds what.
    pub placement: Vec<PlacedPiece>,
    /// What a person should know beyond that.
    pub notes: Vec<String>,
}

/// How a tessera is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// In the library here, and never published.
    Local,
    /// Being published from here right now.
    Publishing,
    /// All pieces are live.
    Healthy,
    /// Readable, but pieces are missing.
    Degraded,
    /// Not readable now.
    Unreachable,
}

/// The pieces of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentCount {
    /// How many there should be: n for a coded form, or the target number of whole copies.
    pub total: u64,
    /// How many distinct fragments (or copies) were attested just now.
    pub live: u64,
    /// How many are needed to read it.
    pub needed: u64,
}

/// The whole copies of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyCount {
    /// How many there should be on the nodes that there are.
    pub total: u64,
    /// How many of these were attested just now.
    pub live: u64,
}

/// A piece and who attested it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedPiece {
    /// An index or `"whole"`.
    pub fragment: Piece,
    /// Who.
    pub node_id: NodeId,
}

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Which.
    pub hash: TesseraHash,
    /// The target number of pieces: n for a coded form, or of whole copies.
    pub fragments: u64,
    /// How many were placed.
    pub placed: u64,
    /// The whole copies, those beside a coded form too.
    pub copies: CopyCount,
    /// On how many nodes.
    pub holders: u64,
    /// How many of them may vanish.
    pub survives: u64,
    /// What a person should know beyond that (crowded neighbourhoods, refusals).
    pub notes: Vec<String>,
}

/// What fetching came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Which.
    pub hash: TesseraHash,
    /// Its title.
    pub title: String,
    /// How many memories.
    pub memories: u64,
    /// How many files.
    pub files: u64,
    /// Their length together.
    pub bytes: u64,
    /// From how many nodes its pieces came; 0 if it was here already.
    pub holders: u64,
}

/// What a repair cycle came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Repaired {
    /// How many tesserae were looked at.
    pub checked: u64,
    /// How many pieces were rebuilt or copied and placed.
    pub restored: u64,
    /// How many known holders did not answer.
    pub unreachable: u64,
    /// What a person should know beyond that.
    pub notes: Vec<String>,
}
