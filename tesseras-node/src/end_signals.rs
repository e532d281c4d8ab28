//! The signals by which the system, or somebody at a keyboard, asks a process to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Such a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndSignal {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl EndSignal {
    /// What the system calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// Listens for them; none ends the process by itself any more.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
}

impl EndSignals {
    /// Listens for SIGINT and SIGTERM from now on: what a daemon ends with. SIGHUP is left as it
    /// was, so that `nohup` keeps its meaning. Must be called within a tokio runtime.
    pub fn of_daemon() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: None,
        })
    }

    /// Listens for SIGHUP, too: what a command at a terminal ends with. Must be called within a
    /// tokio runtime.
    pub fn of_command() -> io::Result<Self> {
        Ok(Self { hang_up: Some(signal(SignalKind::hangup())?), ..Self::of_daemon()? })
    }

    /// Waits for the next of them. Nothing is lost if this is dropped while it waits.
    pub async fn next(&mut self) -> EndSignal {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => EndSignal::Interrupt,
            _ = self.terminate.recv() => EndSignal::Terminate,
            _ = hang_up => EndSignal::HangUp,
        }
    }
}
