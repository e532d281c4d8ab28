//! Reads every stored object and compares it with its hash: what rotted on the disk is found before it
//! is needed. A walk goes through the objects in the order of their hashes, in steps of a bounded
//! length.
//!
//! What is damaged is recorded with the object, and its file stays where it is, as it is, until sound
//! bytes replace it. An object that was recorded as damaged and can be read again, and matches, is
//! recorded as sound.

mod damage;
mod found;
mod round;

use std::sync::Arc;

use rusqlite::OptionalExtension as _;
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader as _, StoreError};
use tesseras_crypto::Blake3;

use crate::cas::{Cas, FileReader};
use crate::columns::{content_hash, count};

pub use damage::{DamagedObject, ObjectUse};
pub use round::ScrubRound;

pub(crate) use damage::{count_damaged, damaged_after};
pub(crate) use found::is_there;
use found::{record_found, record_sound};
pub(crate) use round::{round, save_round};

/// How much is read and hashed at a time, in bytes; the memory that a walk takes.
const WINDOW: usize = 256 * 1024;
/// What every object counts for at least in the length of a step, in bytes: opening a file takes time,
/// too.
const LEAST: u64 = 16 * 1024;
/// The most objects of which it is said why they could not be read.
pub const MAX_REASONS: usize = 16;

/// What was read so far, or in one step.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Objects that were read to their end, or found damaged.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Objects that are damaged; the store [lists](crate::Store::damaged_objects) them.
    pub corrupt: u64,
    /// Objects that could not be read, which says nothing about them.
    pub unread: u64,
    /// Why, of the first [`MAX_REASONS`] of them, as sentences.
    pub reasons: Vec<String>,
}

impl Scrubbed {
    /// Adds what was read after this.
    pub fn add(&mut self, more: Self) {
        self.objects += more.objects;
        self.bytes += more.bytes;
        self.corrupt += more.corrupt;
        self.unread += more.unread;
        let room = MAX_REASONS.saturating_sub(self.reasons.len());
        self.reasons.extend(more.reasons.into_iter().take(room));
    }

    fn note_unread(&mut self, object: &ContentHash, error: &StoreError) {
        self.unread += 1;
        if self.reasons.len() < MAX_REASONS {
            self.reasons.push(format!("{object} could not be read: {error}"));
        }
    }
}

/// A walk through all objects. Every call may block.
pub struct Scrub {
    cas: Arc<Cas>,
    /// The last object that was read.
    after: Option<ContentHash>,
    /// The object that is being read.
    current: Option<Box<Reading>>,
    is_done: bool,
    buffer: Vec<u8>,
}

/// An object that is being read.
struct Reading {
    object: Object,
    file: FileReader,
    hasher: Blake3,
    at: u64,
}

#[derive(Clone, Copy)]
struct Object {
    hash: ContentHash,
    bytes: u64,
    /// Whether it is recorded as damaged.
    is_damaged: bool,
}

/// What reading an object, or a part of it, has shown.
enum Found {
    More(Box<Reading>),
    Sound,
    Damaged(Option<FileReader>),
}

impl Scrub {
    /// A walk that begins after this object; at the beginning if there is none.
    pub(crate) fn new(cas: Arc<Cas>, after: Option<ContentHash>) -> Self {
        Self { cas, after, current: None, is_done: false, buffer: vec![0; WINDOW] }
    }

    /// The last object that was read to its end.
    pub fn position(&self) -> Option<ContentHash> {
        self.after
    }

    /// Whether an object is being read.
    pub fn is_within_object(&self) -> bool {
        self.current.is_some()
    }

    /// Whether all objects have been read.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Reads on, about `most` bytes and at least one window or object. Objects that are found damaged
    /// are recorded so. Fails only if the index cannot be read or written.
    pub fn step(&mut self, most: u64) -> Result<Scrubbed, StoreError> {
        let (mut done, mut spent) = (Scrubbed::default(), 0);
        while spent < most && !self.is_done {
            let before = done.bytes;
            let least = if self.current.is_some() { 0 } else { LEAST };
            self.one(&mut done)?;
            spent += (done.bytes - before).max(least);
        }
        Ok(done)
    }

    /// Reads one window, or finds that there is nothing more.
    fn one(&mut self, done: &mut Scrubbed) -> Result<(), StoreError> {
        let (object, found) = match self.current.take() {
            Some(reading) => (reading.object, reading.read(&mut self.buffer, done)),
            None => {
                let Some(object) = object_after(&self.cas, self.after.as_ref())? else {
                    self.is_done = true;
                    return Ok(());
                };
                (object, Reading::open(&self.cas, object))
            }
        };
        match found {
            Ok(Found::More(reading)) => {
                self.current = Some(reading);
                return Ok(());
            }
            Ok(Found::Sound) => {
                if object.is_damaged {
                    record_sound(&self.cas, &object.hash)?;
                }
                done.objects += 1;
            }
            Ok(Found::Damaged(file)) => {
                done.objects += 1;
                if record_found(&self.cas, &object.hash, object.bytes, file.as_ref())? {
                    let path = self.cas.files().path(&object.hash);
                    tracing::error!(path = %path.display(), "a stored file is damaged");
                    done.corrupt += 1;
                }
            }
            Err(error) => {
                tracing::warn!(object = %object.hash, %error, "a stored file could not be read");
                done.note_unread(&object.hash, &error);
            }
        }
        self.after = Some(object.hash);
        Ok(())
    }
}

impl Reading {
    fn open(cas: &Cas, object: Object) -> Result<Found, StoreError> {
        match cas.open_object(&object.hash) {
            Ok(file) => {
                let reading = Self { object, file, hasher: Blake3::default(), at: 0 };
                Ok(Found::More(Box::new(reading)))
            }
            Err(error) if error.is_damage() => Ok(Found::Damaged(None)),
            Err(error) => Err(error),
        }
    }

    fn read(
        mut self: Box<Self>,
        buffer: &mut [u8],
        done: &mut Scrubbed,
    ) -> Result<Found, StoreError> {
        let rest = self.object.bytes - self.at;
        let window = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        let window = &mut buffer[..window];
        match self.file.read_at(self.at, window) {
            Ok(()) => {}
            Err(error) if error.is_damage() => return Ok(Found::Damaged(Some(self.file))),
            Err(error) => return Err(error),
        }
        self.hasher.update(window);
        self.at += window.len() as u64;
        done.bytes += window.len() as u64;
        if self.at < self.object.bytes {
            return Ok(Found::More(self));
        }
        let found: ContentHash = self.hasher.finish();
        match found == self.object.hash {
            true => Ok(Found::Sound),
            false => Ok(Found::Damaged(Some(self.file))),
        }
    }
}

fn object_after(cas: &Cas, after: Option<&ContentHash>) -> Result<Option<Object>, StoreError> {
    let after: &[u8] = after.map_or(&[], |hash| hash.as_bytes());
    cas.database().read("listing objects", |connection| {
        connection
            .prepare_cached(
                "SELECT hash, bytes, damaged FROM objects WHERE hash > ?1 ORDER BY hash LIMIT 1",
            )?
            .query_row([after], |row| {
                let (hash, bytes) = (content_hash(row, 0)?, count(row, 1)?);
                Ok(Object { hash, bytes, is_damaged: row.get(2)? })
            })
            .optional()
    })
}
