//! A long request that a person or the system can interrupt (Ctrl-C, SIGTERM, SIGHUP).

use tesseras_rpc::messages::{Request, Response};
use tesseras_rpc::{Client, socket_path};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ask::runtime;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress::Bar;

/// How a request ended that could be interrupted.
#[derive(Debug)]
pub enum Ended {
    /// The node answered.
    Answered(Response),
    /// Somebody pressed Ctrl-C, and may be asked what they want.
    Interrupted,
    /// The process is to end.
    Terminated,
}

/// Sends a request and waits for its result, or for a signal. After a signal, `stop` is sent and
/// answered before this returns, while the connection of the request is still kept.
pub fn ask_unless_interrupted(
    context: &Context,
    request: &Request,
    stop: &Request,
) -> Result<(Ended, Option<Response>), CommandError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let socket = socket_path(&context.data_dir);
        let mut signals = Signals::new()?;
        let mut bar = Bar::new();
        let client = Client::connect(&socket).await?;
        let work = client.request(request, |progress| bar.show(&progress));
        tokio::pin!(work);
        let ended = tokio::select! {
            done = &mut work => return Ok((Ended::Answered(done?), None)),
            ended = signals.next() => ended,
        };
        let stopped = Client::connect(&socket).await?.request(stop, |_| {}).await?;
        Ok((ended, Some(stopped)))
    })
}

/// The signals that end a request.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        let listen = |kind| {
            signal(kind).map_err(|e| CommandError::new(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next.
    async fn next(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupted,
            _ = self.terminate.recv() => Ended::Terminated,
            _ = self.hang_up.recv() => Ended::Terminated,
        }
    }
}
