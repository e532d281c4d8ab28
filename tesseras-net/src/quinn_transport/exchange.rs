//! One request on one connection: send it, read the reply's frame, pass on the body.

use std::sync::Arc;
use std::time::Duration;

use tesseras_core::words::one_line;
use tokio::time::Instant;

use super::connection::{Heard, Lease};
use super::stream::{FrameReadError, Receiver, SendError, Sender, Stall, receive_body};
use tesseras_wire::{Body, Reply, RequestError};

/// A connection that was unused for longer than this may have died. A body cannot be sent twice, so
/// it is sent only after the peer has acknowledged the frame.
const DOUBT: Duration = Duration::from_secs(1);

/// Why an exchange failed, and whether it may be retried.
pub(super) struct Failed {
    pub(super) error: RequestError,
    /// The connection was already dead: the peer acknowledged nothing of this request or has
    /// forgotten the connection, and the body, if there is one, has not been read.
    pub(super) untouched: bool,
    /// The deadline passed, and no packet came from the peer in the meantime.
    pub(super) silent: bool,
}

/// Sends a request on a connection. `body` is taken when its sending begins.
pub(super) async fn exchange(
    lease: Lease,
    frame: &[u8],
    body: &mut Option<Body>,
    patience: Duration,
    until: Instant,
) -> Result<Reply, Failed> {
    let had_body = body.is_some();
    let mut opened = false;
    let stall = Stall::new(patience, until);
    let asked = tokio::select! {
        biased;
        asked = ask(&lease, frame, body, &stall, &mut opened) => asked,
        () = stall.passed() => Err(RequestError::Deadline),
    };
    let error = match asked {
        Ok((frame, receiver)) => {
            let body = receive_body(receiver, &lease, patience);
            return Ok(Reply { peer: lease.peer(), frame, body });
        }
        Err(error) => error,
    };
    let (before, after) = (lease.before, Heard::from(&lease.quic));
    let unheard = match lease.quic.close_reason() {
        // The peer has restarted and does not know this connection.
        Some(quinn::ConnectionError::Reset) => true,
        Some(_) => !opened || after.acks == before.acks,
        None => false,
    };
    let broken = matches!(error, RequestError::Broken(_));
    Err(Failed {
        untouched: broken && unheard && body.is_some() == had_body,
        silent: matches!(error, RequestError::Deadline) && after.datagrams == before.datagrams,
        error,
    })
}

async fn ask(
    lease: &Lease,
    frame: &[u8],
    body: &mut Option<Body>,
    stall: &Stall,
    opened: &mut bool,
) -> Result<(Vec<u8>, Receiver), RequestError> {
    let broken = |error: quinn::ConnectionError| RequestError::Broken(with_causes(&error));
    let _permit = lease.in_flight.acquire().await.expect("it is never closed");
    let (send, recv) = lease.quic.open_bi().await.map_err(broken)?;
    *opened = true;
    let (mut sender, mut receiver) = (Sender::new(send), Receiver::new(recv));
    let sending = async {
        sender.frame(frame).await?;
        if body.is_some() && lease.unused_for() > DOUBT {
            Box::pin(heard(&lease.quic)).await?;
        }
        let body = body.take();
        let bulk = body.is_some();
        if let Some(body) = body {
            // Boxed, since most requests have no body and need no room for this.
            Box::pin(sender.body(body, stall)).await?;
        }
        sender.finish()?;
        if bulk && Box::pin(sender.drained(&lease.quic, stall)).await {
            stall.moved();
        }
        Ok::<(), SendError>(())
    };
    let mut sending = std::pin::pin!(sending);
    let answer = {
        let mut receiving = std::pin::pin!(receiver.frame());
        // Sending first: an answer is unlikely before the request is sent or blocked.
        let early = tokio::select! {
            biased;
            sent = &mut sending => match sent {
                Err(SendError::Body(error)) => return Err(RequestError::Body(Arc::new(error))),
                // A peer that stopped reading has its answer ready, and one that is gone may have
                // sent it.
                Ok(()) | Err(SendError::Write(_)) => None,
            },
            answer = &mut receiving => Some(answer),
        };
        match early {
            Some(answer) => answer,
            None => receiving.await,
        }
    };
    match answer {
        Ok(frame) => Ok((frame, receiver)),
        Err(error) => {
            receiver.refuse();
            Err(match error {
                FrameReadError::TooLong(length) => RequestError::FrameTooLong(length),
                error => RequestError::Broken(with_causes(&error)),
            })
        }
    }
}

/// Waits for any acknowledgement.
async fn heard(quic: &quinn::Connection) -> Result<(), quinn::WriteError> {
    let before = Heard::from(quic).acks;
    while Heard::from(quic).acks == before {
        if let Some(reason) = quic.close_reason() {
            return Err(reason.into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// An error with its sources, in one short line: the peer may have written part of it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    one_line(&text)
}
