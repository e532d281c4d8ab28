//! Rows: the cost of the daily repair round over many small capsules for a node, with all holders
//! alive and with a third of them dead.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::time::{ClockId, clock_gettime};
use tesseras_node::loopback::Member;
use tesseras_replication::policy::hedging::Requests;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::failure::Result;
use crate::lap::Table;
use crate::network::{join_at, publish, settle};
use crate::processes::{Process, bootstrap, kill, look_after_all};
use crate::scene::{SMALL_PHOTO, Scene};

/// Nodes that are processes of their own. One more, in this process, maintains the capsules.
const HOLDERS: u8 = 23;
const KILLED: usize = 8;
/// User data of a capsule: three small photos.
const BYTES: u64 = 60 << 10;
const PUBLISHED_AT_ONCE: usize = 16;
/// The most that a round may take.
const GOAL: Duration = Duration::from_secs(20 * 60);

/// The cost of a round.
struct Round {
    wall: Duration,
    /// Of the process of the node that maintains the capsules.
    cpu: Duration,
    /// Bytes that all processes sent over loopback in the meantime.
    traffic: u64,
    requests: Requests,
    restored: usize,
}

impl Round {
    fn print(&self, name: &str, table: &mut Table) -> Result<()> {
        let verdict = if self.wall <= GOAL { "holds" } else { "fails" };
        table.line(&format!(
            "| {name:40} | {:8.2} s | CPU {:8.2} s | {:8.1} MiB | {:7} requests | {:5} hedged | \
             {:6} pieces placed | goal {} s: {verdict} |",
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.traffic as f64 / f64::from(1 << 20),
            self.requests.sent,
            self.requests.hedged,
            self.restored,
            GOAL.as_secs(),
        ))
    }
}

/// Publishes this many capsules, and measures three rounds: all alive, a third of the holders just
/// killed, and once more.
pub fn rows(scene: &Scene, capsules: u64, table: &mut Table) -> Result<()> {
    if !table.wants_only("day") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut processes = Process::start_many(scene, HOLDERS)?;
    let owner = runtime.block_on(async {
        let owner = join_at(scene, "looks-after", HOLDERS + 1, &bootstrap(&processes)).await?;
        settle(std::slice::from_ref(&owner), HOLDERS.into()).await?;
        Result::Ok(owner)
    })?;
    let begun = Instant::now();
    runtime.block_on(publish_many(scene, &owner, capsules))?;
    table.note(format!(
        "day: {HOLDERS} holders, {KILLED} of them killed; creating and publishing took {:.0} s",
        begun.elapsed().as_secs_f64()
    ));
    let name = |state| format!("round over {capsules} capsules, {state}");
    round(&runtime, &owner)?.print(&name("all alive"), table)?;
    kill(&mut processes, KILLED);
    round(&runtime, &owner)?.print(&name("a third killed"), table)?;
    round(&runtime, &owner)?.print(&name("once more"), table)
}

async fn publish_many(scene: &Scene, owner: &Member, capsules: u64) -> Result<()> {
    let publishing = stream::iter(0..capsules).map(|seed| async move {
        let album = scene.album(&format!("day-{seed}"), seed + 1, BYTES, SMALL_PHOTO)?;
        let hash = scene.create(&owner.store, &album)?.hash;
        scene.remove(&format!("day-{seed}"))?;
        publish(scene, owner, hash).await.map(drop)
    });
    publishing.buffer_unordered(PUBLISHED_AT_ONCE).try_collect().await
}

fn round(runtime: &Runtime, owner: &Member) -> Result<Round> {
    rustix::fs::sync();
    let replication = owner.node.replication();
    let (requests, traffic, cpu) = (replication.requests(), loopback_bytes()?, cpu_time());
    let begun = Instant::now();
    let restored = runtime.block_on(look_after_all(owner))?;
    let wall = begun.elapsed();
    let now = replication.requests();
    Ok(Round {
        wall,
        cpu: cpu_time() - cpu,
        traffic: loopback_bytes()? - traffic,
        requests: Requests {
            sent: now.sent - requests.sent,
            hedged: now.hedged - requests.hedged,
            needed: now.needed - requests.needed,
        },
        restored,
    })
}

/// CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Bytes sent over the loopback interface since it came up, as the kernel counts them.
fn loopback_bytes() -> Result<u64> {
    let devices = std::fs::read_to_string("/proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let sent = line.and_then(|counters| counters.split_whitespace().nth(8));
    Ok(sent.ok_or("/proc/net/dev names no loopback interface")?.parse()?)
}
