//! What owners and nodes do all the time.

use std::sync::PoisonError;
use std::time::Duration;

use tesseras_core::ids::TesseraHash;

use crate::book::Capsule;
use crate::chance::Chance;
use crate::failure::Result;
use crate::goods::{Goods, Size};
use crate::network::Place;
use crate::world::{World, discard};

/// How many capsules are kept alive at once.
const LIVING: usize = 100;
/// On how many nodes a capsule that is wanted is dropped.
const DROPS: u8 = 2;
/// One capsule of so many is long enough to be coded.
const CODED: u64 = 6;

/// One who acts, until the run is over.
pub struct Actor<'a> {
    /// The run.
    pub world: &'a World,
    /// What it chooses by.
    pub chance: Chance,
    /// The shortest and the longest pause between two actions, in milliseconds.
    pub pause: (u64, u64),
}

impl Actor<'_> {
    /// Acts until the run is over.
    pub fn run(mut self) {
        while !self.world.ends() {
            let working = self.world.work.read().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = self.act() {
                self.world.journal.violation(format!("an action failed: {error}"));
            }
            drop(working);
            let (least, most) = self.pause;
            std::thread::sleep(self.chance.millis(least, most));
        }
    }

    fn act(&mut self) -> Result<()> {
        let places = &self.world.network.places;
        let place = &places[self.chance.below(places.len() as u64) as usize];
        if self.world.book().living().len() > LIVING {
            return self.retire();
        }
        match self.chance.below(20) {
            0..6 => self.publish(place),
            6..12 => self.fetch(place),
            12..14 => self.drop_one(place),
            14..16 => self.repair(place),
            16 => self.world.tes(place, &["gc"]).map(drop),
            17 => self.world.tes(place, &["scrub"]).map(drop),
            18 => self.world.tes(place, &["status"]).map(drop),
            _ => self.status(place),
        }
    }

    /// Makes a capsule and publishes it.
    fn publish(&mut self, place: &Place) -> Result<()> {
        let size = if self.chance.one_in(CODED) { Size::Coded } else { Size::Short };
        let goods = Goods::new(self.chance.next(), size);
        let folder = self.world.scratch();
        goods.write(&folder)?;
        let made = self.world.tes(place, &["create", &folder.display().to_string()])?;
        discard(&folder);
        if !made.is_done() {
            return Ok(());
        }
        let hash = made.text("hash").parse()?;
        self.world.book().begun(hash, goods);
        self.world.book().take(hash);
        let published = self.publish_made(place, hash);
        self.world.book().give_back(hash);
        published
    }

    fn publish_made(&self, place: &Place, hash: TesseraHash) -> Result<()> {
        // Somebody may stop and restart the node meanwhile: a person would try again, too.
        for _ in 0..3 {
            let published = self.world.tes(place, &["publish", &hash.to_string(), "--yes"])?;
            if published.is_done() {
                self.world.journal.add("placed pieces", published.number("placed"));
                self.world.book().completed(hash);
                break;
            }
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    }

    /// A capsule that nobody else works on, for as long as this works on it.
    fn with_capsule(
        &mut self,
        fits: impl Fn(&Capsule) -> bool,
        work: impl FnOnce(&mut Self, Capsule) -> Result<()>,
    ) -> Result<()> {
        let idle: Vec<Capsule> = self.world.book().idle().into_iter().filter(fits).collect();
        let Some(capsule) = self.chance.pick(&idle) else { return Ok(()) };
        if !self.world.book().take(capsule.hash) {
            return Ok(());
        }
        let outcome = work(self, capsule);
        self.world.book().give_back(capsule.hash);
        outcome
    }

    /// Fetches a capsule and compares it bit for bit.
    fn fetch(&mut self, place: &Place) -> Result<()> {
        self.with_capsule(
            |capsule| capsule.is_complete,
            |this, capsule| {
                if let Some(id) = place.id() {
                    this.world.book().let_in(id, capsule.hash);
                }
                fetch_and_compare(this.world, place, &capsule).map(drop)
            },
        )
    }

    /// Drops a capsule on one node.
    fn drop_one(&mut self, place: &Place) -> Result<()> {
        let fits = |capsule: &Capsule| capsule.drops < DROPS;
        self.with_capsule(fits, |this, capsule| drop_on(this.world, place, capsule.hash).map(drop))
    }

    /// Drops the oldest capsules on all nodes.
    fn retire(&mut self) -> Result<()> {
        self.with_capsule(
            |_| true,
            |this, capsule| {
                this.world.book().retire(capsule.hash);
                for place in &this.world.network.places {
                    drop_on(this.world, place, capsule.hash)?;
                }
                this.world.journal.count("done retire");
                Ok(())
            },
        )
    }

    fn repair(&mut self, place: &Place) -> Result<()> {
        let repaired = match self.chance.one_in(2) {
            true => self.world.tes(place, &["repair"])?,
            false => {
                let living = self.world.book().living();
                let Some(capsule) = self.chance.pick(&living) else { return Ok(()) };
                self.world.tes(place, &["repair", &capsule.hash.to_string()])?
            }
        };
        self.world.journal.add("repaired pieces", repaired.number("restored"));
        Ok(())
    }

    fn status(&mut self, place: &Place) -> Result<()> {
        let living = self.world.book().living();
        let Some(capsule) = self.chance.pick(&living) else { return Ok(()) };
        self.world.tes(place, &["status", &capsule.hash.to_string()]).map(drop)
    }
}

/// Fetches a capsule to a node and compares it with what it was made of. Why it could not be
/// fetched; another content is a violation.
pub fn fetch_and_compare(
    world: &World,
    place: &Place,
    capsule: &Capsule,
) -> Result<std::result::Result<(), String>> {
    let hash = capsule.hash.to_string();
    let fetched = world.tes(place, &["fetch", &hash])?;
    if !fetched.is_done() {
        return Ok(Err(fetched.why()));
    }
    let folder = world.scratch();
    let restored = world.tes(place, &["restore", &hash, &folder.display().to_string()])?;
    if restored.is_done()
        && let Some(how) = capsule.goods.differs(&folder)?
    {
        world.journal.violation(format!("{hash} on node {} differs: {how}", place.number));
    }
    discard(&folder);
    Ok(if restored.is_done() { Ok(()) } else { Err(restored.why()) })
}

/// Drops a capsule on a node; whether nothing of it is there now.
pub fn drop_on(world: &World, place: &Place, hash: TesseraHash) -> Result<bool> {
    let _seen = world.drops.read().unwrap_or_else(PoisonError::into_inner);
    let Some(id) = place.id() else { return Ok(false) };
    world.book().drop_begins(id, hash);
    let dropped = world.tes(place, &["drop", &hash.to_string(), "--yes", "--block"])?;
    // Its disk may have been erased meanwhile.
    let is_done = dropped.is_done() && place.id() == Some(id);
    if is_done {
        world.book().drop_done(id, hash);
    }
    Ok(is_done)
}
