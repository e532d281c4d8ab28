//! Rows: the cost of dead nodes. Every node but those that send requests is a process of its own on
//! loopback; a third of them is killed without notice.

use std::net::SocketAddr;
use std::time::Duration;

use tesseras_core::ids::TesseraHash;
use tesseras_core::placement::TargetForm;
use tesseras_core::progress::silent;
use tesseras_core::units::MIB;
use tesseras_node::loopback::Member;
use tesseras_replication::policy::hedging::Requests;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::failure::Result;
use crate::lap::Table;
use crate::network::{join_at, publish, settle};
use crate::processes::{Process, bootstrap, kill, look_after_all};
use crate::scene::{PHOTO, SMALL_PHOTO, Scene};

/// Nodes that are processes of their own, beside two holders in this one.
const CHILDREN: u8 = 22;
const KILLED: usize = 8;
const HOLDERS: usize = CHILDREN as usize + 2;
const SMALL: u64 = MIB;
const MIDDLE: u64 = 100 * MIB;
/// Capsules of a daily round.
const ROUND: u64 = 100;

/// The measurements with all nodes alive, and with a third of the holders dead.
struct Row {
    name: String,
    alive: Duration,
    dead: Duration,
    /// The longest acceptable time with dead nodes, if there is a goal.
    goal: Option<Duration>,
}

impl Row {
    fn new(name: &str, alive: Duration, dead: Duration, goal: Option<Duration>) -> Self {
        Self { name: name.to_owned(), alive, dead, goal }
    }

    fn print(&self, table: &mut Table) -> Result<()> {
        let [alive, dead] = [self.alive, self.dead].map(|time| time.as_secs_f64());
        let verdict = match self.goal {
            None => String::new(),
            Some(goal) => {
                let verdict = if self.dead <= goal { "holds" } else { "fails" };
                format!("goal {:7.3} s: {verdict}", goal.as_secs_f64())
            }
        };
        table.line(&format!(
            "| {:40} | alive {alive:7.3} s | dead {dead:7.3} s | {:5.2} times | {verdict:21} |",
            self.name,
            dead / alive,
        ))
    }
}

struct Network<'a> {
    scene: &'a Scene,
    runtime: Runtime,
    bootstrap: Vec<SocketAddr>,
    started: u8,
}

impl Network<'_> {
    /// One more node in this process, which knows the others.
    fn join(&mut self) -> Result<Member> {
        self.started += 1;
        let number = CHILDREN + self.started;
        let name = format!("asks-{number}");
        let joining = join_at(self.scene, &name, number, &self.bootstrap);
        let member = self.runtime.block_on(joining)?;
        self.runtime.block_on(settle(std::slice::from_ref(&member), HOLDERS - 2))?;
        Ok(member)
    }

    fn create(&self, owner: &Member, seed: u64, bytes: u64) -> Result<TesseraHash> {
        let photo = if bytes < 4 * MIB { SMALL_PHOTO } else { PHOTO };
        let album = self.scene.album("dead-album", seed, bytes, photo)?;
        Ok(self.scene.create(&owner.store, &album)?.hash)
    }

    fn publish(&self, owner: &Member, hash: TesseraHash) -> Result<Duration> {
        self.timed(async { publish(self.scene, owner, hash).await.map(drop) })
    }

    fn fetch(&self, by: &Member, hash: TesseraHash) -> Result<Duration> {
        let silent = silent();
        self.timed(async { Ok(by.node.replication().fetch(hash, &silent).await.map(drop)?) })
    }

    fn status(&self, by: &Member, hash: TesseraHash) -> Result<Duration> {
        self.timed(async { Ok(by.node.replication().status(hash).await.map(drop)?) })
    }

    fn round(&self, by: &Member) -> Result<Duration> {
        self.timed(async { look_after_all(by).await.map(drop) })
    }

    /// Measures everything once, with the members of this number.
    fn times(&self, cast: &Cast, hashes: &Hashes, number: usize) -> Result<Times> {
        let (fetcher, asker) = (&cast.fetchers[number], &cast.askers[number]);
        let fetch_small = self.fetch(fetcher, hashes.small)?;
        let status_small = self.status(asker, hashes.small)?;
        let status_large = self.status(asker, hashes.middle)?;
        let publish = self.publish(&cast.owners[number], hashes.large[number])?;
        let fetch_large = self.fetch(fetcher, hashes.large[number])?;
        let (repair, restored) = repair(self, &cast.holders, hashes.middle)?;
        let round = self.round(&cast.holders[number])?;
        Ok(Times {
            fetch_small,
            fetch_large,
            publish,
            status_small,
            status_large,
            repair,
            restored,
            round,
        })
    }

    fn timed(&self, work: impl Future<Output = Result<()>>) -> Result<Duration> {
        rustix::fs::sync();
        let begun = Instant::now();
        self.runtime.block_on(work)?;
        Ok(begun.elapsed())
    }
}

/// The holders, requesters and publishers in this process; those used late have sent no request
/// before.
struct Cast {
    holders: [Member; 2],
    owners: [Member; 2],
    fetchers: [Member; 2],
    askers: [Member; 2],
}

impl Cast {
    /// Counts of all their requests to other nodes.
    fn requests(&self) -> Requests {
        let members = [&self.holders, &self.owners, &self.fetchers, &self.askers];
        let each = members.into_iter().flatten().map(|member| member.node.replication().requests());
        each.fold(Requests::default(), |all, one| Requests {
            sent: all.sent + one.sent,
            hedged: all.hedged + one.hedged,
            needed: all.needed + one.needed,
        })
    }
}

struct Hashes {
    small: TesseraHash,
    middle: TesseraHash,
    large: [TesseraHash; 2],
}

/// The durations in one state of the network.
struct Times {
    fetch_small: Duration,
    fetch_large: Duration,
    publish: Duration,
    status_small: Duration,
    status_large: Duration,
    repair: Duration,
    /// How many pieces the repair placed.
    restored: usize,
    round: Duration,
}

/// Measures all of it in one network.
pub fn rows(scene: &Scene, table: &mut Table) -> Result<()> {
    if !table.wants_only("dead") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut processes = Process::start_many(scene, CHILDREN)?;
    let bootstrap = bootstrap(&processes);
    let mut network = Network { scene, runtime, bootstrap, started: 0 };
    let mut two = || -> Result<[Member; 2]> { Ok([network.join()?, network.join()?]) };
    let cast = Cast { holders: two()?, owners: two()?, fetchers: two()?, askers: two()? };
    let [owner, late_owner] = &cast.owners;
    let hashes = Hashes {
        small: network.create(owner, 1, SMALL)?,
        middle: network.create(owner, 2, MIDDLE)?,
        large: [
            network.create(owner, 3, scene.bytes())?,
            network.create(late_owner, 4, scene.bytes())?,
        ],
    };
    network.publish(owner, hashes.small)?;
    let send_middle = network.publish(owner, hashes.middle)?;
    let fetch_middle = network.fetch(&cast.fetchers[0], hashes.middle)?;
    for seed in 0..ROUND {
        let hash = network.create(owner, 100 + seed, 60 << 10)?;
        network.publish(owner, hash)?;
    }
    let alive = network.times(&cast, &hashes, 0)?;
    let requests = cast.requests();
    kill(&mut processes, KILLED);
    let dead = network.times(&cast, &hashes, 1)?;
    let sent = send_middle.mul_f64(dead.restored as f64 / 24.0);
    print(table, scene.mib, &alive, &dead, (fetch_middle + sent).mul_f64(1.5))?;
    let share = requests.hedged as f64 / (requests.sent - requests.hedged) as f64;
    table.line(&format!(
        "| hedging, all alive | {} requests, {} of them hedged: {:.1} % more | goal 10 %: {} |",
        requests.sent,
        requests.hedged,
        share * 100.0,
        if share <= 0.1 { "holds" } else { "fails" },
    ))?;
    table.note(format!(
        "dead: {HOLDERS} holders, {KILLED} of them killed; fetching 100 MiB took {:.2} s, sending the \
         {} pieces that the repair placed would take {:.2} s of the {:.2} s of publishing",
        fetch_middle.as_secs_f64(),
        dead.restored,
        sent.as_secs_f64(),
        send_middle.as_secs_f64(),
    ));
    note_uploads(scene, table);
    Ok(())
}

/// A network that has shrunk takes more copies to be as safe.
fn note_uploads(scene: &Scene, table: &mut Table) {
    let upload = |holders| {
        TargetForm::of(scene.bytes(), holders).upload_bytes(scene.bytes()) as f64
            / scene.bytes() as f64
    };
    table.note(format!(
        "dead: publishing {} MiB uploads {:.2} times as much to {HOLDERS} holders, {:.2} times to {}",
        scene.mib,
        upload(HOLDERS),
        upload(HOLDERS - KILLED),
        HOLDERS - KILLED,
    ));
}

fn print(
    table: &mut Table,
    mib: u64,
    alive: &Times,
    dead: &Times,
    repair_goal: Duration,
) -> Result<()> {
    let more = Duration::from_millis(400);
    let row = |name: &str, of: fn(&Times) -> Duration, goal: fn(Duration, Duration) -> Duration| {
        Row::new(name, of(alive), of(dead), Some(goal(of(alive), more)))
    };
    let a_little = |alive: Duration, more: Duration| alive + more;
    let a_third = |alive: Duration, _| alive.mul_f64(1.3);
    for row in [
        row("fetch 1 MiB", |t| t.fetch_small, a_little),
        row(&format!("fetch {mib} MiB"), |t| t.fetch_large, a_third),
        row(&format!("publish {mib} MiB"), |t| t.publish, a_third),
        row("status, whole copies", |t| t.status_small, a_little),
        row("status, coded", |t| t.status_large, a_little),
        Row::new("repair of 100 MiB", alive.repair, dead.repair, Some(repair_goal)),
        Row::new("round over 100 small capsules", alive.round, dead.round, None),
    ] {
        row.print(table)?;
    }
    Ok(())
}

/// One repair cycle by a holder; how many pieces it placed.
fn repair(
    network: &Network<'_>,
    holders: &[Member],
    hash: TesseraHash,
) -> Result<(Duration, usize)> {
    let holds = |member: &&Member| {
        let held =
            tesseras_core::ports::FragmentStore::list_fragments(&*member.store.fragments(), &hash);
        held.is_ok_and(|held| !held.is_empty())
    };
    let by = holders.iter().find(holds).ok_or("no holder in this process")?;
    let mut restored = 0;
    let took = network.timed(async {
        restored = by.node.replication().repair(hash, &silent()).await?.restored;
        Ok(())
    })?;
    Ok((took, restored))
}
