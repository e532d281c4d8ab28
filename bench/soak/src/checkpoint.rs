//! Everything stops, and everything that must be there is looked for.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::Value;
use tesseras_core::ids::ContentHash;

use crate::actions::{drop_on, fetch_and_compare};
use crate::clock::{Since, wait_for};
use crate::disk;
use crate::failure::Result;
use crate::faults::start;
use crate::network::Place;
use crate::world::{World, discard};

/// The number of the node that reads everything.
const READER: u8 = 200;
/// How long, from the first fetch on, capsules may be unreadable while nodes that were away join
/// again. It is one time for all: what follows is fetched from nodes that have had it.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a check says of a data directory, in lists.
const LISTS: [&str; 8] = [
    "missing",
    "damaged",
    "miscounted",
    "lost_pieces",
    "unsigned",
    "unlisted",
    "orphans",
    "waiting",
];

/// Looks at everything, with all nodes running before and after. The faults must be healed.
pub fn checkpoint(world: &World, name: &str) -> Result<()> {
    let _nothing_else_works = world.work.write().unwrap_or_else(PoisonError::into_inner);
    let before = world.journal.violations();
    world.observe()?;
    retired_are_dropped(world)?;
    let read = everything_is_readable(world)?;
    world.observe()?;
    for place in &world.network.places {
        if let Some(daemon) = place.state().daemon.take()
            && !daemon.stop()
        {
            world.journal.violation(format!("node {} did not stop", place.number));
        }
    }
    let mut acknowledged = 0;
    for place in &world.network.places {
        acknowledged += disk_is_sound(world, place)?;
    }
    for place in &world.network.places {
        start(world, place)?;
    }
    let found = world.journal.violations() - before;
    world.journal.say(&format!(
        "{name}: {read} capsules fetched bit for bit, {acknowledged} acknowledged pieces on their \
         disks, {found} violations"
    ));
    Ok(())
}

/// Drops what is retired from nodes that have it all the same, such as ones that were erased meanwhile.
fn retired_are_dropped(world: &World) -> Result<()> {
    let retired: BTreeSet<_> = world.book().retired().into_iter().collect();
    for place in &world.network.places {
        let rows = disk::rows(&place.data, &[])?;
        let there = rows.held.keys().map(|(tessera, _)| *tessera).chain(rows.library);
        let there: BTreeSet<_> = there.filter(|tessera| retired.contains(tessera)).collect();
        for tessera in there {
            drop_on(world, place, tessera)?;
        }
    }
    Ok(())
}

/// Fetches every capsule to a new node; how many there were. One that never had fewer than k pieces
/// must be readable.
fn everything_is_readable(world: &World) -> Result<usize> {
    let reader = world.network.reader(READER)?;
    let begin = Since::now();
    let mut read = 0;
    let published = world.book().living().into_iter().filter(|capsule| capsule.is_complete);
    for capsule in published.collect::<Vec<_>>() {
        let mut outcome = fetch_and_compare(world, &reader, &capsule)?;
        let longest = if capsule.fell { Duration::ZERO } else { PATIENCE };
        while let Err(why) = &outcome {
            if begin.is_over(longest) {
                break;
            }
            world.journal.log(&format!("{} is not readable yet: {why}", capsule.hash));
            std::thread::sleep(Duration::from_secs(2));
            outcome = fetch_and_compare(world, &reader, &capsule)?;
        }
        match (outcome, capsule.fell) {
            (Ok(()), _) => read += 1,
            (Err(_), true) => world.journal.count("lost after it fell below k"),
            (Err(why), false) => {
                world.journal.count("losses");
                world.journal.violation(format!("{} is lost: {why}", capsule.hash));
            }
        }
    }
    let daemon = reader.state().daemon.take();
    if daemon.is_some_and(|daemon| !daemon.stop()) {
        world.journal.violation("the reader did not stop".to_owned());
    }
    if let Some(home) = reader.data.parent() {
        discard(home);
    }
    Ok(read)
}

/// Compares a disk with its index and with what was acknowledged; its node does not run. How many
/// acknowledged pieces were looked for.
pub fn disk_is_sound(world: &World, place: &Place) -> Result<usize> {
    let number = place.number;
    let collected = world.tes(place, &["gc"])?;
    if !collected.is_done() {
        world.journal.violation(format!("node {number}: gc: {}", collected.why()));
    }
    let checked = world.network.programs.run(&place.data, &["check"])?.json;
    let touched = place.state().touched.clone();
    let is_known = |value: &Value| value.as_str().is_some_and(|hash| is_among(&touched, hash));
    for list in LISTS {
        let Some(found) = checked[list].as_array() else {
            world.journal.violation(format!("node {number}: check did not answer"));
            break;
        };
        // What a flipped bit did is known; it must be the whole of it.
        let expected = |one: &&Value| list == "damaged" && is_known(one);
        let found: Vec<_> = found.iter().filter(|one| !expected(one)).collect();
        // A piece is lost if its file is damaged: looked at below, piece by piece.
        if !found.is_empty() && (list != "lost_pieces" || touched.is_empty()) {
            world.journal.violation(format!("node {number}: check: {list}: {found:?}"));
        }
    }
    let rows = disk::rows(&place.data, &[])?;
    for stray in disk::strays(&place.data, &rows.library) {
        world.journal.violation(format!("node {number}: nothing names {}", stray.display()));
    }
    let mended: Vec<_> =
        touched.iter().filter(|hash| disk::is_sound(&place.data, hash)).copied().collect();
    world.journal.add("flipped files found sound again", mended.len() as u64);
    place.state().touched.retain(|hash| !mended.contains(hash));
    let Some(id) = place.id() else { return Ok(0) };
    let acknowledged = world.book().acknowledged(id);
    for (tessera, piece) in &acknowledged {
        match rows.held.get(&(*tessera, *piece)) {
            Some(checksum) if touched.contains(checksum) => {}
            Some(checksum) if disk::is_sound(&place.data, checksum) => {}
            Some(_) => missing(world, place, &format!("piece {piece} of {tessera} is damaged")),
            None => missing(world, place, &format!("piece {piece} of {tessera} is not listed")),
        }
    }
    Ok(acknowledged.len())
}

fn missing(world: &World, place: &Place, what: &str) {
    world.journal.count("acknowledged pieces missing");
    world.journal.violation(format!("node {}: acknowledged {what}", place.number));
}

fn is_among(touched: &BTreeSet<ContentHash>, hash: &str) -> bool {
    hash.parse().is_ok_and(|hash: ContentHash| touched.contains(&hash))
}

/// Waits until each node knows some others.
pub fn settle(world: &World) -> Result<()> {
    let longest = Duration::from_secs(120);
    let wanted = (world.network.places.len() - 1) * 2 / 3;
    for place in &world.network.places {
        let knows = || {
            let peers = world.network.programs.run(&place.data, &["peers"]);
            peers.is_ok_and(|answer| answer.json["peers"].as_array().map_or(0, Vec::len) >= wanted)
        };
        if !wait_for(longest, Duration::from_millis(200), knows) {
            return Err(format!("node {} does not know the others", place.number).into());
        }
    }
    Ok(())
}
