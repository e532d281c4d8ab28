//! Constructors and readers of bodies, for the layers above.

use std::io;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::transport::Body;

/// A body without bytes.
pub fn empty_body() -> Body {
    Box::pin(stream::empty())
}

/// A body of bytes that are already in memory; for small ones.
pub fn body_from_bytes(bytes: impl Into<Bytes>) -> Body {
    let bytes = bytes.into();
    Box::pin(stream::iter((!bytes.is_empty()).then_some(Ok(bytes))))
}

/// A body whose chunks arrive over a channel; the channel's capacity bounds the memory.
///
/// A sender that fails sends the error. If the sender is merely dropped, the body ends cleanly, as
/// if it were complete: a sender that may be cancelled midway must send an error first.
pub fn body_from_channel(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Box::pin(stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, receiver))
    }))
}

/// Reads a body to its end into memory.
///
/// Fails with [`io::ErrorKind::FileTooLarge`] as soon as there are more than `limit` bytes, and
/// with the body's own error if it has one. Holds at most `limit` bytes, whatever the peer sends.
pub async fn read_to_vec(mut body: Body, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk?;
        if chunk.len() > limit - bytes.len() {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the body is longer than {limit} bytes"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_becomes_a_body() {
        let (sender, receiver) = mpsc::channel(4);
        sender.send(Ok(Bytes::from_static(b"ab"))).await.unwrap();
        sender.send(Ok(Bytes::from_static(b"cd"))).await.unwrap();
        drop(sender);
        assert_eq!(read_to_vec(body_from_channel(receiver), 4).await.unwrap(), b"abcd");
        assert_eq!(read_to_vec(empty_body(), 0).await.unwrap(), b"");
        assert_eq!(read_to_vec(body_from_bytes("xyz"), 3).await.unwrap(), b"xyz");
    }

    #[tokio::test]
    async fn too_much_and_errors_are_errors() {
        let error = read_to_vec(body_from_bytes("xyz"), 2).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        let (sender, receiver) = mpsc::channel(4);
        sender.send(Ok(Bytes::from_static(b"ab"))).await.unwrap();
        sender.send(Err(io::ErrorKind::BrokenPipe.into())).await.unwrap();
        let error = read_to_vec(body_from_channel(receiver), 9).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
