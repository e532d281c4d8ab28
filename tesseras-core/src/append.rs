//! Formatted text at the end of a string: what [`std::fmt::Write`] does, without an error that
//! cannot occur.

use std::fmt::{Arguments, Write as _};

/// Appends formatted text.
pub trait Append {
    /// Appends text.
    fn append(&mut self, text: Arguments<'_>);

    /// Appends text and a line feed.
    fn append_line(&mut self, text: Arguments<'_>);
}

impl Append for String {
    fn append(&mut self, text: Arguments<'_>) {
        self.write_fmt(text).expect("only a Display that fails of itself could fail here");
    }

    fn append_line(&mut self, text: Arguments<'_>) {
        self.append(text);
        self.push('\n');
    }
}
