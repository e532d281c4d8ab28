//! Units of lengths.

/// A mebibyte, in bytes.
pub const MIB: u64 = 1 << 20;
