//! What a node answers. What can be asked is in [`crate::calls`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::publication::PublicationState;

use crate::job::JobReport;
use crate::problem::Problem;

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
    /// How many seconds its clock is ahead of its peers', negative when behind; `None` if it is
    /// in order, or nobody could be asked.
    pub clock_offset_seconds: Option<i64>,
    /// What its operator should do something about, the worst first.
    pub problems: Vec<Problem>,
    /// Its background jobs.
    pub jobs: Vec<JobReport>,
    /// The capsules in its library, newest first.
    pub tesserae: Vec<TesseraGlance>,
}

/// A capsule of the library at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TesseraGlance {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its title.
    pub title: String,
    /// In one word, as of now.
    pub state: TesseraState,
    /// Its pieces, as they were when it was last checked.
    pub fragments: FragmentCount,
    /// How many of its holders might have vanished then.
    pub survives: u64,
    /// When its holders were last asked, RFC 3339; absent if they were not since the node started.
    pub checked: Option<String>,
}

/// The nodes in a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// In no order.
    pub peers: Vec<PeerInfo>,
}

/// A node that another one knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The node.
    pub node_id: NodeId,
    /// Where it was reached.
    pub address: SocketAddr,
}

/// How a tessera is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TesseraStatus {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// In one word.
    pub state: TesseraState,
    /// Its pieces.
    pub fragments: FragmentCount,
    /// Its whole copies, those beside a coded form too.
    pub copies: CopyCount,
    /// How many nodes attested to hold any of it.
    pub holders: u64,
    /// How many of them, the worst ones, may vanish at once.
    pub survives: u64,
    /// Who holds what.
    pub placement: Vec<PieceLocation>,
    /// Whether a whole copy is in the library of the node that was asked, too.
    pub in_library: bool,
    /// What a person should know beyond that.
    pub notes: Vec<String>,
}

/// How a tessera is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TesseraState {
    /// Made here, and not published.
    Local,
    /// Being published from here, in the background perhaps.
    Publishing,
    /// All pieces are live.
    Healthy,
    /// Readable, but pieces are missing.
    Degraded,
    /// Not readable from its holders now.
    Unreachable,
    /// Its holders were not asked in time: what is told of it is older.
    Unchecked,
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
pub struct PieceLocation {
    /// An index or `"whole"`.
    pub fragment: Piece,
    /// The node.
    pub node_id: NodeId,
}

/// A plan that waits for its creator's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftedPlan {
    /// The plan's bytes, to be signed as they are.
    pub plan: Vec<u8>,
}

/// Result of publishing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishReply {
    /// The tessera's hash.
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

/// How far a tessera is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationReply {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// How far.
    pub state: PublicationState,
    /// How many pieces other nodes have acknowledged. Nobody can call them back.
    pub placed: u64,
}

/// Result of fetching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReply {
    /// The tessera's hash.
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

/// Result of a repair cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RepairReply {
    /// How many tesserae were looked at.
    pub checked: u64,
    /// How many pieces were rebuilt or copied and placed.
    pub restored: u64,
    /// How many known holders did not answer, each counted once.
    pub unreachable: u64,
    /// What a person should know beyond that.
    pub notes: Vec<String>,
}
