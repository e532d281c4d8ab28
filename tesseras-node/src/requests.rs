//! Executes the requests of `tes`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::StoreError;
use tesseras_core::progress::{OnProgress, Progress, Unit};
use tesseras_core::words::count;
use tesseras_dht::Dht;
use tesseras_replication::Replication;
use tesseras_replication::repair::{RepairError, Repaired};
use tesseras_rpc::calls::{
    AskPeers, AskStatus, AskTesseraStatus, Call as _, DraftPlan, Fetch, Publish,
    PublishInBackground, Repair, Request, Response, Scrub, StopPublication,
};
use tesseras_rpc::messages::{
    DraftedPlan, FetchReply, NodeStatus, PeerInfo, PeerList, PublicationReply, PublishReply,
    RepairReply, TesseraGlance, TesseraStatus,
};
use tesseras_rpc::{BoxFuture, Cause, Failure, Handler, ProgressSink};
use tesseras_storage::Store;
use tesseras_wire::SharedMemory;

use crate::answers;
use crate::config::BootstrapPeer;
use crate::failure;
use crate::jobs::JobBoard;
use crate::problems::{Space, problems};
use crate::scrub::Scrubber;

/// How long an overview waits for holders; the rest is reported as not checked.
const OVERVIEW_PATIENCE: Duration = Duration::from_secs(15);

/// Executes the requests of `tes`.
pub struct Requests {
    /// The id of this node.
    pub id: NodeId,
    /// The address on which it listens for other nodes.
    pub listen: std::net::SocketAddr,
    /// The node's DHT.
    pub dht: Dht,
    /// The node's replication.
    pub replication: Replication,
    /// What is stored.
    pub store: Store,
    /// Re-reads it.
    pub scrubber: Scrubber,
    /// The state of the background jobs.
    pub board: JobBoard,
    /// Bytes offered to others.
    pub storage_limit: u64,
    /// Bytes that stay free on the disk.
    pub min_free_space: u64,
    /// The peers that do not answer.
    pub memory: SharedMemory,
    /// The bootstrap peers as they are named in the settings.
    pub bootstrap: Vec<BootstrapPeer>,
}

impl Handler for Requests {
    fn handle(
        &self,
        request: Request,
        progress: ProgressSink,
    ) -> BoxFuture<'_, Result<Response, Failure>> {
        let on_progress = progress.on_progress();
        Box::pin(async move {
            match request {
                Request::Status(_) => self.status().await.map(AskStatus::response),
                Request::Peers(_) => Ok(AskPeers::response(self.peers().await)),
                Request::TesseraStatus(AskTesseraStatus { hash }) => {
                    self.tessera_status(hash).await.map(AskTesseraStatus::response)
                }
                Request::DraftPlan(call) => {
                    self.draft_plan(call, &on_progress).await.map(DraftPlan::response)
                }
                Request::Publish(call) => {
                    self.publish(call, &on_progress).await.map(Publish::response)
                }
                Request::PublishInBackground(call) => {
                    self.publish_later(call).await.map(PublishInBackground::response)
                }
                Request::StopPublication(call) => {
                    self.stop_publication(call).await.map(StopPublication::response)
                }
                Request::Fetch(Fetch { hash }) => {
                    self.fetch(hash, &on_progress).await.map(Fetch::response)
                }
                Request::Repair(Repair { hash }) => {
                    self.repair(hash, &on_progress).await.map(Repair::response)
                }
                Request::Scrub(Scrub {}) => {
                    let scrubbed = self.scrubber.all(&on_progress).await;
                    scrubbed.map(Scrub::response).map_err(failure::of_scrub)
                }
            }
        })
    }
}

impl Requests {
    async fn status(&self) -> Result<NodeStatus, Failure> {
        let status = self.dht.status().await.ok_or_else(failure::stopping)?;
        let (stores, store) = (self.replication.stores().clone(), self.store.clone());
        let read = tokio::task::spawn_blocking(move || {
            let gone = match store.check_index_in_place() {
                Err(StoreError::IndexGone { path }) => Some(path),
                in_place => in_place.map(|()| None)?,
            };
            Ok::<_, StoreError>((
                stores.fragments.totals()?,
                stores.blobs.free_space()?.bytes,
                stores.fragments.count_damaged()?,
                gone,
            ))
        });
        let ((fragments, bytes), free, damaged, gone) =
            read.await.map_err(failure::other)?.map_err(failure::of_store)?;
        let (reserve, limit) = (self.min_free_space, self.storage_limit);
        let space = Space { free, reserve, used: bytes, limit };
        let clock_off = status.clock.filter(|offset| offset.is_off());
        Ok(NodeStatus {
            clock_offset_seconds: clock_off.map(|offset| offset.seconds),
            problems: problems(&status, &self.bootstrap, space, gone),
            node_id: self.id,
            listen: self.listen,
            reachable: status.reachable,
            addresses: if status.reachable { status.addresses } else { Vec::new() },
            peers: status.peers as u64,
            silent_peers: self.memory.list().len() as u64,
            fragments,
            bytes,
            damaged,
            storage_limit: self.storage_limit,
            jobs: self.board.reports(),
            tesserae: self.overview().await?,
        })
    }

    async fn overview(&self) -> Result<Vec<TesseraGlance>, Failure> {
        let glances =
            self.replication.overview(OVERVIEW_PATIENCE).await.map_err(failure::of_store)?;
        Ok(glances.into_iter().map(answers::glance).collect())
    }

    async fn peers(&self) -> PeerList {
        let peers = self.dht.peers().await.into_iter();
        let peers = peers
            .filter_map(|c| Some(PeerInfo { node_id: c.id, address: *c.addresses.first()? }))
            .collect();
        PeerList { peers }
    }

    async fn draft_plan(
        &self,
        DraftPlan { hash }: DraftPlan,
        on_progress: &OnProgress,
    ) -> Result<DraftedPlan, Failure> {
        let plan = self.replication.draft_plan(hash, on_progress).await;
        plan.map(|plan| DraftedPlan { plan }).map_err(failure::of_publish)
    }

    async fn publish(
        &self,
        Publish { hash, signed }: Publish,
        on_progress: &OnProgress,
    ) -> Result<PublishReply, Failure> {
        let done = match signed {
            Some(signed) => self.replication.publish(hash, signed, on_progress).await,
            None => self.replication.publish_signed(hash, on_progress).await,
        };
        done.map(|done| answers::published(hash, done)).map_err(failure::of_publish)
    }

    async fn publish_later(
        &self,
        PublishInBackground { hash, signed }: PublishInBackground,
    ) -> Result<PublicationReply, Failure> {
        let begun = self.replication.publish_later(hash, signed).await;
        begun.map(|report| answers::publication(hash, report)).map_err(failure::of_publish)
    }

    async fn stop_publication(
        &self,
        StopPublication { hash, how }: StopPublication,
    ) -> Result<PublicationReply, Failure> {
        let stopped = self.replication.stop_publication(hash, how).await;
        stopped.map(|report| answers::publication(hash, report)).map_err(failure::of_store)
    }

    async fn tessera_status(&self, hash: TesseraHash) -> Result<TesseraStatus, Failure> {
        match self.replication.status(hash).await.map_err(failure::of_status)? {
            Some(health) => {
                let last = self.replication.last_repair(hash).await.map_err(failure::of_store)?;
                let me = self.replication.id();
                let last = last.and_then(|last| answers::last_repair(me, last));
                let due = self.replication.postponed(&hash).and_then(answers::repair_due);
                Ok(answers::tessera_status(hash, &health, last, due))
            }
            None => Err(Failure::new(
                Cause::NotFound,
                format!("no node that answered knows {hash}, and it is not stored here"),
            )),
        }
    }

    async fn fetch(
        &self,
        hash: TesseraHash,
        on_progress: &OnProgress,
    ) -> Result<FetchReply, Failure> {
        let fetched = self.replication.fetch(hash, on_progress).await.map_err(failure::of_fetch)?;
        let record = fetched.record;
        Ok(FetchReply {
            hash,
            title: record.title,
            memories: record.memories,
            files: record.files,
            bytes: record.bytes,
            holders: fetched.holders as u64,
            already: fetched.already,
        })
    }

    /// Reads what is held here of these tesserae: the owner of the node asks, and may wait for it.
    /// Returns those of which something could not be read.
    async fn verify_held(
        &self,
        tesserae: &[TesseraHash],
        on_progress: &OnProgress,
    ) -> BTreeMap<TesseraHash, StoreError> {
        let mut unread = BTreeMap::new();
        for (done, tessera) in (0..).zip(tesserae) {
            on_progress(Progress {
                stage: "checking the pieces held here".into(),
                done,
                total: tesserae.len() as u64,
                unit: Unit::Items,
            });
            if let Err(error) = self.replication.verify_held(*tessera).await {
                tracing::warn!(%tessera, %error, "a piece that is held here could not be checked");
                unread.insert(*tessera, error);
            }
        }
        unread
    }

    /// How many pieces of which of these tesserae are damaged here.
    async fn damaged_of(
        &self,
        tesserae: &[TesseraHash],
    ) -> Result<BTreeMap<TesseraHash, usize>, Failure> {
        let mut damaged = BTreeMap::new();
        for tessera in tesserae {
            let pieces = self.replication.count_damaged(*tessera).await;
            damaged.insert(*tessera, pieces.map_err(failure::of_store)?);
        }
        damaged.retain(|_, pieces| *pieces > 0);
        Ok(damaged)
    }

    /// Adds how many pieces were damaged before a repair, and how many of them are not any more.
    async fn count_replaced(
        &self,
        all: &mut RepairReply,
        damaged: BTreeMap<TesseraHash, usize>,
    ) -> Result<(), Failure> {
        for (tessera, before) in damaged {
            let left = self.replication.count_damaged(tessera).await.map_err(failure::of_store)?;
            all.damaged += before as u64;
            all.replaced += before.saturating_sub(left) as u64;
        }
        Ok(())
    }

    async fn repair(
        &self,
        hash: Option<TesseraHash>,
        on_progress: &OnProgress,
    ) -> Result<RepairReply, Failure> {
        let tesserae = match hash {
            Some(hash) => vec![hash],
            None => self.replication.looked_after().await.map_err(failure::of_store)?,
        };
        let mut all = RepairReply::default();
        let mut unreachable = BTreeSet::new();
        let mut put_off = Vec::new();
        let asked = tesserae.len();
        let mut unread = self.verify_held(&tesserae, on_progress).await;
        let damaged = self.damaged_of(&tesserae).await?;
        let mut each = self.replication.repair_each(tesserae, on_progress.clone());
        while let Some((tessera, result)) = each.next().await {
            all.checked += 1;
            match result {
                Ok(done) => {
                    add_repaired(&mut all, tessera, &done);
                    unreachable.extend(done.unreachable);
                    match unread.remove(&tessera) {
                        None => {}
                        Some(error) if hash.is_some() => return Err(failure::of_store(error)),
                        Some(error) => {
                            all.failed += 1;
                            all.notes.push(format!("{tessera}: {error}"));
                        }
                    }
                }
                Err(error) if hash.is_some() => return Err(failure::of_repair(&error)),
                Err(error) => {
                    all.failed += 1;
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
            return Err(failure::of_clock(off));
        }
        self.count_replaced(&mut all, damaged).await?;
        all.unreachable = unreachable.len() as u64;
        Ok(all)
    }
}

/// Adds what the repair of one tessera has done.
fn add_repaired(all: &mut RepairReply, tessera: TesseraHash, done: &Repaired) {
    all.restored += done.restored as u64;
    all.missing += done.missing as u64;
    if done.missing > 0 {
        let why = done.refusals.join("; ");
        let missing = count(done.missing as u64, "piece is", "pieces are");
        all.notes.push(format!("{tessera}: {missing} still missing: {why}"));
    }
}
