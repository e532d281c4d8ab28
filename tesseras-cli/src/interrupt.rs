//! A long request that a person or the system can interrupt (Ctrl-C, SIGTERM, SIGHUP).

use tesseras_rpc::{Call, Client, socket_path};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::ask::runtime;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress::Bar;

/// How a call ended that could be interrupted. `A` is its answer, `S` that of the call that stops it.
#[derive(Debug)]
pub enum Ended<A, S> {
    /// The node answered.
    Answered(A),
    /// A signal came, and the node answered that it has stopped.
    Stopped(Why, S),
}

/// Why a call was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody pressed Ctrl-C, and may be asked what they want.
    Interrupted,
    /// The process is to end.
    Terminated,
}

/// Asks and waits for the answer, or for a signal. After a signal, `stop` is asked and answered
/// before this returns, while the connection of the call is still kept.
pub fn ask_unless_interrupted<C: Call, S: Call>(
    context: &Context,
    call: C,
    stop: S,
) -> Result<Ended<C::Answer, S::Answer>, CommandError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let socket = socket_path(&context.data_dir);
        let mut signals = Signals::new()?;
        let mut bar = Bar::new();
        let client = Client::connect(&socket).await?;
        let work = client.ask(call, |progress| bar.show(&progress));
        tokio::pin!(work);
        let why = tokio::select! {
            done = &mut work => return Ok(Ended::Answered(done?)),
            why = signals.next() => why,
        };
        let stopped = Client::connect(&socket).await?.ask(stop, |_| {}).await?;
        Ok(Ended::Stopped(why, stopped))
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
    async fn next(&mut self) -> Why {
        tokio::select! {
            _ = self.interrupt.recv() => Why::Interrupted,
            _ = self.terminate.recv() => Why::Terminated,
            _ = self.hang_up.recv() => Why::Terminated,
        }
    }
}
