//! The answers of a node. The requests are in [`crate::calls`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tesseras_core::code::Piece;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::publication::PublicationState;

use crate::job::JobReport;
use crate::problem::Problem;

/// The status of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: NodeId,
    /// The address on which it listens for other nodes.
    pub listen: SocketAddr,
    /// The addresses at which other nodes have reached it.
    pub addresses: Vec<SocketAddr>,
    /// Whether any other node has reached it.
    pub reachable: bool,
    /// How many nodes it knows.
    pub peers: u64,
    /// How many others it remembers that did not answer lately.
    #[serde(default)]
    pub silent_peers: u64,
    /// How many pieces it holds for others.
    pub fragments: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// How many of them are known to be damaged; repair replaces them.
    pub damaged: u64,
    /// The storage offered to others, in bytes.
    pub storage_limit: u64,
    /// By how many seconds its clock is ahead of its peers' clocks, negative when behind; `None` if
    /// the difference is tolerated, or no peer could be asked.
    pub clock_offset_seconds: Option<i64>,
    /// Problems that need the operator, the worst first.
    pub problems: Vec<Problem>,
    /// Its background jobs.
    pub jobs: Vec<JobReport>,
    /// The capsules in its library, newest first.
    pub tesserae: Vec<TesseraGlance>,
}

/// A summary of a capsule of the library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TesseraGlance {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its title.
    pub title: String,
    /// Its current state.
    pub state: TesseraState,
    /// Its pieces, as of the last check.
    pub fragments: FragmentCount,
    /// How many holders could fail without loss, as of the last check.
    pub survives: u64,
    /// The date of the last check, RFC 3339; `None` if there was none since the node started.
    pub checked: Option<String>,
}

/// The nodes in a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// In no particular order.
    pub peers: Vec<PeerInfo>,
}

/// A node of a routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its id.
    pub node_id: NodeId,
    /// The address at which it was reached.
    pub address: SocketAddr,
}

/// The status of a tessera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TesseraStatus {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its state.
    pub state: TesseraState,
    /// Its pieces.
    pub fragments: FragmentCount,
    /// Its whole copies, including those in addition to a coded form.
    pub copies: CopyCount,
    /// How many nodes attested that they hold a piece of it.
    pub holders: u64,
    /// How many of them, chosen as the worst case, can fail at once without loss.
    pub survives: u64,
    /// How many holders do not answer, if the other nodes lack nothing and repair can do nothing;
    /// otherwise 0.
    pub only_silent: u64,
    /// Every attested piece with its holder.
    pub placement: Vec<PieceLocation>,
    /// Whether the library of the answering node also has a whole copy.
    pub in_library: bool,
    /// The last repair that the answering node did, or of which it was given pieces.
    pub last_repair: Option<Box<LastRepair>>,
    /// The repair that waits for its turn on the answering node.
    pub repair_due: Option<Box<RepairDue>>,
    /// More that the user should know, as sentences.
    pub notes: Vec<String>,
}

/// The last repair of a tessera, as far as the answering node knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRepair {
    /// The node that did it.
    pub node_id: NodeId,
    /// Whether that is the answering node.
    pub here: bool,
    /// When, as RFC 3339 in UTC.
    pub date: String,
    /// How many pieces were restored; if another node did it, how many it gave to this one.
    pub pieces: u64,
    /// How many holders did not answer; 0 if another node did it.
    pub silent: u64,
    /// Why: `asked`, `endangered` or `turn`; nothing if another node did it.
    pub reason: Option<RepairReason>,
}

/// Why a node repaired a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairReason {
    /// Someone asked for it.
    Asked,
    /// It might have been lost soon.
    Endangered,
    /// It was due, and that node's turn.
    Turn,
}

/// A repair that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairDue {
    /// Since when the answering node knows that it is due, as RFC 3339 in UTC.
    pub since: String,
    /// When the answering node does it, if no other node has by then; as RFC 3339 in UTC.
    pub at: String,
    /// The node whose turn is the first; nothing if it is the answering node.
    pub steward: Option<NodeId>,
}

/// The state of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TesseraState {
    /// Created on this node and not published.
    Local,
    /// Being published by this node, possibly in the background.
    Publishing,
    /// All pieces are live.
    Healthy,
    /// Readable, but pieces are missing.
    Degraded,
    /// At the moment not readable from its holders.
    Unreachable,
    /// Not checked in time: the numbers are older.
    Unchecked,
}

/// The number of pieces of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentCount {
    /// The target: n for a coded form, otherwise the target number of whole copies.
    pub total: u64,
    /// How many distinct fragments (or copies) were attested in this check.
    pub live: u64,
    /// How many are needed to read the tessera.
    pub needed: u64,
}

/// The number of whole copies of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyCount {
    /// The target, given the number of known nodes.
    pub total: u64,
    /// How many of them were attested in this check.
    pub live: u64,
}

/// A piece and the node that attested it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceLocation {
    /// The index of a fragment, or `"whole"`.
    pub fragment: Piece,
    /// Its id.
    pub node_id: NodeId,
}

/// A plan for its creator to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftedPlan {
    /// The bytes of the plan; exactly these are signed.
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
    /// The whole copies, including those in addition to a coded form.
    pub copies: CopyCount,
    /// The number of nodes that hold them.
    pub holders: u64,
    /// How many of these nodes can fail at once without loss.
    pub survives: u64,
    /// More that the user should know (crowded neighbourhoods, refusals), as sentences.
    pub notes: Vec<String>,
}

/// The progress of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationReply {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its state.
    pub state: PublicationState,
    /// How many pieces other nodes have acknowledged. These cannot be recalled.
    pub placed: u64,
}

/// Result of fetching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReply {
    /// The tessera's hash.
    pub hash: TesseraHash,
    /// Its title.
    pub title: String,
    /// The number of its memories.
    pub memories: u64,
    /// The number of its files.
    pub files: u64,
    /// Their total length in bytes.
    pub bytes: u64,
    /// The number of nodes that sent pieces; 0 if they were all here.
    pub holders: u64,
    /// Whether it was in the library already.
    pub already: bool,
}

/// Result of a repair cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RepairReply {
    /// How many tesserae were checked.
    pub checked: u64,
    /// How many pieces were rebuilt or copied and placed.
    pub restored: u64,
    /// How many pieces are still missing; the notes say why.
    pub missing: u64,
    /// How many tesserae could not be checked or repaired; the notes say why.
    pub failed: u64,
    /// How many pieces held by this node are damaged on its disk.
    pub damaged: u64,
    /// How many of these were replaced.
    pub replaced: u64,
    /// How many known holders did not answer, each counted once.
    pub unreachable: u64,
    /// More that the user should know, as sentences.
    pub notes: Vec<String>,
}

/// Result of re-reading everything that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ScrubReply {
    /// How many stored files were read.
    pub checked: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many did not match their hash.
    pub corrupt: u64,
    /// How many of these were replaced by sound ones.
    pub repaired: u64,
    /// How many could not be read, which says nothing about them; the notes say why.
    pub failed: u64,
    /// Those that are damaged now; at most 1000.
    pub damaged: Vec<DamagedFile>,
    /// More that the user should know, as sentences.
    pub notes: Vec<String>,
}

/// A stored file that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedFile {
    /// Where it is; it is left there until it is replaced.
    pub path: String,
    /// What it is for.
    pub of: Vec<DamagedUse>,
}

/// A use of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedUse {
    /// The tessera.
    pub hash: TesseraHash,
    /// What it is of the tessera.
    pub part: DamagedPart,
}

/// What a stored file is of a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedPart {
    /// A piece held for others.
    Piece(Piece),
    /// The MANIFEST beside pieces or a plan.
    Manifest,
    /// Part of a capsule in the library.
    Capsule,
}
