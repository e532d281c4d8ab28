//! Bulk bytes between disk and network, a few chunks at a time.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Fuse};
use futures_util::{FutureExt as _, StreamExt as _};
use tesseras_core::buffer::PageBuffer;
use tesseras_core::ids::ContentHash;
use tesseras_core::lock::lock;
use tesseras_core::ports::{BlobStore, BlobWriter, StoreError};
use tesseras_wire::{Body, BoxFuture};
use thiserror::Error;
use tokio::time::Instant;

use crate::blocking::Blocking;
use crate::serving_permits::ServingPermit;
use crate::staged::Staged;

/// How much is read from disk at once, in bytes.
pub const CHUNK: usize = 256 * 1024;
/// How many chunks a transfer holds: one that is sent or received, and one that is read or written.
pub const CHUNKS_IN_FLIGHT: usize = 2;

/// The slowest transfer that is accepted, in bytes per second, once [`GRACE`] is over.
const MIN_RATE: u64 = 8 * 1024;
/// How long a transfer may be slower than that.
const GRACE: Duration = Duration::from_secs(20);

/// Why bulk bytes were not received.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// The connection broke, or the sender aborted.
    #[error("the transfer broke: {0}")]
    Broken(#[source] io::Error),
    /// The body ended early or is too long.
    #[error("the length is {found} instead of {expected} bytes")]
    Length {
        /// The announced length, in bytes.
        expected: u64,
        /// Bytes received when this was noticed.
        found: u64,
    },
    /// The bytes do not match their checksum.
    #[error("the bytes hash to {found}, not to {expected}")]
    WrongBytes {
        /// The checksum in the plan.
        expected: ContentHash,
        /// The hash of the received bytes.
        found: ContentHash,
    },
    /// It was slower than the minimum rate.
    #[error("the transfer is too slow")]
    TooSlow,
    /// Its permit was given to another peer that had none.
    #[error("the transfer was cut because others wait")]
    Cut,
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReceiveError {
    /// The error of a body whose permit was revoked.
    pub(crate) fn cut() -> io::Error {
        io::Error::other(Self::Cut)
    }
}

impl From<io::Error> for ReceiveError {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(Self::Cut) => Self::Cut,
            _ => Self::Broken(error),
        }
    }
}

/// The same body, which fails as soon as the permit is revoked.
pub(crate) fn with_permit(body: Body, permit: Arc<ServingPermit>) -> Body {
    Box::pin(stream::unfold(Some((body, permit)), |receiving| async move {
        let (mut body, permit) = receiving?;
        let chunk = match body.next().now_or_never() {
            Some(at_hand) => at_hand,
            None => {
                permit.waits();
                let chunk = tokio::select! {
                    biased;
                    chunk = body.next() => chunk,
                    () = permit.revoked() => Some(Err(ReceiveError::cut())),
                };
                permit.works();
                chunk
            }
        };
        match chunk? {
            Ok(chunk) if permit.goes_on(chunk.len() as u64) => {
                Some((Ok(chunk), Some((body, permit))))
            }
            Ok(_) => Some((Err(ReceiveError::cut()), None)),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

/// A body that starts with bytes in memory and continues with another.
pub(crate) fn after(head: Vec<u8>, body: Body) -> Body {
    if head.is_empty() {
        return body;
    }
    Box::pin(stream::iter([Ok(head.into())]).chain(body))
}

/// A body that is read in parts.
pub struct BodyReader {
    body: Fuse<Body>,
    pending: Bytes,
}

impl BodyReader {
    /// Reads `body` from its beginning.
    pub fn new(body: Body) -> Self {
        Self { body: body.fuse(), pending: Bytes::new() }
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

    /// Exactly `bytes` bytes, in memory; the caller has checked that this is small enough.
    pub async fn read(&mut self, bytes: u64) -> Result<Vec<u8>, ReceiveError> {
        let mut rate = SenderRate::start();
        let mut out = Vec::new();
        while (out.len() as u64) < bytes {
            let found = out.len() as u64;
            let next = self.next(bytes - found).await?;
            let chunk = next.ok_or(ReceiveError::Length { expected: bytes, found })?;
            out.extend_from_slice(&chunk);
            rate.check(chunk.len())?;
        }
        Ok(out)
    }

    /// Reads the rest of the body, which must be `bytes` long and hash to `expected`, and discards
    /// it.
    pub async fn check(mut self, bytes: u64, expected: ContentHash) -> Result<(), ReceiveError> {
        let (mut rate, mut found) = (SenderRate::start(), 0);
        let mut hasher = tesseras_crypto::Blake3::default();
        while let Some(chunk) = self.next(CHUNK as u64).await? {
            found += chunk.len() as u64;
            if found > bytes {
                break;
            }
            rate.check(chunk.len())?;
            hasher.update(&chunk);
        }
        if found != bytes {
            return Err(ReceiveError::Length { expected: bytes, found });
        }
        let found = hasher.finish();
        if found == expected { Ok(()) } else { Err(ReceiveError::WrongBytes { expected, found }) }
    }

    /// Stages the rest of the body on disk; it must be `bytes` long and hash to `expected`. A chunk
    /// is written while the next one is received. `on_bytes` is told how many bytes were received,
    /// and returns whether to continue. On any error nothing is left behind.
    pub(crate) async fn stage(
        mut self,
        disk: &Blocking,
        blobs: &Arc<dyn BlobStore>,
        bytes: u64,
        expected: ContentHash,
        mut on_bytes: impl FnMut(u64) -> bool,
    ) -> Result<Staged, ReceiveError> {
        let mut file = StagedFile::begin(disk, blobs);
        let (mut rate, mut found) = (SenderRate::start(), 0);
        loop {
            // The network delivers a packet at a time. Hashing, writing and passing on such small
            // pieces costs more than everything else.
            let chunk = self.gather(bytes - found, &mut rate, &mut on_bytes).await?;
            if chunk.is_empty() {
                break;
            }
            found += chunk.len() as u64;
            file.write(chunk).await?;
        }
        found += self.next(CHUNK as u64).await?.map_or(0, |more| more.len() as u64);
        if found != bytes {
            return Err(ReceiveError::Length { expected: bytes, found });
        }
        let staged = file.finish().await?;
        let found = staged.hash;
        if found == expected {
            Ok(staged)
        } else {
            Err(ReceiveError::WrongBytes { expected, found })
        }
    }

    /// The next bytes, at most `limit`, as one chunk; an empty one at the end of the body or of the
    /// limit.
    async fn gather(
        &mut self,
        limit: u64,
        rate: &mut SenderRate,
        on_bytes: &mut impl FnMut(u64) -> bool,
    ) -> Result<PageBuffer, ReceiveError> {
        let len = usize::try_from(limit).map_or(CHUNK, |limit| limit.min(CHUNK));
        let (mut gathered, mut filled) = (PageBuffer::new(len), 0);
        while filled < len
            && let Some(packet) = self.next((len - filled) as u64).await?
        {
            rate.check(packet.len())?;
            if !on_bytes(packet.len() as u64) {
                return Err(ReceiveError::Cut);
            }
            gathered[filled..filled + packet.len()].copy_from_slice(&packet);
            filled += packet.len();
        }
        gathered.truncate(filled);
        Ok(gathered)
    }
}

/// A file that is being staged, a chunk at a time, on blocking threads. Dropped unfinished, it is
/// removed.
struct StagedFile {
    disk: Blocking,
    blobs: Arc<dyn BlobStore>,
    /// Taken only by disk work. That of a drop may come before what was started earlier, which then
    /// has nothing to do.
    writer: Arc<Mutex<Option<Box<dyn BlobWriter>>>>,
    /// The disk work that was started last.
    writing: BoxFuture<'static, Result<(), StoreError>>,
}

impl StagedFile {
    fn begin(disk: &Blocking, blobs: &Arc<dyn BlobStore>) -> Self {
        let writer = Arc::new(Mutex::new(None));
        let (store, slot) = (blobs.clone(), writer.clone());
        let begin = move || {
            *lock(&slot) = Some(store.stage()?);
            Ok(())
        };
        let writing = Box::pin(disk.run(begin));
        Self { disk: disk.clone(), blobs: blobs.clone(), writer, writing }
    }

    /// Returns when the previous chunk is written.
    async fn write(&mut self, chunk: PageBuffer) -> Result<(), StoreError> {
        (&mut self.writing).await?;
        let slot = self.writer.clone();
        let write = move || lock(&slot).as_mut().map_or(Ok(()), |writer| writer.write(&chunk));
        self.writing = Box::pin(self.disk.run(write));
        Ok(())
    }

    async fn finish(mut self) -> Result<Staged, StoreError> {
        (&mut self.writing).await?;
        let (slot, disk, blobs) = (self.writer.clone(), self.disk.clone(), self.blobs.clone());
        let finish = move || {
            let staged = lock(&slot).take()?.finish();
            Some(staged.map(|staged| Staged::new(&blobs, staged).discarded_on(&disk)))
        };
        self.disk.run(finish).await.expect("it has started, and is not dropped")
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        let slot = self.writer.clone();
        drop(self.disk.run(move || drop(lock(&slot).take())));
    }
}

/// Detects a sender that is too slow.
pub(crate) struct SenderRate {
    start: Instant,
    bytes: u64,
}

impl SenderRate {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), bytes: 0 }
    }

    pub(crate) fn check(&mut self, more: usize) -> Result<(), ReceiveError> {
        self.bytes += more as u64;
        let allowed = GRACE + Duration::from_secs(self.bytes / MIN_RATE);
        if self.start.elapsed() > allowed { Err(ReceiveError::TooSlow) } else { Ok(()) }
    }
}
