//! Repair: holders replace missing pieces, without the owner.
//!
//! `tessera` repairs one: `look` asks its holders, `stewardship` decides whether it waits for its turn,
//! `prepare` collects and rebuilds. `round` goes over many, `postponed` over those whose turn has come.

mod look;
mod postponed;
mod prepare;
mod round;
mod stewardship;
mod tessera;
mod why;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::StoreError;
use thiserror::Error;

use crate::clock::ClockOff;
use crate::collect::CollectError;
use crate::holder::Holder;
use crate::library::Library;
use crate::peers::Peers;
use crate::policy::agenda::Agenda;
use crate::policy::routine::RepairConfig;
use crate::ports::Directory;
use crate::throttle::{Throttle, Waited};
use crate::workshop::Workshop;

/// The deadline for one tessera, however many are repaired at once. The time for which it waits for
/// bandwidth does not count.
pub const REPAIR_DEADLINE: Duration = Duration::from_secs(60 * 60);

/// The result of checking and repairing one tessera.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many pieces were rebuilt or copied and have a holder again.
    pub restored: usize,
    /// The known holders that did not answer. The same nodes may be counted for several tesserae.
    pub unreachable: BTreeSet<NodeId>,
    /// How many pieces are still missing.
    pub missing: usize,
    /// How many of these are left for a later repair: holders that were seen lately may come back,
    /// or it waits for its turn.
    pub waiting: usize,
    /// Why pieces are still missing, as messages for people; not empty if any are.
    pub refusals: Vec<String>,
}

/// Why a tessera could not be repaired.
#[derive(Debug, Error)]
pub enum RepairError {
    /// This node's clock seems wrong, and no other node's attestation was valid: perhaps nothing
    /// is missing.
    #[error(transparent)]
    ClockOff(#[from] ClockOff),
    /// It is neither held nor published here.
    #[error("{0} is neither held nor published by this node")]
    NotHeld(TesseraHash),
    /// Its owner has not published it, or has cancelled.
    #[error("{0} is not published")]
    NotPublished(TesseraHash),
    /// The dossier kept here is damaged, and no other holder returned it.
    #[error("the description of {0} kept here is damaged, and no other node has it now")]
    DamagedDossier(TesseraHash),
    /// The remaining pieces do not suffice, or cannot be obtained now.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// It took longer than [`REPAIR_DEADLINE`].
    #[error("the repair of {0} took too long; prepared pieces are kept for the next attempt")]
    Deadline(TesseraHash),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The collaborators of repair: what is held and published here, the workbench, and the services
/// that reach other nodes.
#[derive(Clone, Copy)]
pub(crate) struct Repairer<'a> {
    pub(crate) peers: &'a Peers,
    pub(crate) holder: &'a Holder,
    pub(crate) library: &'a Library,
    pub(crate) workshop: &'a Workshop,
    pub(crate) directory: &'a dyn Directory,
    pub(crate) throttle: &'a Throttle,
    /// The settings of routine repairs.
    pub(crate) config: &'a RepairConfig,
    /// The tesserae whose repair waits for its turn.
    pub(crate) agenda: &'a Mutex<Agenda>,
}

/// What makes a node look at a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// Someone asked for the repair: all that is missing is replaced at once.
    Asked,
    /// A round: what is not urgent waits for its turn.
    Round,
    /// Its turn has come.
    Turn,
}

/// How one tessera is repaired.
#[derive(Clone, Copy)]
pub(crate) struct Effort<'a> {
    pub(crate) occasion: Occasion,
    /// For how long it has waited for bandwidth.
    pub(crate) waited: &'a Waited,
}
