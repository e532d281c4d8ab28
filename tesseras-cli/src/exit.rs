//! The outcome of a command that ran without an error.

/// The outcome of a command that ran without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Success: exit code 0.
    Done,
    /// Exit code 1, although the result was written: what was verified is not valid, or files could
    /// not be stored or restored. The result names them.
    Failed,
}
