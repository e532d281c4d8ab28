//! Converts results of replication into answers to `tes`.

use tesseras_capsule::rfc_3339;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::ports::{self, RepairRecord};
use tesseras_core::time::Timestamp;
use tesseras_core::words::count;
use tesseras_replication::Turn;
use tesseras_replication::overview::Glance;
use tesseras_replication::publication::PublicationReport;
use tesseras_replication::seen::Seen;
use tesseras_replication::status::{Copies, HealthState, TesseraHealth};
use tesseras_rpc::messages::{
    CopyCount, FragmentCount, LastRepair, PieceLocation, PublicationReply, PublishReply, RepairDue,
    RepairReason, TesseraGlance, TesseraState, TesseraStatus,
};

/// The progress of a publication.
pub(crate) fn publication(hash: TesseraHash, report: PublicationReport) -> PublicationReply {
    let PublicationReport { state, placed } = report;
    PublicationReply { hash, state, placed: placed as u64 }
}

/// A summary of a capsule of the library.
pub(crate) fn glance(glance: Glance) -> TesseraGlance {
    let Glance { hash, title, state, seen } = glance;
    let figure = |of: fn(&Seen) -> usize| seen.as_ref().map_or(0, of) as u64;
    TesseraGlance {
        hash,
        title,
        state: state.map_or(TesseraState::Unchecked, told),
        fragments: FragmentCount {
            total: figure(|seen| seen.total),
            live: figure(|seen| seen.live),
            needed: figure(|seen| seen.needed),
        },
        survives: figure(|seen| seen.survives),
        checked: seen.and_then(|seen| rfc_3339(i64::try_from(seen.checked.0).ok()?, 0)),
    }
}

fn told(state: HealthState) -> TesseraState {
    match state {
        HealthState::Local => TesseraState::Local,
        HealthState::Publishing => TesseraState::Publishing,
        HealthState::Healthy => TesseraState::Healthy,
        HealthState::Degraded => TesseraState::Degraded,
        HealthState::Unreachable => TesseraState::Unreachable,
    }
}

/// The status of a tessera.
pub(crate) fn tessera_status(
    hash: TesseraHash,
    health: &TesseraHealth,
    last_repair: Option<LastRepair>,
    repair_due: Option<RepairDue>,
) -> TesseraStatus {
    let mut notes = Vec::new();
    if health.uncounted > 0 {
        let uncounted = count(health.uncounted as u64, "attested piece does", "attested pieces do");
        notes.push(format!(
            "{uncounted} not count in how many holders may be lost: one holder, or several in one \
             network (/24 or /48), attest more than their share, and might vanish together",
        ));
    }
    TesseraStatus {
        hash,
        state: told(health.state),
        fragments: FragmentCount {
            total: health.total as u64,
            live: health.live as u64,
            needed: health.needed as u64,
        },
        copies: copy_count(health.copies),
        holders: health.placement.len() as u64,
        survives: health.survives as u64,
        only_silent: health.only_silent as u64,
        placement: pieces(&health.placement),
        in_library: health.in_library,
        last_repair: last_repair.map(Box::new),
        repair_due: repair_due.map(Box::new),
        notes,
    }
}

/// The last repair that is recorded on the node `me`.
pub(crate) fn last_repair(me: NodeId, repair: RepairRecord) -> Option<LastRepair> {
    let RepairRecord { by, at, pieces, silent, reason } = repair;
    let reason = reason.map(|reason| match reason {
        ports::RepairReason::Asked => RepairReason::Asked,
        ports::RepairReason::Endangered => RepairReason::Endangered,
        ports::RepairReason::Turn => RepairReason::Turn,
    });
    let (node_id, here, date) = (by, by == me, date(at)?);
    Some(LastRepair { node_id, here, date, pieces, silent, reason })
}

/// A repair that waits for its turn.
pub(crate) fn repair_due(turn: Turn) -> Option<RepairDue> {
    let Turn { at, since, steward, .. } = turn;
    Some(RepairDue { since: date(since)?, at: date(at)?, steward })
}

fn date(at: Timestamp) -> Option<String> {
    rfc_3339(i64::try_from(at.0).ok()?, 0)
}

fn copy_count(copies: Copies) -> CopyCount {
    CopyCount { total: copies.total as u64, live: copies.live as u64 }
}

fn pieces(placement: &Placement) -> Vec<PieceLocation> {
    let mut pieces: Vec<PieceLocation> = placement
        .iter()
        .flat_map(|(id, held)| {
            held.iter().map(|piece| PieceLocation { fragment: *piece, node_id: *id })
        })
        .collect();
    pieces.sort_by_key(|placed| placed.fragment);
    pieces
}

/// Result of publishing.
pub(crate) fn published(
    hash: TesseraHash,
    done: tesseras_replication::publish::Published,
) -> PublishReply {
    let mut notes = Vec::new();
    if done.placed < done.fragments {
        let unplaced = (done.fragments - done.placed) as u64;
        notes.push(format!("{} without a holder yet", count(unplaced, "piece is", "pieces are")));
    }
    if done.copies.live < done.copies.total {
        let unplaced = (done.copies.total - done.copies.live) as u64;
        let copies = count(unplaced, "whole copy is", "whole copies are");
        notes.push(format!("{copies} without a holder yet"));
    }
    notes.extend(done.refusals);
    if done.crowded {
        notes.push("more than two holders share a network (/24 or /48)".to_owned());
    }
    PublishReply {
        hash,
        fragments: done.fragments as u64,
        placed: done.placed as u64,
        copies: copy_count(done.copies),
        holders: done.holders as u64,
        survives: done.survives as u64,
        notes,
    }
}
