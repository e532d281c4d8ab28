//! The built `tesd`, running: what it prints, what it refuses, how it stops, and what its settings
//! change.

mod daemon;
#[cfg(target_os = "linux")]
// Its system calls are watched through /proc and by a preloaded library.
mod performance;
mod process;
