//! Rows: small requests with small answers, which are most of a node's traffic.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use quinn::{Connection, Endpoint};
use tesseras_crypto::NodeKeys;
use tesseras_net::{BindConfig, PoolConfig, QuinnTransport, RateLimit};
use tesseras_wire::{Body, BoxFuture, Peer, Request, Response, Service, Target, Transport as _};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Result;
use crate::lap::{Contest, Lap, Table, Work, lap};
use crate::wire;

/// Bytes of a request's frame, and of its answer's.
const FRAME: usize = 64;
const AT_ONCE: usize = 64;
/// In one lap, all together.
const MANY: usize = 200_000;
/// In one lap, one after the other, each with a handshake.
const FEW: usize = 200;
/// So many times as often in the pooled lap, which would be too short to measure otherwise.
const LONGER: u32 = 10;
const DEADLINE: Duration = Duration::from_secs(60);

const _: () = assert!(MANY.is_multiple_of(AT_ONCE));

/// Measures both.
pub fn rows(table: &mut Table) -> Result<()> {
    if !table.wants("requests: 64 at once") && !table.wants("requests: pooled") {
        return Ok(());
    }
    // Configured as in `tesd`.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    at_once(&runtime, table)?;
    pooled(&runtime, table)
}

fn at_once(runtime: &Runtime, table: &mut Table) -> Result<()> {
    let own = Arc::new(runtime.block_on(async { Own::start(PoolConfig::default(), 1) })?);
    let plain = Arc::new(runtime.block_on(Plain::start())?);
    table.add(Contest {
        name: "requests: 64 at once".to_owned(),
        work: Work::Operations(MANY as u64),
        real: Box::new(|_| {
            storm(runtime, || {
                let own = own.clone();
                async move { own.some(MANY / AT_ONCE).await }
            })
        }),
        bare: vec![(
            "plain quinn, one connection",
            Box::new(|_| {
                storm(runtime, || {
                    let plain = plain.clone();
                    async move { plain.some(MANY / AT_ONCE).await }
                })
            }),
        )],
    })?;
    runtime.block_on(own.stop());
    plain.stop();
    Ok(())
}

/// A pool of one connection, and two nodes that are asked in turns: no request finds a connection.
fn pooled(runtime: &Runtime, table: &mut Table) -> Result<()> {
    let start = |pool| runtime.block_on(async { Own::start(pool, 2) }).map(Arc::new);
    let pooled = start(PoolConfig::default())?;
    let unpooled = start(PoolConfig { max_connections: 1, ..PoolConfig::default() })?;
    // On the runtime's own threads, where a node's requests come from.
    let asking = |own: &Arc<Own>, count| {
        let (own, tracker) = (own.clone(), TaskTracker::new());
        Ok(lap(|| {
            runtime.block_on(async { tracker.spawn(async move { own.some(count).await }).await? })
        })?
        .0)
    };
    table.add(Contest {
        name: "requests: pooled".to_owned(),
        work: Work::Operations(FEW as u64),
        real: Box::new(|_| {
            let lap: Lap = asking(&pooled, FEW * LONGER as usize)?;
            Ok(lap.part_of(LONGER))
        }),
        bare: vec![("the same, a handshake for each", Box::new(|_| asking(&unpooled, FEW)))],
    })?;
    runtime.block_on(pooled.stop());
    runtime.block_on(unpooled.stop());
    Ok(())
}

/// Lets so many tasks ask at once.
fn storm<F>(runtime: &Runtime, one: impl Fn() -> F) -> Result<Lap>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let asking = || {
        runtime.block_on(async {
            let tracker = TaskTracker::new();
            let tasks = (0..AT_ONCE).map(|_| tracker.spawn(one()));
            let tasks: Vec<_> = tasks.collect();
            try_join_all(tasks).await?.into_iter().collect::<Result<()>>()
        })
    };
    Ok(lap(asking)?.0)
}

/// The transport of `tesseras-net`: one that asks, and those that answer.
struct Own {
    asker: Arc<QuinnTransport>,
    answerers: Vec<Arc<QuinnTransport>>,
    targets: Vec<Target>,
    cancel: CancellationToken,
}

struct Echo;

impl Service for Echo {
    fn serve(&self, _: Peer, frame: Vec<u8>, _: Body) -> BoxFuture<'_, Response> {
        Box::pin(async { Response { frame, body: None } })
    }
}

impl Own {
    fn start(pool: PoolConfig, answerers: u8) -> Result<Self> {
        let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
        let bind = |number: u8, pool| {
            let listen = SocketAddr::from((Ipv4Addr::new(127, 3, number, 1), 0));
            let rate_limit = RateLimit { requests_per_second: u32::MAX, burst: u32::MAX };
            let config = BindConfig { work_bits: 0, pool, rate_limit, ..BindConfig::new(listen) };
            let keys = NodeKeys::generate(0)?;
            let transport = QuinnTransport::bind(config, &keys, &tracker, cancel.clone())?;
            let addresses = vec![transport.local_addr()];
            Ok::<_, crate::failure::Failure>((transport, Target { id: Some(keys.id()), addresses }))
        };
        let (asker, _) = bind(0, pool)?;
        let (mut answering, mut targets) = (Vec::new(), Vec::new());
        for number in 1..=answerers {
            let (transport, target) = bind(number, PoolConfig::default())?;
            tracker.spawn(transport.clone().serve(Arc::new(Echo)));
            answering.push(transport);
            targets.push(target);
        }
        Ok(Self { asker, answerers: answering, targets, cancel })
    }

    /// Asks so often, one node after the other.
    async fn some(&self, count: usize) -> Result<()> {
        for target in self.targets.iter().cycle().take(count) {
            let request = Request::short(vec![42; FRAME], DEADLINE);
            let answer = self.asker.request(target, request).await?.frame;
            if answer.len() != FRAME {
                return Err(String::from_utf8_lossy(&answer).into());
            }
        }
        Ok(())
    }

    async fn stop(&self) {
        self.cancel.cancel();
        self.asker.close().await;
        for answerer in &self.answerers {
            answerer.close().await;
        }
    }
}

/// quinn without our layers.
struct Plain {
    connection: Connection,
    endpoints: [Endpoint; 2],
}

impl Plain {
    async fn start() -> Result<Self> {
        let (server, client) = wire::plain_configs()?;
        let answerer = wire::plain_endpoint(Ipv4Addr::new(127, 3, 4, 1), Some(server))?;
        let asker = wire::plain_endpoint(Ipv4Addr::new(127, 3, 5, 1), None)?;
        let tracker = TaskTracker::new();
        tracker.spawn(answer(answerer.clone(), tracker.clone()));
        let connection = asker.connect_with(client, answerer.local_addr()?, wire::NAME)?.await?;
        Ok(Self { connection, endpoints: [asker, answerer] })
    }

    async fn some(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            let (mut send, mut receive) = self.connection.open_bi().await?;
            send.write_all(&[42; FRAME]).await?;
            send.finish()?;
            if receive.read_to_end(FRAME).await?.len() != FRAME {
                return Err("an answer is short".into());
            }
        }
        Ok(())
    }

    fn stop(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.close(0u8.into(), b""));
    }
}

async fn answer(endpoint: Endpoint, tracker: TaskTracker) -> Result<()> {
    let connection = endpoint.accept().await.ok_or("closed")?.await?;
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        tracker.spawn(async move {
            let frame = receive.read_to_end(FRAME).await?;
            send.write_all(&frame).await?;
            Ok::<_, crate::failure::Failure>(send.finish()?)
        });
    }
}
