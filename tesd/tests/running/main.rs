//! The built `tesd`, running: its output, the input it refuses, how it stops, and the effect of its
//! settings.

mod daemon;
mod holders;
#[cfg(target_os = "linux")]
// Observes its system calls through /proc and a preloaded library.
mod performance;
mod process;
