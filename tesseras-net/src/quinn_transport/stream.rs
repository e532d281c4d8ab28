//! Frames and bodies on QUIC streams, in both directions, for both sides.
//!
//! A message is a u32 length (big-endian), a frame of that many bytes, then the raw bytes of its
//! body until the stream is finished. A stream that ends in any other way is incomplete, and its
//! reader gets an error.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tesseras_core::lock::lock;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use super::connection::{Heard, Lease, code};
use tesseras_wire::empty_body;
use tesseras_wire::{Body, MAX_FRAME_BYTES};

/// The most bytes of a body that are passed on, or to quinn, at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most bytes that are read before the length of the frame is known, and beyond its end.
const AHEAD_BYTES: usize = 1024;
/// How often a sender checks whether its last bytes are still being acknowledged.
const DRAIN_TICK: Duration = Duration::from_millis(500);

/// Why a frame could not be read.
#[derive(Debug, Error)]
pub(crate) enum FrameReadError {
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("the stream ended before its frame did")]
    Ended,
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The receiving side of a stream.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: RecvStream,
    /// What was received after the frame: bytes of the body, or its end.
    ahead: Option<Result<Option<Bytes>, ReadError>>,
    /// The buffer for the body's bytes.
    room: BytesMut,
}

impl Receiver {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream, ahead: None, room: BytesMut::new() }
    }

    /// Reads the frame. Memory grows with the bytes received, not with the claimed length.
    pub(crate) async fn frame(&mut self) -> Result<Vec<u8>, FrameReadError> {
        let mut frame = Vec::new();
        let length = loop {
            if let Some(length) = frame.first_chunk() {
                break u32::from_be_bytes(*length) as usize;
            }
            frame.extend_from_slice(&self.part(AHEAD_BYTES).await?);
        };
        if length > MAX_FRAME_BYTES {
            return Err(FrameReadError::TooLong(length));
        }
        frame.drain(..4);
        while frame.len() < length {
            frame.extend_from_slice(&self.part(length - frame.len()).await?);
        }
        let more = frame.split_off(length);
        // Most messages have no body, and their end arrives with their frame. A stream that is not
        // read to its end has to be stopped, which costs a packet.
        self.ahead = if more.is_empty() {
            let next = self.stream.read_chunk(AHEAD_BYTES, true).now_or_never();
            next.map(|found| found.map(|chunk| chunk.map(|chunk| chunk.bytes)))
        } else {
            Some(Ok(Some(more.into())))
        };
        Ok(frame)
    }

    /// Stops the stream; the rest is discarded.
    pub(crate) fn refuse(&mut self) {
        // It fails only if the stream has already ended.
        let _ = self.stream.stop(code::UNREAD);
    }

    async fn part(&mut self, most: usize) -> Result<Bytes, FrameReadError> {
        let chunk = self.stream.read_chunk(most, true).await?;
        chunk.map(|chunk| chunk.bytes).ok_or(FrameReadError::Ended)
    }

    /// The next bytes of the body, as many as are available, up to [`CHUNK_BYTES`]; `None` at its
    /// end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(found) = self.ahead.take() {
            return Ok(found?);
        }
        // quinn returns a packet at a time. Passing each one on separately costs more than copying
        // it.
        if self.room.capacity() < CHUNK_BYTES / 4 {
            self.room.reserve(CHUNK_BYTES);
        }
        let read = self.stream.read_buf(&mut self.room).await?;
        Ok((read > 0).then(|| self.room.split().freeze()))
    }
}

/// A deadline that is extended whenever bytes move.
#[derive(Debug)]
pub(crate) struct Stall {
    patience: Duration,
    until: Mutex<Instant>,
}

impl Stall {
    /// Ends at `until`, or `patience` after the last progress, whichever is later.
    pub(crate) fn new(patience: Duration, until: Instant) -> Self {
        Self { patience, until: Mutex::new(until) }
    }

    /// Records progress.
    pub(crate) fn moved(&self) {
        let later = Instant::now() + self.patience;
        let mut until = lock(&self.until);
        *until = later.max(*until);
    }

    /// Whether there was no progress for too long.
    pub(crate) fn is_over(&self) -> bool {
        self.until() <= Instant::now()
    }

    /// Returns when there was no progress for too long.
    pub(crate) async fn passed(&self) {
        loop {
            sleep_until(self.until()).await;
            if self.is_over() {
                return;
            }
        }
    }

    fn until(&self) -> Instant {
        *lock(&self.until)
    }
}

/// Why a message could not be sent.
#[derive(Debug, Error)]
pub(crate) enum SendError {
    #[error("the body could not be read: {0}")]
    Body(#[source] io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The sending side of a stream. If dropped before it is finished, it tells the reader that the
/// bytes are incomplete; quinn alone would end the stream cleanly.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: SendStream,
    finished: bool,
}

impl Sender {
    pub(crate) fn new(stream: SendStream) -> Self {
        Self { stream, finished: false }
    }

    /// Sends a frame, which the caller has checked to be no longer than [`MAX_FRAME_BYTES`].
    pub(crate) async fn frame(&mut self, frame: &[u8]) -> Result<(), WriteError> {
        let length = u32::try_from(frame.len()).expect("a frame fits 64 KiB");
        let mut whole = Vec::with_capacity(4 + frame.len());
        whole.extend_from_slice(&length.to_be_bytes());
        whole.extend_from_slice(frame);
        self.stream.write_chunk(whole.into()).await
    }

    /// Sends a body to its end.
    pub(crate) async fn body(&mut self, mut body: Body, stall: &Stall) -> Result<(), SendError> {
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(SendError::Body)?;
            stall.moved();
            while !chunk.is_empty() {
                let piece = chunk.split_to(chunk.len().min(CHUNK_BYTES));
                self.stream.write_chunk(piece).await?;
                stall.moved();
            }
        }
        Ok(())
    }

    /// Ends the stream; what was sent is complete.
    pub(crate) fn finish(&mut self) -> Result<(), WriteError> {
        self.stream.finish()?;
        self.finished = true;
        Ok(())
    }

    /// Waits until everything was acknowledged or the peer stopped reading; `false` if there was no
    /// progress for too long.
    pub(crate) async fn drained(&self, quic: &quinn::Connection, stall: &Stall) -> bool {
        // Most is acknowledged before the first check, which only records the state.
        let mut acknowledged = None;
        let mut done = std::pin::pin!(self.stream.stopped());
        while timeout(DRAIN_TICK, &mut done).await.is_err() {
            let now = Heard::from(quic).acks;
            if acknowledged.replace(now).is_some_and(|before| before != now) {
                stall.moved();
            } else if stall.is_over() {
                return false;
            }
        }
        true
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.finished {
            // It fails only if the stream is already closed.
            let _ = self.stream.reset(code::INCOMPLETE);
        }
    }
}

/// The rest of a stream as a body. It keeps the connection in use until it is read to its end or
/// dropped, and fails when no bytes came for `patience` during a read.
pub(crate) fn receive_body(receiver: Receiver, lease: &Lease, patience: Duration) -> Body {
    if let Some(Ok(None)) = receiver.ahead {
        return empty_body();
    }
    let incoming = Incoming { receiver, lease: lease.another(), patience, reading: false };
    Box::pin(stream::unfold(Some(incoming), |state| async move {
        let mut incoming = state?;
        match incoming.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(incoming))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Incoming {
    receiver: Receiver,
    lease: Lease,
    patience: Duration,
    reading: bool,
}

impl Incoming {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let connection = self.lease.clone();
        if !self.reading {
            self.reading = true;
            connection.window.begin(&connection.quic);
        }
        match timeout(self.patience, self.receiver.next()).await {
            Ok(Ok(Some(chunk))) => {
                connection.window.read(&connection.quic, chunk.len());
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the body has stalled")),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.receiver.refuse();
        if self.reading {
            self.lease.window.end(&self.lease.quic);
        }
    }
}
