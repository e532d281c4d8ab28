//! Sends stored bytes as the body of an answer or a request; what a disk holds is hashed meanwhile.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader, StoreError};
use tesseras_crypto::Blake3;
use tesseras_wire::{Body, BoxFuture};
use tokio::sync::OwnedSemaphorePermit;

use crate::blocking::Blocking;
use crate::bulk::{CHUNK, ReceiveError, SenderRate};
use crate::serving_permits::ServingPermit;

/// How much of a body is handed over at once, in bytes: so that a receiver is seen to read.
const HANDED_OVER: usize = 32 * 1024;

/// Permits that a body keeps until it ends.
pub(crate) enum Permit {
    /// The permit to hold a large dossier in memory.
    #[expect(dead_code, reason = "only kept")]
    Dossier(OwnedSemaphorePermit),
    /// A permit to send, which may be revoked.
    Transfer(ServingPermit),
}

/// What is sent.
pub(crate) struct Outgoing {
    /// The stored bytes.
    pub(crate) reader: Arc<dyn BlobReader>,
    /// What they must hash to. `None` if the receiver alone checks them.
    pub(crate) check: Option<Check>,
}

/// What stored bytes must hash to, and what is done if they do not.
pub(crate) struct Check {
    hasher: Blake3,
    expected: ContentHash,
    on_damage: OnDamage,
}

/// Records the damage that was found, and returns the error with which the body ends; or returns
/// that the bytes are right all the same. May block.
type OnDamage = Box<dyn FnOnce(StoreError) -> Result<(), StoreError> + Send>;

impl Check {
    /// Bytes that must hash to `expected`.
    pub(crate) fn new(
        expected: ContentHash,
        on_damage: impl FnOnce(StoreError) -> Result<(), StoreError> + Send + 'static,
    ) -> Self {
        Self { hasher: Blake3::default(), expected, on_damage: Box::new(on_damage) }
    }

    /// The next bytes were read, the last ones if `is_last`. Returns itself until then.
    fn read(mut self, chunk: &[u8], is_last: bool) -> Result<Option<Self>, StoreError> {
        self.hasher.update(chunk);
        if !is_last {
            return Ok(Some(self));
        }
        let found: ContentHash = self.hasher.finish();
        if found != self.expected {
            (self.on_damage)(StoreError::Corrupt(self.expected))?;
        }
        Ok(None)
    }

    /// Reading failed.
    fn failed(self, error: StoreError) -> StoreError {
        if !error.is_damage() {
            return error;
        }
        let read = error.to_string();
        (self.on_damage)(error).err().unwrap_or_else(|| StoreError::Backend {
            what: "reading a piece".to_owned(),
            source: read.into(),
        })
    }
}

/// The bytes of a stored object from an offset on, as a body; one chunk is read ahead. If they are
/// checked, what is before the offset is read, too, and the last chunk is handed over only if all of
/// them match; else the body ends with an error. The permit is kept until the last byte is taken or
/// the body is dropped.
pub(crate) fn send(
    disk: &Blocking,
    outgoing: Outgoing,
    offset: u64,
    permit: Option<Permit>,
) -> Body {
    let Outgoing { reader, check } = outgoing;
    // Bytes in memory were checked on their way there.
    let check = check.filter(|_| !reader.is_verified() && offset < reader.bytes());
    let sending = Sending {
        disk: disk.clone(),
        reader,
        at: if check.is_some() { 0 } else { offset },
        from: offset,
        check,
        rate: SenderRate::start(),
        chunk: Bytes::new(),
        ahead: None,
        permit,
    };
    Box::pin(stream::unfold(Some(sending), |sending| async move {
        let mut sending = sending?;
        match sending.next().await? {
            Ok(chunk) => Some((Ok(chunk), Some(sending))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// A chunk, and the check of what follows it.
type ReadChunk = io::Result<(Bytes, Option<Check>)>;

/// A stored object that is being sent.
struct Sending {
    disk: Blocking,
    reader: Arc<dyn BlobReader>,
    /// The offset of the next chunk.
    at: u64,
    /// The offset from which on it is sent.
    from: u64,
    /// Taken by the read that is in progress.
    check: Option<Check>,
    rate: SenderRate,
    /// The rest of the chunk that is being handed over.
    chunk: Bytes,
    /// The chunk at `at`, if its read has started.
    ahead: Option<BoxFuture<'static, ReadChunk>>,
    /// Kept until the body ends.
    permit: Option<Permit>,
}

impl Sending {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if let Some(Permit::Transfer(permit)) = &self.permit {
            permit.works();
        }
        while self.chunk.is_empty() {
            let reading = match self.ahead.take() {
                Some(reading) => reading,
                None => self.read()?,
            };
            let (mut chunk, check) = match reading.await {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            };
            self.check = check;
            let before = self.from.saturating_sub(self.at).min(chunk.len() as u64) as usize;
            self.at += chunk.len() as u64;
            self.ahead = self.read();
            // What is only hashed took its time, too.
            if let Err(slow) = self.rate.check(before) {
                return Some(Err(io::Error::other(slow)));
            }
            self.chunk = chunk.split_off(before);
        }
        Some(self.hand_over())
    }

    fn hand_over(&mut self) -> io::Result<Bytes> {
        let part = self.chunk.split_to(self.chunk.len().min(HANDED_OVER));
        // A receiver that reads too slowly must not keep others from theirs.
        self.rate.check(part.len()).map_err(io::Error::other)?;
        let Some(Permit::Transfer(permit)) = &self.permit else { return Ok(part) };
        if !permit.goes_on(part.len() as u64) {
            return Err(ReceiveError::cut());
        }
        permit.waits();
        Ok(part)
    }

    /// Starts to read the chunk at `at`; `None` at the end.
    fn read(&mut self) -> Option<BoxFuture<'static, ReadChunk>> {
        let (reader, at) = (self.reader.clone(), self.at);
        if at >= reader.bytes() {
            return None;
        }
        let check = self.check.take();
        let read = move || read_chunk(&*reader, at, check).map_err(io::Error::other);
        Some(Box::pin(self.disk.run(read)))
    }
}

fn read_chunk(
    reader: &dyn BlobReader,
    at: u64,
    check: Option<Check>,
) -> Result<(Bytes, Option<Check>), StoreError> {
    match (reader.read_chunk(at, CHUNK), check) {
        (Ok(chunk), None) => Ok((chunk, None)),
        (Ok(chunk), Some(check)) => {
            let is_last = at + chunk.len() as u64 >= reader.bytes();
            let check = check.read(&chunk, is_last)?;
            Ok((chunk, check))
        }
        (Err(error), Some(check)) => Err(check.failed(error)),
        (Err(error), None) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::blocking::TokioBlocking;

    /// Bytes that are already in memory, and must not be copied.
    struct Shared(Bytes);

    impl BlobReader for Shared {
        fn bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), StoreError> {
            panic!("a copy was asked for");
        }

        fn read_chunk(&self, offset: u64, limit: usize) -> Result<Bytes, StoreError> {
            let start = offset as usize;
            Ok(self.0.slice(start..self.0.len().min(start + limit)))
        }
    }

    #[tokio::test]
    async fn what_is_in_memory_is_sent_without_a_copy() {
        let bytes = Bytes::from((0..2 * CHUNK + 5000).map(|i| (i >> 10) as u8).collect::<Vec<_>>());
        let disk = Blocking::on(Arc::new(TokioBlocking));
        let outgoing = Outgoing { reader: Arc::new(Shared(bytes.clone())), check: None };
        let mut body = send(&disk, outgoing, 1000, None);
        let mut at = 1000;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.unwrap();
            assert!(!chunk.is_empty() && chunk.len() <= CHUNK);
            assert_eq!(chunk.as_ptr(), bytes[at..].as_ptr());
            at += chunk.len();
        }
        assert_eq!(at, bytes.len());
    }
}
