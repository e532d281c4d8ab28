//! A long request that a person can end in the middle: with Ctrl-C they are asked what they want,
//! and where nobody can be asked, it stops.

use std::cell::RefCell;
use std::io::{self, BufRead as _, IsTerminal as _};

use tesseras_rpc::messages::{Request, Response};
use tesseras_rpc::{Client, socket_path};
use tokio::signal::unix::{SignalKind, signal};

use crate::ask::runtime;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress::Bar;

/// How a long request ended.
#[derive(Debug)]
pub enum Ended {
    /// The node answered.
    Answered(Response),
    /// The person wants it to stop.
    Stop,
    /// The person wants it to go on without them.
    Background,
}

/// Sends a request and waits for its result, or for the person's wish to end it. The connection
/// is kept until `after` has run: it tells the node what was wished.
pub fn ask_until_ended(
    context: &Context,
    request: &Request,
    after: impl FnOnce(&Ended) -> Option<Request>,
) -> Result<(Ended, Option<Response>), CommandError> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let socket = socket_path(&context.data_dir);
        let asks = context.output.can_ask() && io::stderr().is_terminal();
        let mut signals = Signals::new()?;
        let bar = RefCell::new(Some(Bar::new()));
        let client = Client::connect(&socket).await?;
        let work = client.request(request, |progress| {
            if let Some(bar) = bar.borrow_mut().as_mut() {
                bar.show(&progress);
            }
        });
        tokio::pin!(work);
        let ended = loop {
            tokio::select! {
                done = &mut work => break Ended::Answered(done?),
                may_ask = signals.next() => if !(asks && may_ask) { break Ended::Stop },
            }
            // Away with the bar while somebody types.
            bar.replace(None);
            context.output.note(
                "\nStop publishing? What other nodes hold already stays with them.\n  \
                 s  stop (or Ctrl-C again)\n  b  go on in the background\n  c  continue here",
            );
            let answer = tokio::task::spawn_blocking(read_line);
            tokio::select! {
                done = &mut work => break Ended::Answered(done?),
                _ = signals.next() => break Ended::Stop,
                answer = answer => match answer.unwrap_or_default().as_str() {
                    "b" => break Ended::Background,
                    "c" => bar.replace(Some(Bar::new())),
                    _ => break Ended::Stop,
                },
            };
        };
        let answer = match after(&ended) {
            None => None,
            Some(wish) => Some(Client::connect(&socket).await?.request(&wish, |_| {}).await?),
        };
        Ok::<_, CommandError>((ended, answer))
    });
    // A line may still be waited for that nobody needs any more.
    runtime.shutdown_background();
    done
}

fn read_line() -> String {
    let mut line = String::new();
    // Without an answer it stops.
    let _ = io::stdin().lock().read_line(&mut line);
    line.trim().to_lowercase()
}

/// The signals that end a request.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
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

    /// Waits for the next; whether a person gave it who may be asked.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.interrupt.recv() => true,
            _ = self.terminate.recv() => false,
            _ = self.hang_up.recv() => false,
        }
    }
}
