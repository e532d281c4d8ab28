//! Bulk bytes between disk and network, a few chunks at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tesseras_core::buffer::PageBuffer;
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader, BlobStore, StagedBlob, StoreError};
use tesseras_wire::Body;
use tesseras_wire::body_from_channel;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::context::blocking;

/// How much is read from disk at once, in bytes.
pub const CHUNK: usize = 256 * 1024;
/// How many chunks wait between disk and network.
pub const CHUNKS_IN_FLIGHT: usize = 4;

/// The slowest transfer that is put up with, in bytes a second, once [`GRACE`] is over.
const MIN_RATE: u64 = 8 * 1024;
/// How long a transfer may be slower than that.
const GRACE: Duration = Duration::from_secs(20);

/// Why bulk bytes were not received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The connection broke, or the sender gave up.
    #[error("the transfer broke: {0}")]
    Broken(#[from] io::Error),
    /// The body ended early, or went on for too long.
    #[error("the length is {found} instead of {expected} bytes")]
    Length {
        /// How many were announced.
        expected: u64,
        /// How many came before it was noticed.
        found: u64,
    },
    /// The bytes are not those that were promised.
    #[error("the bytes hash to {found}, not to {expected}")]
    WrongBytes {
        /// What the plan says.
        expected: ContentHash,
        /// What came.
        found: ContentHash,
    },
    /// It took longer than any honest transfer.
    #[error("the transfer is too slow")]
    TooSlow,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Bytes of a stored object from an offset on, as a body. The permit is kept until the last byte
/// is taken or the body is dropped.
pub fn send(
    reader: Arc<dyn BlobReader>,
    offset: u64,
    permit: Option<OwnedSemaphorePermit>,
) -> Body {
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT - 2);
    // Not awaited: it ends when the receiver is dropped, at the next chunk.
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut at = offset;
        let mut pace = Pace::start();
        while at < reader.bytes() {
            let chunk = reader.read_chunk(at, CHUNK).map_err(io::Error::other).and_then(|chunk| {
                at += chunk.len() as u64;
                // A peer that takes bytes a few at a time does not keep others from their turn.
                pace.check(chunk.len()).map_err(io::Error::other)?;
                Ok(chunk)
            });
            let failed = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    body_from_channel(receiver)
}

/// A body that is read in parts.
pub struct BodyReader {
    body: Body,
    pending: Bytes,
}

impl BodyReader {
    /// Reads `body` from its beginning.
    pub fn new(body: Body) -> Self {
        Self { body, pending: Bytes::new() }
    }

    /// The next bytes, at most `limit`; `None` at the end.
    async fn next(&mut self, limit: u64) -> io::Result<Option<Bytes>> {
        while self.pending.is_empty() {
            match self.body.next().await {
                None => return Ok(None),
                Some(chunk) => self.pending = chunk?,
            }
        }
        let len = self.pending.len().min(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Some(self.pending.split_to(len)))
    }

    /// Exactly `bytes` bytes, in memory; the caller has bounded them.
    pub async fn read(&mut self, bytes: u64) -> Result<Vec<u8>, ReceiveError> {
        let mut pace = Pace::start();
        let mut out = Vec::new();
        while (out.len() as u64) < bytes {
            let found = out.len() as u64;
            let next = self.next(bytes - found).await?;
            let chunk = next.ok_or(ReceiveError::Length { expected: bytes, found })?;
            out.extend_from_slice(&chunk);
            pace.check(chunk.len())?;
        }
        Ok(out)
    }

    /// Reads the rest of the body, which must be `bytes` long and hash to `expected`; keeps none
    /// of it.
    pub async fn check(mut self, bytes: u64, expected: ContentHash) -> Result<(), ReceiveError> {
        let (mut pace, mut found) = (Pace::start(), 0);
        let mut hasher = tesseras_crypto::Blake3::default();
        while let Some(chunk) = self.next(CHUNK as u64).await? {
            found += chunk.len() as u64;
            if found > bytes {
                break;
            }
            pace.check(chunk.len())?;
            hasher.update(&chunk);
        }
        if found != bytes {
            return Err(ReceiveError::Length { expected: bytes, found });
        }
        let found = hasher.finish();
        if found == expected { Ok(()) } else { Err(ReceiveError::WrongBytes { expected, found }) }
    }

    /// The rest of the body, which must be `bytes` long and hash to `expected`, staged on disk.
    /// Whatever goes wrong, nothing is left behind.
    pub async fn stage(
        mut self,
        blobs: &Arc<dyn BlobStore>,
        bytes: u64,
        expected: ContentHash,
        mut on_bytes: impl FnMut(u64),
    ) -> Result<StagedBlob, ReceiveError> {
        let (sender, mut receiver) = mpsc::channel::<PageBuffer>(CHUNKS_IN_FLIGHT / 2);
        let writing = blocking({
            let blobs = blobs.clone();
            move || -> Result<Option<StagedBlob>, StoreError> {
                let mut writer = blobs.stage()?;
                let mut written = 0;
                while let Some(chunk) = receiver.blocking_recv() {
                    writer.write(&chunk)?;
                    written += chunk.len() as u64;
                }
                // Not all came: the unfinished writer removes its file.
                if written == bytes { writer.finish().map(Some) } else { Ok(None) }
            }
        });
        let receiving = async move {
            let mut pace = Pace::start();
            let mut found = 0;
            // The network brings a packet at a time. Hashing, writing and handing over as little
            // as that costs more than all the rest.
            let (mut gathered, mut filled) = (PageBuffer::new(CHUNK), 0);
            while let Some(packet) = self.next((CHUNK - filled) as u64).await? {
                found += packet.len() as u64;
                if found > bytes {
                    return Err(ReceiveError::Length { expected: bytes, found });
                }
                pace.check(packet.len())?;
                on_bytes(packet.len() as u64);
                gathered[filled..filled + packet.len()].copy_from_slice(&packet);
                filled += packet.len();
                if filled == CHUNK {
                    let full = std::mem::replace(&mut gathered, PageBuffer::new(CHUNK));
                    filled = 0;
                    if sender.send(full).await.is_err() {
                        break; // The writer failed, and says why.
                    }
                }
            }
            // That the writer failed is said by the writer.
            gathered.truncate(filled);
            let _ = sender.send(gathered).await;
            if found == bytes {
                Ok(())
            } else {
                Err(ReceiveError::Length { expected: bytes, found })
            }
        };
        let (received, written) = tokio::join!(receiving, writing);
        let staged = written?;
        let why = match (received, &staged) {
            (Ok(()), Some(done)) if done.hash == expected => None,
            (Ok(()), Some(done)) => Some(ReceiveError::WrongBytes { expected, found: done.hash }),
            (Ok(()), None) => Some(ReceiveError::Length { expected: bytes, found: 0 }),
            (Err(error), _) => Some(error),
        };
        match (why, staged) {
            (None, Some(staged)) => Ok(staged),
            (Some(why), Some(staged)) => {
                let blobs = blobs.clone();
                blocking(move || blobs.discard(staged)).await;
                Err(why)
            }
            (why, None) => Err(why.unwrap_or(ReceiveError::Length { expected: bytes, found: 0 })),
        }
    }
}

/// Notices a sender that drips.
struct Pace {
    start: Instant,
    bytes: u64,
}

impl Pace {
    fn start() -> Self {
        Self { start: Instant::now(), bytes: 0 }
    }

    fn check(&mut self, more: usize) -> Result<(), ReceiveError> {
        self.bytes += more as u64;
        let allowed = GRACE + Duration::from_secs(self.bytes / MIN_RATE);
        if self.start.elapsed() > allowed { Err(ReceiveError::TooSlow) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that are in memory already, and must not be copied out of it.
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
        let mut body = send(Arc::new(Shared(bytes.clone())), 1000, None);
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
