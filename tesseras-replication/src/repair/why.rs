//! Why this node repairs a tessera, for its log and for its records.

use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{RepairReason, RepairRecord};
use tesseras_core::time::Timestamp;

use super::Repaired;
use crate::policy::steward::Turn;
use crate::policy::urgency::Urgency;

/// Why this node repairs a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Someone asked for it.
    Asked,
    /// It may be lost soon.
    Endangered,
    /// It was due, and this node's turn.
    Turn(Turn),
}

impl Why {
    pub(super) fn of(urgency: Urgency, turn: Option<Turn>) -> Self {
        match turn {
            None => Self::Asked,
            Some(_) if urgency == Urgency::Now => Self::Endangered,
            Some(turn) => Self::Turn(turn),
        }
    }

    /// Logs what a repair has done, of which so many pieces were wanted.
    pub(super) fn log(self, tessera: TesseraHash, wanted: usize, done: &Repaired) {
        let Repaired { restored, missing, .. } = done;
        let gone = done.unreachable.len();
        match self {
            Self::Asked => {
                tracing::info!(%tessera, wanted, restored, missing, "repaired: it was asked for");
            }
            Self::Endangered => {
                tracing::info!(%tessera, gone, wanted, restored, missing, "repaired: endangered");
            }
            Self::Turn(Turn { rank, since, .. }) => {
                let due_since = since.0;
                tracing::info!(
                    %tessera, rank, due_since, gone, wanted, restored, missing,
                    "repaired: it was this node's turn"
                );
            }
        }
    }

    /// What is recorded of a repair by a node.
    pub(super) fn record(self, by: NodeId, at: Timestamp, done: &Repaired) -> RepairRecord {
        let reason = match self {
            Self::Asked => RepairReason::Asked,
            Self::Endangered => RepairReason::Endangered,
            Self::Turn(_) => RepairReason::Turn,
        };
        RepairRecord {
            by,
            at,
            pieces: done.restored as u64,
            silent: done.unreachable.len() as u64,
            reason: Some(reason),
        }
    }
}
