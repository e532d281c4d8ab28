//! How a command ends.

/// How a command that did its work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is as it should be.
    Done,
    /// What was verified is not valid, or something that was to be kept or given back is not. The
    /// report says what.
    Failed,
}
