//! What this node does for `tes`.

use std::sync::Arc;

use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::placement::Placement;
use tesseras_core::words::count;
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_replication::fetch::FetchError;
use tesseras_replication::progress::{OnStep, Step};
use tesseras_replication::publish::PublishError;
use tesseras_replication::repair::RepairError;
use tesseras_replication::status::{State, TesseraHealth};
use tesseras_rpc::messages;
use tesseras_rpc::messages::{
    Failure, Fetched, FragmentCount, NodeStatus, PeerInfo, PlacedPiece, Published, Repaired,
    Request, Response, TesseraStatus,
};
use tesseras_rpc::{BoxFuture, Handler, ProgressSink};

use crate::jobs::JobBoard;

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
                Request::Publish { hash, plan, signatures } => {
                    let done = self.replication.publish(hash, plan, signatures, &on_step).await;
                    done.map(|d| Response::Published(published(hash, d))).map_err(publish_failure)
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
        let full = if free < self.min_free_space {
            Some("the disk's reserve is reached".to_owned())
        } else if bytes >= self.storage_limit {
            Some("the space offered to others is used up".to_owned())
        } else {
            None
        };
        Ok(NodeStatus {
            node_id: self.id,
            listen: self.listen,
            reachable: status.reachable,
            addresses: if status.reachable { status.addresses } else { Vec::new() },
            peers: status.peers as u64,
            fragments,
            bytes,
            storage_limit: self.storage_limit,
            full,
            jobs: self.board.lines(),
        })
    }

    async fn peers(&self) -> Vec<PeerInfo> {
        let peers = self.dht.peers().await.into_iter();
        peers
            .filter_map(|c| Some(PeerInfo { node_id: c.id, address: *c.addresses.first()? }))
            .collect()
    }

    async fn tessera_status(&self, hash: TesseraHash) -> Result<TesseraStatus, Failure> {
        match self.replication.status(hash).await.map_err(failed)? {
            Some(health) => Ok(tessera_status(hash, &health)),
            None => Err(Failure {
                message: format!("no node is known to hold {hash}, and it is not stored here"),
                hint: Some("check the hash, and that this node knows peers (tes peers)".to_owned()),
            }),
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
        for tessera in &tesserae {
            all.checked += 1;
            match self.replication.repair(*tessera, on_step).await {
                Ok(done) => {
                    all.restored += done.restored as u64;
                    all.unreachable += done.unreachable as u64;
                    if done.missing > 0 {
                        let why = done.refusals.join("; ");
                        let missing = count(done.missing as u64, "piece is", "pieces are");
                        all.notes.push(format!("{tessera}: {missing} still missing ({why})"));
                    }
                }
                Err(error @ RepairError::NotHeld(_)) if hash.is_some() => {
                    return Err(Failure {
                        message: error.to_string(),
                        hint: Some("a node repairs what it holds or has published".to_owned()),
                    });
                }
                Err(error) => all.notes.push(format!("{tessera}: {error}")),
            }
        }
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

fn tessera_status(hash: TesseraHash, health: &TesseraHealth) -> TesseraStatus {
    let mut notes = Vec::new();
    if health.crowded {
        notes.push("more than two holders share a network (/24 or /48)".to_owned());
    }
    TesseraStatus {
        hash,
        state: match health.state {
            State::Local => messages::State::Local,
            State::Publishing => messages::State::Publishing,
            State::Healthy => messages::State::Healthy,
            State::Degraded => messages::State::Degraded,
            State::Unreachable => messages::State::Unreachable,
        },
        fragments: FragmentCount {
            total: health.total as u64,
            live: health.live as u64,
            needed: health.needed as u64,
        },
        holders: health.placement.len() as u64,
        survives: health.survives as u64,
        placement: pieces(&health.placement),
        notes,
    }
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
        notes.extend(done.refusals);
    }
    if done.crowded {
        notes.push("more than two holders share a network (/24 or /48)".to_owned());
    }
    Published {
        hash,
        fragments: done.fragments as u64,
        placed: done.placed as u64,
        holders: done.holders as u64,
        survives: done.survives as u64,
        notes,
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure { message: error.to_string(), hint: None }
}

fn stopping() -> Failure {
    Failure { message: "the node is stopping".to_owned(), hint: None }
}

fn publish_failure(error: PublishError) -> Failure {
    let hint = match &error {
        PublishError::NobodyEligible { .. } | PublishError::TooFew { .. } => Some(
            "look at `tes peers`; give tesd more nodes to begin with (--bootstrap), or try later; \
             what was placed stays, and publishing again goes on from there",
        ),
        PublishError::NotInLibrary(_) => Some("`tes list` shows what is in the library"),
        _ => None,
    };
    Failure { message: error.to_string(), hint: hint.map(str::to_owned) }
}

fn fetch_failure(error: FetchError) -> Failure {
    let hint = match &error {
        FetchError::NoHolders(_) => Some(
            "check the hash, and that this node knows peers (tes peers); a new holder may need a \
             minute to be found",
        ),
        FetchError::AllSilent { .. } | FetchError::Collect(_) => {
            Some("holders may be back later; fetching again goes on with the pieces that came")
        }
        _ => None,
    };
    Failure { message: error.to_string(), hint: hint.map(str::to_owned) }
}
