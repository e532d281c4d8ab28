//! Hours of work and faults, with checkpoints.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::actions::Actor;
use crate::chance::Chance;
use crate::checkpoint::{checkpoint, settle};
use crate::clock::Since;
use crate::failure::Result;
use crate::faults::{Faults, ended_by_themselves, start};
use crate::world::World;

/// How many act at once.
const ACTORS: u64 = 2;
/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);
/// Between two looks at all disks.
const OBSERVE_EVERY: Duration = Duration::from_secs(15);

/// Runs for so long.
pub fn soak(world: &World, seed: u64, length: Duration) -> Result<()> {
    for place in &world.network.places {
        world.network.init(place)?;
        start(world, place)?;
    }
    settle(world)?;
    let nodes = world.network.places.len();
    let full = world.network.kind_of_full();
    world.journal.say(&format!("{nodes} nodes know each other; a full disk is: {full}"));
    let outcome = std::thread::scope(|scope| {
        for number in 0..ACTORS {
            let chance = Chance::new(seed, 100 + number);
            let actor = Actor { world, chance, pause: (200, 1_500) };
            scope.spawn(move || actor.run());
        }
        let outcome = drive(world, Chance::new(seed, 1), length);
        world.is_over.store(true, Ordering::Relaxed);
        outcome
    });
    outcome?;
    for place in &world.network.places {
        if let Some(daemon) = place.state().daemon.take() {
            daemon.stop();
        }
    }
    Ok(())
}

/// Faults, observations and checkpoints, until the time is over.
fn drive(world: &World, mut chance: Chance, length: Duration) -> Result<()> {
    let mut faults = Faults::new(world, Chance::new(chance.next(), 2));
    let (begun, mut observed, mut checked) = (Since::now(), Since::now(), Since::now());
    loop {
        std::thread::sleep(chance.millis(1_000, 6_000));
        ended_by_themselves(world, &world.network);
        let is_over = begun.is_over(length);
        if is_over || checked.is_over(CHECKPOINT_EVERY) {
            faults.heal(true)?;
            checkpoint(world, if is_over { "the end" } else { "checkpoint" })?;
            summary(world);
            checked = Since::now();
        }
        if is_over {
            return Ok(());
        }
        if world.journal.violations() > 0 {
            return Err("it stops at what is wrong, and leaves the disks as they are".into());
        }
        if observed.is_over(OBSERVE_EVERY) {
            world.observe()?;
            observed = Since::now();
        }
        faults.step()?;
    }
}

/// What was done so far, by kind.
pub fn summary(world: &World) {
    let journal = &world.journal;
    let list = |group: &str| {
        let counts = journal.counts_of(group);
        let counts: Vec<_> = counts.into_iter().map(|(what, n)| format!("{what} {n}")).collect();
        counts.join(", ")
    };
    let n = |what: &str| journal.counted(what);
    journal.say(&format!("hours: {:.2}", journal.elapsed().as_secs_f64() / 3600.0));
    journal.say(&format!("done: {}", list("done ")));
    journal.say(&format!("failed: {}", list("failed ")));
    journal.say(&format!("why: {}", list("failure ")));
    journal.say(&format!("faults: {}", list("fault ")));
    journal.say(&format!("kills inside a transfer: {}", n("kill inside a transfer")));
    journal.say(&format!(
        "fell below k: {}, of these unreadable at a checkpoint: {}",
        n("fell below k"),
        n("lost after it fell below k")
    ));
    journal.say(&format!(
        "losses: {}; acknowledged pieces missing: {}; violations: {}",
        n("losses"),
        n("acknowledged pieces missing"),
        journal.violations()
    ));
}
