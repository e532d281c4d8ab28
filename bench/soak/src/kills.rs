//! SIGKILLs without number: while capsules are created, received, published and dropped. After each
//! one the disk must be sound by itself.

use std::time::Duration;

use tesseras_core::ids::TesseraHash;

use crate::actions::drop_on;
use crate::chance::Chance;
use crate::checkpoint::{checkpoint, disk_is_sound, settle};
use crate::clock::{Since, wait_for};
use crate::disk;
use crate::failure::Result;
use crate::faults::{kill, start};
use crate::goods::{Goods, Size};
use crate::network::Place;
use crate::programs::Running;
use crate::world::{World, discard};

/// How many capsules are kept before all are dropped.
const LIVING: usize = 12;
/// How long it is waited for a piece to arrive somewhere.
const ARRIVAL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_micros(200);
/// How long a publication is waited for of which a receiver was killed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it is tried to end one that was cut off.
const AGAIN: Duration = Duration::from_secs(90);
/// The length of an act of which none has been seen yet.
const FIRST: Duration = Duration::from_millis(300);
/// The number of the place where no node runs.
const DESK: u8 = 201;

/// What is killed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Creating,
    Receiving,
    Publishing,
    Dropping,
}

const ACTS: [(Act, &str); 4] = [
    (Act::Creating, "creating"),
    (Act::Receiving, "receiving"),
    (Act::Publishing, "publishing"),
    (Act::Dropping, "dropping"),
];

/// Who kills.
struct Killer<'a> {
    world: &'a World,
    chance: Chance,
    /// A place where no node runs.
    desk: Place,
    /// How long a create, a publish and a drop take that nobody kills.
    usual: [Duration; 4],
}

/// Kills so many times, each act as often.
pub fn kills(world: &World, seed: u64, times: u64) -> Result<()> {
    for place in &world.network.places {
        world.network.init(place)?;
        start(world, place)?;
    }
    settle(world)?;
    let desk = world.network.desk(DESK)?;
    let mut killer = Killer { world, chance: Chance::new(seed, 3), desk, usual: [FIRST; 4] };
    let each = times.div_ceil(ACTS.len() as u64);
    let mut round = 0;
    loop {
        let mut is_done = true;
        for (act, name) in ACTS {
            if world.journal.counted(&format!("kill {name}")) < each {
                is_done = false;
                killer.once(act)?;
            }
        }
        if world.journal.violations() > 0 {
            return Err("it stops at what is wrong, and leaves the disks as they are".into());
        }
        if is_done {
            checkpoint(world, "the end")?;
            summary(world);
            return Ok(());
        }
        round += 1;
        if round % 25 == 0 {
            summary(world);
        }
        if world.book().living().len() > LIVING {
            killer.clear()?;
        }
    }
}

impl Killer<'_> {
    fn once(&mut self, act: Act) -> Result<()> {
        match act {
            Act::Creating => self.create(),
            Act::Receiving => self.receive(),
            Act::Publishing => self.publish(),
            Act::Dropping => match self.chance.one_in(2) {
                true => self.drop_from_library(),
                false => self.drop_from_node(),
            },
        }
    }

    /// Kills a command at a random moment of its usual length. Whether it was still running.
    fn kill_midway(&mut self, act: Act, running: &mut Running) -> bool {
        let usual = self.usual[act as usize];
        let begun = Since::now();
        let life = usual.mul_f64(self.chance.below(1_100) as f64 / 1_000.0);
        if wait_for(life, Duration::from_millis(1), || running.has_ended()) {
            // It was quicker than usual.
            self.usual[act as usize] = usual.mul_f64(0.7) + begun.elapsed().mul_f64(0.3);
            return false;
        }
        let was_running = running.kill();
        if was_running && life > usual.mul_f64(0.9) {
            self.usual[act as usize] = usual.mul_f64(1.1);
        }
        was_running
    }

    fn killed(&self, act: Act, inside: bool, where_: &str) {
        let (_, name) = ACTS[act as usize];
        self.world.journal.count(&format!("kill {name}"));
        if inside {
            self.world.journal.count(&format!("inside {name}"));
        }
        self.world.journal.log(&format!("killed while {name}, {where_}, inside: {inside}"));
    }

    fn folder(&mut self, sizes: &[Size]) -> Result<(Goods, std::path::PathBuf)> {
        let size = self.chance.pick(sizes).unwrap_or(Size::Short);
        let goods = Goods::new(self.chance.next(), size);
        let folder = self.world.scratch();
        goods.write(&folder)?;
        Ok((goods, folder))
    }

    /// `tes create` is killed where no node runs.
    fn create(&mut self) -> Result<()> {
        let (_, folder) = self.folder(&[Size::Letters(300), Size::Short, Size::Coded])?;
        let args = ["create", &folder.display().to_string()];
        let mut running = self.world.network.programs.start(&self.desk.data, &args)?;
        let was_running = self.kill_midway(Act::Creating, &mut running);
        running.end()?;
        if was_running {
            let staged = disk::staged_bytes(&self.desk.data) > 0;
            self.killed(Act::Creating, staged, "tes");
        }
        discard(&folder);
        self.desk_is_sound()
    }

    /// A capsule of the library is dropped where no node runs.
    fn drop_from_library(&mut self) -> Result<()> {
        let (_, folder) = self.folder(&[Size::Letters(300), Size::Short])?;
        let data = self.desk.data.clone();
        let without = disk::blobs(&data).len();
        let made = self.world.tes(&self.desk, &["create", &folder.display().to_string()])?;
        discard(&folder);
        let hash: TesseraHash = made.text("hash").parse()?;
        let with = disk::blobs(&data).len();
        let args = ["drop", made.text("hash"), "--yes", "--block"];
        let mut running = self.world.network.programs.start(&data, &args)?;
        let was_running = self.kill_midway(Act::Dropping, &mut running);
        running.end()?;
        if was_running {
            let left = disk::blobs(&data).len();
            self.killed(Act::Dropping, left > without && left < with, "a library");
        }
        self.desk_is_sound()?;
        let again = self.world.tes(&self.desk, &["drop", &hash.to_string(), "--yes", "--block"])?;
        if !again.is_done() {
            self.world.journal.violation(format!("a drop cannot be ended: {}", again.why()));
        }
        self.desk_is_sound()?;
        let rows = disk::rows(&data, &[])?;
        if rows.library.contains(&hash) || disk::blobs(&data).len() > without {
            self.world.journal.violation(format!("{hash} was dropped, and something is left"));
        }
        Ok(())
    }

    fn desk_is_sound(&self) -> Result<()> {
        disk_is_sound(self.world, &self.desk).map(drop)
    }

    /// A capsule in the library of a node that runs, about to be published.
    fn made(&mut self, owner: &Place) -> Result<Option<TesseraHash>> {
        let (goods, folder) = self.folder(&[Size::Short, Size::Coded])?;
        let made = self.world.tes(owner, &["create", &folder.display().to_string()])?;
        discard(&folder);
        if !made.is_done() {
            self.world.journal.violation(format!("a create failed: {}", made.why()));
            return Ok(None);
        }
        let hash = made.text("hash").parse()?;
        self.world.book().begun(hash, goods);
        Ok(Some(hash))
    }

    /// Two nodes, not the same.
    fn two(&mut self) -> (usize, usize) {
        let places = self.world.network.places.len() as u64;
        let one = self.chance.below(places);
        let other = (one + self.chance.between(1, places - 1)) % places;
        (one as usize, other as usize)
    }

    /// A node is killed while it receives pieces of what another publishes.
    fn receive(&mut self) -> Result<()> {
        let world = self.world;
        let (owner, holder) = self.two();
        let (owner, holder) = (&world.network.places[owner], &world.network.places[holder]);
        let Some(hash) = self.made(owner)? else { return Ok(()) };
        let args = ["publish", &hash.to_string(), "--yes"];
        let mut running = world.network.programs.start(&owner.data, &args)?;
        let arrives = || disk::staged_bytes(&holder.data) > 0 || running.has_ended();
        let is_hit = wait_for(ARRIVAL, POLL, arrives) && !running.has_ended();
        if is_hit {
            std::thread::sleep(Duration::from_micros(self.chance.below(8_000)));
            kill(world, holder);
            let staged = disk::staged_bytes(&holder.data) > 0;
            self.killed(Act::Receiving, staged, "a node");
        }
        self.look(holder)?;
        // The publication waits for the dead node for half a minute: that is left out.
        wait_for(PATIENCE, Duration::from_millis(10), || running.has_ended());
        running.kill();
        let is_done = running.end()?.is_done();
        self.end_publication(owner, hash, is_done)
    }

    /// `tes publish`, or the node that publishes, is killed: at any moment, or while a piece is on its
    /// way.
    fn publish(&mut self) -> Result<()> {
        let world = self.world;
        let (owner, _) = self.two();
        let owner = &world.network.places[owner];
        let Some(hash) = self.made(owner)? else { return Ok(()) };
        let args = ["publish", &hash.to_string(), "--yes"];
        let mut running = world.network.programs.start(&owner.data, &args)?;
        let others = world.network.places.iter().filter(|place| place.number != owner.number);
        let others: Vec<_> = others.map(|place| &place.data).collect();
        let on_its_way = || others.iter().any(|data| disk::staged_bytes(data) > 0);
        if self.chance.one_in(2) {
            wait_for(ARRIVAL, POLL, || on_its_way() || running.has_ended());
        } else {
            let usual = self.usual[Act::Publishing as usize];
            let life = usual.mul_f64(self.chance.below(1_000) as f64 / 1_000.0);
            wait_for(life, POLL, || running.has_ended());
        }
        let of_node = self.chance.one_in(2);
        let was_running = !running.has_ended();
        if of_node {
            kill(world, owner);
        } else {
            running.kill();
        }
        // While the pieces that were on their way are still in the hands of their receivers.
        let inside = on_its_way();
        let answer = running.end()?;
        if was_running {
            self.killed(Act::Publishing, inside, if of_node { "the node" } else { "tes" });
        }
        kill(world, owner);
        self.look(owner)?;
        self.end_publication(owner, hash, answer.is_done())
    }

    /// A publication that was cut off is completed by the same command.
    fn end_publication(&self, owner: &Place, hash: TesseraHash, is_done: bool) -> Result<()> {
        let again = || {
            let answer = self.world.tes(owner, &["publish", &hash.to_string(), "--yes"]);
            answer.is_ok_and(|answer| answer.is_done())
        };
        // A node has only just come back, and may not know the others yet.
        if is_done || wait_for(AGAIN, Duration::from_secs(1), again) {
            self.world.book().completed(hash);
        } else {
            self.world.journal.violation(format!("the publication of {hash} cannot be ended"));
        }
        Ok(())
    }

    /// What a node holds, and has in its library, is dropped while the node runs; both are killed.
    fn drop_from_node(&mut self) -> Result<()> {
        let world = self.world;
        let (place, _) = self.two();
        let place = &world.network.places[place];
        let rows = disk::rows(&place.data, &[])?;
        let held: Vec<TesseraHash> = rows.held.keys().map(|(tessera, _)| *tessera).collect();
        let living = world.book().living();
        let held: Vec<_> =
            held.into_iter().filter(|h| living.iter().any(|c| c.hash == *h)).collect();
        let (Some(hash), Some(id)) = (self.chance.pick(&held), place.id()) else { return Ok(()) };
        world.book().drop_begins(id, hash);
        let args = ["drop", &hash.to_string(), "--yes", "--block"];
        let mut running = world.network.programs.start(&place.data, &args)?;
        let was_running = self.kill_midway(Act::Dropping, &mut running);
        kill(world, place);
        let answer = running.end()?;
        if was_running {
            let left = disk::rows(&place.data, &[])?.held;
            let begun = !left.keys().any(|(tessera, _)| *tessera == hash);
            self.killed(Act::Dropping, begun, "a node");
        }
        if answer.is_done() {
            world.book().drop_done(id, hash);
        }
        self.look(place)?;
        drop_on(world, place, hash)?;
        world.observe()
    }

    /// A node that does not run, or is killed here, is looked at and started again.
    fn look(&self, place: &Place) -> Result<()> {
        kill(self.world, place);
        self.world.observe()?;
        disk_is_sound(self.world, place)?;
        start(self.world, place)
    }

    /// Every disk is looked at, everything is fetched, and then dropped everywhere.
    fn clear(&mut self) -> Result<()> {
        let world = self.world;
        checkpoint(world, "checkpoint")?;
        // Taken out before: the book is not to be held while commands run.
        let living = world.book().living();
        for place in &world.network.places {
            // A node that runs would first ask all holders, each time.
            kill(world, place);
            for capsule in &living {
                world.book().retire(capsule.hash);
                drop_on(world, place, capsule.hash)?;
            }
            start(world, place)?;
        }
        Ok(())
    }
}

/// What was killed so far.
pub fn summary(world: &World) {
    let journal = &world.journal;
    let mut all = (0, 0);
    for (_, name) in ACTS {
        let (kills, inside) =
            (journal.counted(&format!("kill {name}")), journal.counted(&format!("inside {name}")));
        all = (all.0 + kills, all.1 + inside);
        journal.say(&format!("killed while {name}: {kills}, inside a transfer: {inside}"));
    }
    journal.say(&format!(
        "killed: {}, inside a transfer: {}; acknowledged pieces missing: {}; violations: {}",
        all.0,
        all.1,
        journal.counted("acknowledged pieces missing"),
        journal.violations()
    ));
}
