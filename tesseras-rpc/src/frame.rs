//! Frames: four bytes of length, big-endian, then that many bytes of named MessagePack.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tesseras_core::progress::Progress;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::calls::Response;
use crate::failure::Failure;

/// The longest request, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;
/// The longest event, the result included, in bytes.
pub const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;
/// How deep a message may nest; ours nest five deep.
const MAX_DEPTH: usize = 32;

/// What the server sends. Anything but a result may come any number of times before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// How far it is.
    Progress(Progress),
    /// Nothing new, but the node is still at it.
    Alive,
    /// The result: done.
    Done(Response),
    /// The result: it failed.
    Failed(Failure),
}

/// Why a frame could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// Longer than is allowed.
    #[error("a message of {bytes} bytes is too long; at most {limit} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Not MessagePack, or not a message that this version knows.
    #[error("the message is not understood: {0}")]
    Malformed(String),
}

impl FrameError {
    fn io(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error.kind() {
            UnexpectedEof | BrokenPipe | ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// A message as a frame.
pub fn encode<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; 4];
    rmp_serde::encode::write_named(&mut frame, message)
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
    let bytes = frame.len() - 4;
    let length = u32::try_from(bytes)
        .ok()
        .filter(|_| bytes <= limit)
        .ok_or(FrameError::TooLong { bytes, limit })?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// Reads one frame. Memory grows with what arrives, not with what is claimed.
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<T, FrameError> {
    let bytes = from.read_u32().await.map_err(FrameError::io)? as usize;
    if bytes > limit {
        return Err(FrameError::TooLong { bytes, limit });
    }
    let mut body = Vec::new();
    let got = from.take(bytes as u64).read_to_end(&mut body).await.map_err(FrameError::io)?;
    if got < bytes {
        return Err(FrameError::Closed);
    }
    let mut decoder = rmp_serde::Deserializer::from_read_ref(&body);
    decoder.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut decoder).map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Sends frames. A call that is cancelled half-way loses nothing: the next one goes on from there.
#[derive(Debug)]
pub(crate) struct FrameWriter<W> {
    to: W,
    pending: Vec<u8>,
    written: usize,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, pending: Vec::new(), written: 0 }
    }

    /// Sends what is left of the frame before.
    pub(crate) async fn flush(&mut self) -> Result<(), FrameError> {
        while self.written < self.pending.len() {
            let sent =
                self.to.write(&self.pending[self.written..]).await.map_err(FrameError::io)?;
            if sent == 0 {
                return Err(FrameError::Closed);
            }
            self.written += sent;
        }
        self.to.flush().await.map_err(FrameError::io)
    }

    /// Sends what is left of the frame before, then this one.
    pub(crate) async fn send(&mut self, frame: Vec<u8>) -> Result<(), FrameError> {
        self.flush().await?;
        self.pending = frame;
        self.written = 0;
        self.flush().await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calls::{AskStatus, Fetch, Repair, Request};
    use crate::failure::Cause;

    fn read_now<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(read(&mut &bytes[..], MAX_REQUEST_BYTES))
    }

    #[test]
    fn requests_round_trip() {
        use tesseras_core::ids::TesseraHash;
        let hash = TesseraHash::new([7; 32]);
        let requests: [Request; 3] =
            [AskStatus {}.into(), Fetch { hash }.into(), Repair { hash: Some(hash) }.into()];
        for request in requests {
            let frame = encode(&request, MAX_REQUEST_BYTES).expect("short");
            assert_eq!(read_now::<Request>(&frame).expect("own frame"), request);
        }
    }

    #[test]
    fn a_frame_that_was_cut_off_goes_on_where_it_was() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let (near, mut far) = tokio::io::duplex(16);
            let mut to = FrameWriter::new(near);
            let first = Event::Failed(Failure::new(Cause::Failed, "a".repeat(100)));
            let frame = |event: &Event| encode(event, MAX_EVENT_BYTES).expect("short");
            let patience = std::time::Duration::from_millis(5);
            let cut = tokio::time::timeout(patience, to.send(frame(&first))).await;
            assert!(cut.is_err(), "nobody reads, so it cannot all be sent");
            let second = frame(&Event::Alive);
            let (sent, read) = tokio::join!(to.send(second), async {
                let one = read::<Event>(&mut far, MAX_EVENT_BYTES).await;
                (one, read::<Event>(&mut far, MAX_EVENT_BYTES).await)
            });
            sent.expect("all is read now");
            assert_eq!(read.0.expect("whole"), first);
            assert_eq!(read.1.expect("whole"), Event::Alive);
        });
    }

    #[test]
    fn a_claimed_length_sets_no_memory_aside() {
        assert!(matches!(
            read_now::<Request>(&[0xff; 4]),
            Err(FrameError::TooLong { bytes: 0xffff_ffff, .. })
        ));
        let mut claimed = (MAX_REQUEST_BYTES as u32).to_be_bytes().to_vec();
        claimed.extend([0x81; 10]);
        assert!(matches!(read_now::<Request>(&claimed), Err(FrameError::Closed)));
    }

    #[test]
    fn deep_nesting_is_refused_without_deep_recursion() {
        let body = vec![0x91; 100_000];
        let mut frame = (body.len() as u32).to_be_bytes().to_vec();
        frame.extend(body);
        assert!(matches!(read_now::<Request>(&frame), Err(FrameError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut frame = (body.len() as u32).to_be_bytes().to_vec();
            frame.extend(body);
            let _ = read_now::<Request>(&frame);
            let _ = read_now::<Event>(&frame);
        }
    }
}
