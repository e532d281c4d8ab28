//! What this node does for `tes`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_capsule::rfc_3339;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::words::count;
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_replication::collect::CollectError;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::overview::Glance;
use tesseras_replication::progress::{OnStep, Step};
use tesseras_replication::publication::PublicationReport;
use tesseras_replication::publish::PublishError;
use tesseras_replication::repair::RepairError;
use tesseras_replication::seen::Seen;
use tesseras_replication::status::{Copies, State, StatusError, TesseraHealth};
use tesseras_rpc::messages;
use tesseras_rpc::messages::{
    CopyCount, Failure, Fetched, FragmentCount, NodeStatus, PeerInfo, PlacedPiece, Published,
    Repaired, Request, Response, SignedPlan, TesseraGlance, TesseraStatus,
};
use tesseras_rpc::{BoxFuture, Handler, ProgressSink};

use crate::causes;
use crate::config::BootstrapPeer;
use crate::jobs::JobBoard;
use crate::problems::{Space, problems};

/// How long an overview waits for holders; what was not checked then says so.
const OVERVIEW_PATIENCE: Duration = Duration::from_secs(15);

/// Answers `tes`.
pub struct Requests {
    /// Who this node is.
    pub id: NodeId,
    /// Where it listens.
    pub listen: std::net::SocketAddr,
    /// Who knows nodes.
    pub dht: Dht,
    /// Who knows pieces.
    pub replication: Replication,
    /// How the background jobs are.
    pub board: JobBoard,
    /// Bytes offered to others.
    pub storage_limit: u64,
    /// Bytes that stay free on the disk.
    pub min_free_space: u64,
    /// How the bootstrap peers were written in the settings.
    pub bootstrap_peers: Vec<BootstrapPeer>,
}

impl Handler for Requests {
    fn handle(
        &self,
        request: Request,
        progress: ProgressSink,
    ) -> BoxFuture<'_, Result<Response, Failure>> {
        Box::pin(async move {
            let on_step = on_step(progress);
            match request {
                Request::Status => self.status().await.map(Response::Status),
                Request::Peers => Ok(Response::Peers { peers: self.peers().await }),
                Request::TesseraStatus { hash } => {
                    self.tessera_status(hash).await.map(Response::TesseraStatus)
                }
                Request::DraftPlan { hash } => {
                    let plan = self.replication.draft_plan(hash, &on_step).await;
                    plan.map(|plan| Response::DraftPlan { plan }).map_err(publish_failure)
                }
                Request::Publish { hash, signed } => {
                    let done = match signed {
                        Some(SignedPlan { plan, signatures }) => {
                            self.replication.publish(hash, plan, signatures, &on_step).await
                        }
                        None => self.replication.publish_signed(hash, &on_step).await,
                    };
                    done.map(|d| Response::Published(published(hash, d))).map_err(publish_failure)
                }
                Request::PublishInBackground { hash, signed } => {
                    let signed = signed.map(|signed| (signed.plan, signed.signatures));
                    let begun = self.replication.publish_later(hash, signed).await;
                    let report = begun.map_err(publish_failure)?;
                    Ok(Response::Publication(publication(hash, report)))
                }
                Request::StopPublication { hash, unpublish } => {
                    let stopped = self.replication.stop_publication(hash, unpublish).await;
                    let report = stopped.map_err(failed)?;
                    Ok(Response::Publication(publication(hash, report)))
                }
                Request::Fetch { hash } => self.fetch(hash, &on_step).await.map(Response::Fetched),
                Request::Repair { hash } => {
                    self.repair(hash, &on_step).await.map(Response::Repaired)
                }
            }
        })
    }
}

impl Requests {
    async fn status(&self) -> Result<NodeStatus, Failure> {
        let status = self.dht.status().await.ok_or_else(stopping)?;
        let stores = self.replication.stores().clone();
        let read = tokio::task::spawn_blocking(move || {
            Ok::<_, tesseras_core::ports::StoreError>((
                stores.fragments.totals()?,
                stores.blobs.free_bytes()?,
            ))
        });
        let ((fragments, bytes), free) = read.await.map_err(failed)?.map_err(failed)?;
        let (reserve, limit) = (self.min_free_space, self.storage_limit);
        let space = Space { free, reserve, used: bytes, limit };
        let clock_off = status.clock.filter(|offset| offset.is_off());
        Ok(NodeStatus {
            clock_offset_seconds: clock_off.map(|offset| offset.seconds),
            problems: problems(&status, &self.bootstrap_peers, space),
            node_id: self.id,
            listen: self.listen,
            reachable: status.reachable,
            addresses: if status.reachable { status.addresses } else { Vec::new() },
            peers: status.peers as u64,
            fragments,
            bytes,
            storage_limit: self.storage_limit,
            jobs: self.board.lines(),
            tesserae: self.overview().await?,
        })
    }

    async fn overview(&self) -> Result<Vec<TesseraGlance>, Failure> {
        let glances = self.replication.overview(OVERVIEW_PATIENCE).await.map_err(failed)?;
        Ok(glances.into_iter().map(glance).collect())
    }

    async fn peers(&self) -> Vec<PeerInfo> {
        let peers = self.dht.peers().await.into_iter();
        peers
            .filter_map(|c| Some(PeerInfo { node_id: c.id, address: *c.addresses.first()? }))
            .collect()
    }

    async fn tessera_status(&self, hash: TesseraHash) -> Result<TesseraStatus, Failure> {
        match self.replication.status(hash).await.map_err(status_failure)? {
            Some(health) => Ok(tessera_status(hash, &health)),
            None => Err(Failure::new(format!(
                "no node is known to hold {hash}, and it is not stored here"
            ))
            .with_hint("check the hash, and that this node knows peers (tes peers)")),
        }
    }

    async fn fetch(&self, hash: TesseraHash, on_step: &OnStep) -> Result<Fetched, Failure> {
        let fetched = self.replication.fetch(hash, on_step).await.map_err(fetch_failure)?;
        let record = fetched.record;
        Ok(Fetched {
            hash,
            title: record.title,
            memories: record.memories,
            files: record.files,
            bytes: record.bytes,
            holders: fetched.holders as u64,
        })
    }

    async fn repair(
        &self,
        hash: Option<TesseraHash>,
        on_step: &OnStep,
    ) -> Result<Repaired, Failure> {
        let tesserae = match hash {
            Some(hash) => vec![hash],
            None => self.replication.looked_after().await.map_err(failed)?,
        };
        let mut all = Repaired::default();
        let mut unreachable = BTreeSet::new();
        let mut put_off = Vec::new();
        let asked = tesserae.len();
        let mut each = self.replication.repair_each(tesserae, on_step.clone());
        while let Some((tessera, result)) = each.next().await {
            all.checked += 1;
            match result {
                Ok(done) => {
                    all.restored += done.restored as u64;
                    unreachable.extend(done.unreachable);
                    if done.missing > 0 {
                        let why = done.refusals.join("; ");
                        let missing = count(done.missing as u64, "piece is", "pieces are");
                        all.notes.push(format!("{tessera}: {missing} still missing ({why})"));
                    }
                }
                Err(error @ (RepairError::NotHeld(_) | RepairError::NotPublished(_)))
                    if hash.is_some() =>
                {
                    return Err(
                        failed(error).with_hint("a node repairs what it holds or has published")
                    );
                }
                Err(error) => {
                    all.notes.push(format!("{tessera}: {error}"));
                    if let RepairError::ClockOff(off) = error {
                        put_off.push(off);
                    }
                }
            }
        }
        if let Some(off) = put_off.first()
            && put_off.len() == asked
        {
            return Err(failed(off).because(causes::of_clock(off)));
        }
        all.unreachable = unreachable.len() as u64;
        Ok(all)
    }
}

fn on_step(progress: ProgressSink) -> OnStep {
    Arc::new(move |Step { stage, done, total, bytes }| {
        if bytes {
            progress.bytes(stage, done, total);
        } else {
            progress.items(stage, done, total);
        }
    })
}

fn publication(hash: TesseraHash, report: PublicationReport) -> messages::PublicationReport {
    let PublicationReport { state, placed } = report;
    messages::PublicationReport { hash, state, placed: placed as u64 }
}

fn glance(glance: Glance) -> TesseraGlance {
    let Glance { hash, title, state, seen } = glance;
    let figure = |of: fn(&Seen) -> usize| seen.as_ref().map_or(0, of) as u64;
    TesseraGlance {
        hash,
        title,
        state: state.map_or(messages::State::Unchecked, told),
        fragments: FragmentCount {
            total: figure(|seen| seen.total),
            live: figure(|seen| seen.live),
            needed: figure(|seen| seen.needed),
        },
        survives: figure(|seen| seen.survives),
        checked: seen.and_then(|seen| rfc_3339(i64::try_from(seen.checked.0).ok()?, 0)),
    }
}

fn told(state: State) -> messages::State {
    match state {
        State::Local => messages::State::Local,
        State::Publishing => messages::State::Publishing,
        State::Healthy => messages::State::Healthy,
        State::Degraded => messages::State::Degraded,
        State::Unreachable => messages::State::Unreachable,
    }
}

fn tessera_status(hash: TesseraHash, health: &TesseraHealth) -> TesseraStatus {
    let mut notes = Vec::new();
    if health.crowded {
        notes.push("more than two holders share a network (/24 or /48)".to_owned());
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
        placement: pieces(&health.placement),
        in_library: health.in_library,
        notes,
    }
}

fn copy_count(copies: Copies) -> CopyCount {
    CopyCount { total: copies.total as u64, live: copies.live as u64 }
}

fn pieces(placement: &Placement) -> Vec<PlacedPiece> {
    let mut pieces: Vec<PlacedPiece> = placement
        .iter()
        .flat_map(|(id, held)| {
            held.iter().map(|piece| PlacedPiece { fragment: *piece, node_id: *id })
        })
        .collect();
    pieces.sort_by_key(|placed| placed.fragment);
    pieces
}

fn published(hash: TesseraHash, done: tesseras_replication::publish::Published) -> Published {
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
    Published {
        hash,
        fragments: done.fragments as u64,
        placed: done.placed as u64,
        copies: copy_count(done.copies),
        holders: done.holders as u64,
        survives: done.survives as u64,
        notes,
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

fn stopping() -> Failure {
    Failure::new("the node is stopping")
}

fn publish_failure(error: PublishError) -> Failure {
    let message = error.to_string();
    let cause = causes::of_publish(&error);
    let hint = match error {
        PublishError::NobodyEligible { causes, .. } | PublishError::NoRoom { causes, .. } => {
            Some(crate::room::hint(&causes))
        }
        PublishError::TooFew { causes, .. } => Some(format!(
            "{}; nothing more goes on by itself unless you left it to the background; publishing \
             again begins with what was placed",
            crate::room::hint(&causes)
        )),
        PublishError::NotInLibrary(_) => Some("`tes list` shows what is in the library".to_owned()),
        PublishError::NoSignedPlan(_) => Some(
            "only its creator can publish it first; once it is published, anyone who has fetched \
             it can keep it alive"
                .to_owned(),
        ),
        _ => None,
    };
    Failure { message, hint, cause }
}

fn status_failure(error: StatusError) -> Failure {
    Failure { message: error.to_string(), hint: None, cause: causes::of_status(&error) }
}

fn fetch_failure(error: FetchError) -> Failure {
    let hint = match &error {
        FetchError::NoHolders(_) => Some(
            "check the hash, and that this node knows peers (tes peers); a new holder may need a \
             minute to be found",
        ),
        FetchError::Collect(CollectError::TooFew { .. }) => {
            Some("holders may be back later; fetching again goes on with the pieces that came")
        }
        _ => None,
    };
    let hint = hint.map(str::to_owned);
    Failure { message: error.to_string(), hint, cause: causes::of_fetch(&error) }
}
