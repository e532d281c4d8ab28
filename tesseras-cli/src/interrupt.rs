//! Signals that end a command: Ctrl-C, SIGTERM, SIGHUP.
//!
//! Without `--json`, a command that leaves nothing behind is ended by the signal's default action.
//! With `--json`, the JSON object is still written. A command that leaves something says what it is
//! and how to continue. A publication is stopped through the node, and can be continued.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tesseras_capsule::Discarded;
use tesseras_node::end_signals::{EndSignal, EndSignals};
use tesseras_rpc::Call;

use crate::ask::{connect, runtime};
use crate::code::Code;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::Output;
use crate::progress::Bar;

/// Whether [`ask_unless_interrupted`] handles signals now, instead of the signal thread.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// How many signals [`ask_unless_interrupted`] has handled. The signal thread may receive the same
/// signal later, and must not act on it again.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Whether the signal thread runs.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// What the command leaves behind if it is ended now, and how to continue, as one sentence.
static LEFT: Mutex<Option<String>> = Mutex::new(None);

/// What a command leaves that adds a whole capsule to the library, or nothing.
pub const NOTHING_STORED: &str = "nothing of it was stored; the same command begins again";

/// What a command leaves that writes a whole folder, or nothing.
pub const NOTHING_WRITTEN: &str = "nothing of it was left behind; the same command begins again";

/// From now on a signal ends the process with exit code 1 and says that this is left.
pub fn end_on_signal_with(output: Output, left: impl Into<String>) -> Result<(), CommandError> {
    *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = Some(left.into());
    end_on_signal(output)
}

/// From now on a signal ends the process with exit code 1 and says so, with `--json` as one object.
/// What was staged in the data directory is removed, and a folder that is half written; anything
/// else that is half-done stays.
pub fn end_on_signal(output: Output) -> Result<(), CommandError> {
    if LISTENING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    let runtime = runtime()?;
    let mut signals = {
        let _inside = runtime.enter();
        end_signals()?
    };
    std::thread::spawn(move || {
        for seen in 1_usize.. {
            runtime.block_on(signals.next());
            if !TAKEN.load(Ordering::SeqCst) && seen > HANDLED.load(Ordering::SeqCst) {
                output.end(end_now);
            }
        }
    });
    Ok(())
}

/// Removes what is half-done; the error of a command that ends at once.
fn end_now() -> CommandError {
    tesseras_storage::discard_staged();
    let Discarded { finished, left } = tesseras_capsule::discard_unfinished();
    let failed = interrupted();
    if let Some(left) = left.first() {
        return failed.with_hint(format!("remove {}; it is not complete", left.display()));
    }
    match finished.first() {
        Some(finished) => failed.with_hint(format!("{} is complete", finished.display())),
        None => failed,
    }
}

/// The error of a command that somebody ended.
pub fn interrupted() -> CommandError {
    let failed = CommandError::new("interrupted before it was done").with_code(Code::INTERRUPTED);
    match LEFT.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(left) => failed.with_hint(left),
        None => failed,
    }
}

/// The error of a command that was ended a second time, while it waited for the node to stop.
fn interrupted_again() -> CommandError {
    CommandError::new("interrupted again before the node answered that it has stopped")
        .with_code(Code::INTERRUPTED)
        .with_hint("`tes status` with the hash shows whether it goes on")
}

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
/// before this returns, while the connection of the call is still kept. A second signal ends the wait.
pub fn ask_unless_interrupted<C: Call, S: Call>(
    context: &Context,
    call: C,
    stop: S,
) -> Result<Ended<C::Answer, S::Answer>, CommandError> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut signals = end_signals()?;
        let _taken = Taken::new();
        let mut bar = Bar::new();
        let client = connect(context).await?;
        let work = client.ask(call, |progress| bar.show(&progress));
        tokio::pin!(work);
        let why = tokio::select! {
            done = &mut work => return Ok(Ended::Answered(done?)),
            signal = signals.next() => match signal {
                EndSignal::Interrupt => Why::Interrupted,
                EndSignal::Terminate | EndSignal::HangUp => Why::Terminated,
            },
        };
        HANDLED.fetch_add(1, Ordering::SeqCst);
        let stopped =
            async { Ok::<_, CommandError>(connect(context).await?.ask(stop, |_| {}).await?) };
        tokio::select! {
            stopped = stopped => Ok(Ended::Stopped(why, stopped?)),
            _ = signals.next() => Err(interrupted_again()),
        }
    })
}

/// As long as it lives, somebody else handles a signal.
struct Taken;

impl Taken {
    fn new() -> Self {
        TAKEN.store(true, Ordering::SeqCst);
        Self
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// Listens for the signals that end a command. Must be called within a tokio runtime.
pub fn end_signals() -> Result<EndSignals, CommandError> {
    EndSignals::of_command()
        .map_err(|e| CommandError::new(format!("cannot listen for signals: {e}")))
}
