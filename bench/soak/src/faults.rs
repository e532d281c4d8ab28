//! What happens to nodes: killed, erased, filled, flipped bits; and how they come back.

use std::time::Duration;

use crate::chance::Chance;
use crate::clock::{Since, wait_for};
use crate::disk;
use crate::failure::Result;
use crate::network::{Network, Place, RESERVE};
use crate::world::World;

/// How many nodes are away, erased or full at once, at most.
const WOUNDS: usize = 3;
/// How long an erased node counts as a wound: two rounds of repair.
const ERASED: Duration = Duration::from_secs(80);
/// How long it is waited for a transfer to kill a node in.
const TRANSFER: Duration = Duration::from_secs(4);

/// A fault whose end is still to come.
struct Wound {
    /// The index of the node.
    of: usize,
    kind: Kind,
    since: Since,
    heals_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Down,
    Erased,
    Full,
}

/// Does faults to nodes, at most so many at once.
pub struct Faults<'a> {
    world: &'a World,
    chance: Chance,
    wounds: Vec<Wound>,
}

impl<'a> Faults<'a> {
    /// None yet.
    pub fn new(world: &'a World, chance: Chance) -> Self {
        Self { world, chance, wounds: Vec::new() }
    }

    /// Heals what is due, and does one more fault if few enough nodes have one.
    pub fn step(&mut self) -> Result<()> {
        self.heal(false)?;
        let of = self.chance.below(self.world.network.places.len() as u64) as usize;
        let place = &self.world.network.places[of];
        if self.wounds.len() >= WOUNDS || self.wounds.iter().any(|wound| wound.of == of) {
            return Ok(());
        }
        match self.chance.below(10) {
            0..5 => self.kill(of, place),
            5 => self.erase(of, place),
            6 | 7 => self.flip(place),
            _ => match self.fillable() {
                Some(of) => self.fill(of, &self.world.network.places[of]),
                None => Ok(()),
            },
        }
    }

    /// A node whose disk can be filled and that has no fault.
    fn fillable(&mut self) -> Option<usize> {
        let network = &self.world.network;
        let wounded = |of: &usize| self.wounds.iter().any(|wound| wound.of == *of);
        let free = (0..network.places.len()).filter(|of| !wounded(of));
        let free: Vec<_> = free.filter(|of| network.can_fill(&network.places[*of])).collect();
        self.chance.pick(&free)
    }

    /// Ends faults: those that are due, or all.
    pub fn heal(&mut self, all: bool) -> Result<()> {
        let due = |wound: &mut Wound| all || wound.since.is_over(wound.heals_after);
        let healed: Vec<Wound> = self.wounds.extract_if(.., due).collect();
        for wound in healed {
            let place = &self.world.network.places[wound.of];
            match wound.kind {
                Kind::Down => start(self.world, place)?,
                Kind::Erased => {}
                Kind::Full => {
                    self.world.network.empty(place)?;
                    self.world.journal.log(&format!("node {} has space again", place.number));
                }
            }
        }
        Ok(())
    }

    fn wound(&mut self, of: usize, kind: Kind, heals_after: Duration) {
        self.wounds.push(Wound { of, kind, since: Since::now(), heals_after });
    }

    /// SIGKILL; every other time while pieces are being received, if any are soon.
    fn kill(&mut self, of: usize, place: &Place) -> Result<()> {
        if self.chance.one_in(2) {
            let pause = Duration::from_millis(2);
            wait_for(TRANSFER, pause, || disk::staged_bytes(&place.data) > 0);
        }
        kill(self.world, place);
        let away = self.chance.millis(500, 25_000);
        self.wound(of, Kind::Down, away);
        Ok(())
    }

    /// The whole disk is lost; the node comes back as a new one with an empty disk.
    fn erase(&mut self, of: usize, place: &Place) -> Result<()> {
        kill(self.world, place);
        if let Some(id) = place.id() {
            self.world.book().forget(id);
        }
        self.world.network.wipe(place)?;
        self.world.journal.count("fault erased");
        self.world.journal.log(&format!("node {} is erased", place.number));
        self.world.observe()?;
        self.world.network.init(place)?;
        start(self.world, place)?;
        self.wound(of, Kind::Erased, ERASED);
        Ok(())
    }

    /// The disk becomes full: to the last byte, or below the reserve.
    fn fill(&mut self, of: usize, place: &Place) -> Result<()> {
        let leave = if self.chance.one_in(2) { 0 } else { RESERVE / 2 };
        self.world.network.fill(place, leave)?;
        self.world.journal.count("fault filled");
        self.world.journal.log(&format!("node {} is full but for {leave} bytes", place.number));
        let full = self.chance.millis(5_000, 40_000);
        self.wound(of, Kind::Full, full);
        Ok(())
    }

    /// Bits flip in some stored files.
    fn flip(&mut self, place: &Place) -> Result<()> {
        let rows = disk::rows(&place.data, &[])?;
        let mut stored: Vec<_> = rows.held.into_values().collect();
        if self.chance.one_in(5) {
            // MANIFESTs and files of the library, too.
            stored = disk::blobs(&place.data);
        }
        for _ in 0..self.chance.between(1, 4) {
            let Some(hash) = self.chance.pick(&stored) else { break };
            // Before it is flipped: it must not count as sound in between.
            let is_new = place.state().touched.insert(hash);
            if disk::flip(&place.data, &hash, &mut self.chance)? {
                self.world.journal.count("fault flipped");
                self.world.journal.log(&format!("node {}: a bit of {hash} flips", place.number));
            } else if is_new {
                place.state().touched.remove(&hash);
            }
        }
        self.world.observe()
    }
}

/// Kills a node, and says what was under way.
pub fn kill(world: &World, place: &Place) {
    let Some(daemon) = place.state().daemon.take() else { return };
    let pid = daemon.pid();
    daemon.kill();
    let staged = disk::staged_bytes(&place.data);
    world.journal.count("fault killed");
    if staged > 0 {
        world.journal.count("kill inside a transfer");
    }
    world.journal.log(&format!("node {} ({pid}) is killed, {staged} bytes staged", place.number));
}

/// Starts a node again.
pub fn start(world: &World, place: &Place) -> Result<()> {
    world.network.start(place)?;
    world.journal.count("fault restarted");
    world.journal.log(&format!("node {} runs again", place.number));
    Ok(())
}

/// Whether every node runs; a node that ended by itself is a violation.
pub fn ended_by_themselves(world: &World, network: &Network) {
    for place in &network.places {
        let mut state = place.state();
        if let Some(daemon) = &mut state.daemon
            && !daemon.is_alive()
        {
            state.daemon = None;
            world.journal.violation(format!("node {} ended by itself", place.number));
        }
    }
}
