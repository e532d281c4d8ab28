//! Replays steps, and knows which are certain to survive.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::image::{Image, Node};
use crate::step::{FileId, Step};

/// A write survives in units of this many bytes, at multiples of it.
pub const SECTOR_BYTES: u64 = 512;

/// Which of the steps that were not synced survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surviving {
    /// None.
    Nothing,
    /// All: as if the process had been killed, and the power had stayed.
    Everything,
    /// All bytes and no names.
    Bytes,
    /// All names and no bytes.
    Names,
    /// Each name, and each sector of a write, by chance; from this seed.
    Some(u64),
}

/// A disk that can lose its power at any time.
#[derive(Debug, Clone, Default)]
pub struct Volume {
    /// What is certain to survive.
    durable: Image,
    /// What has happened since and was not synced, in order.
    pending: Vec<Step>,
}

impl Volume {
    /// The next step.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::SyncFile { file, .. } => self.settle(|step| bytes_of(step) == Some(*file)),
            Step::SyncDirectory(path) => self.settle(|step| is_named_in(step, path)),
            Step::SyncFileSystem => {
                self.settle(|_| true);
                self.durable.forget_nameless();
            }
            Step::Lost(file) => self.pending.retain(|step| bytes_of(step) != Some(*file)),
            Step::Mark(_) => {}
            _ => self.pending.push(step.clone()),
        }
    }

    /// One possible content after a power cut now.
    pub fn image(&self, surviving: Surviving) -> Image {
        let mut image = self.durable.clone();
        let mut chance = match surviving {
            Surviving::Some(seed) => Some(Chance::new(seed)),
            _ => None,
        };
        for step in &self.pending {
            let is_bytes = bytes_of(step).is_some();
            let survives = match surviving {
                Surviving::Nothing => false,
                Surviving::Everything => true,
                Surviving::Bytes => is_bytes,
                Surviving::Names => !is_bytes,
                // A write survives in parts.
                Surviving::Some(_) => {
                    matches!(step, Step::Write { .. })
                        || chance.as_mut().is_some_and(Chance::decide)
                }
            };
            match (step, &mut chance) {
                (Step::Write { file, at, bytes }, Some(chance)) => {
                    write_in_part(&mut image, *file, *at, bytes, chance);
                }
                _ if survives => take(&mut image, step),
                _ => {}
            }
        }
        image
    }

    /// Makes the pending steps durable that are meant, in their order.
    fn settle(&mut self, is_meant: impl Fn(&Step) -> bool) {
        let mut rest: Vec<Step> = Vec::with_capacity(self.pending.len());
        for step in std::mem::take(&mut self.pending) {
            if !is_meant(&step) {
                rest.push(step);
                continue;
            }
            if let Step::Rename { from, .. } | Step::Remove(from) = &step {
                // A name that is gone for certain does not appear any more.
                rest.retain(|earlier| new_name(earlier) != Some(from));
            }
            take(&mut self.durable, &step);
        }
        self.pending = rest;
    }
}

/// The file whose bytes a step changes.
fn bytes_of(step: &Step) -> Option<FileId> {
    match step {
        Step::Write { file, .. } | Step::Truncate { file, .. } => Some(*file),
        _ => None,
    }
}

/// The name that a step adds.
fn new_name(step: &Step) -> Option<&Path> {
    match step {
        Step::CreateDirectory(path)
        | Step::Create { path, .. }
        | Step::Link { path, .. }
        | Step::Rename { to: path, .. } => Some(path),
        _ => None,
    }
}

/// Whether a sync of this directory makes a step survive.
fn is_named_in(step: &Step, directory: &Path) -> bool {
    let name = match step {
        Step::RemoveDirectory(path) | Step::Remove(path) => Some(path.as_path()),
        _ => new_name(step),
    };
    name.and_then(Path::parent) == Some(directory)
}

fn take(image: &mut Image, step: &Step) {
    match step {
        Step::CreateDirectory(path) => {
            image.names.insert(path.clone(), Node::Directory);
        }
        Step::RemoveDirectory(path) | Step::Remove(path) => {
            image.names.remove(path);
        }
        Step::Create { path, file } | Step::Link { path, file } => {
            image.names.insert(path.clone(), Node::File(*file));
        }
        Step::Rename { from, to, file } => {
            if image.names.get(from) == Some(&Node::File(*file)) {
                image.names.remove(from);
            }
            image.names.insert(to.clone(), Node::File(*file));
        }
        Step::Write { file, at, bytes } => image.write(*file, *at, bytes),
        Step::Truncate { file, length } => image.truncate(*file, *length),
        Step::SyncFile { .. }
        | Step::SyncDirectory(_)
        | Step::SyncFileSystem
        | Step::Lost(_)
        | Step::Mark(_) => {}
    }
}

fn write_in_part(image: &mut Image, file: FileId, at: u64, bytes: &[u8], chance: &mut Chance) {
    let mut done = 0;
    while done < bytes.len() {
        let position = at + done as u64;
        let to_border = SECTOR_BYTES - position % SECTOR_BYTES;
        let length = usize::try_from(to_border).map_or(bytes.len(), |n| n.min(bytes.len() - done));
        if chance.decide() {
            image.write(file, position, &bytes[done..done + length]);
        }
        done += length;
    }
}

/// Decides from a seed; with some seeds almost everything survives, with others almost nothing.
struct Chance {
    random: StdRng,
    percent: u32,
}

impl Chance {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let percent = [10, 50, 90, 98][(random.next_u32() % 4) as usize];
        Self { random, percent }
    }

    fn decide(&mut self) -> bool {
        self.random.random_range(0..100) < self.percent
    }
}
