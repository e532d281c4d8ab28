//! Strings that are safe to write on any disk and to print on any terminal.

use std::fmt;

use thiserror::Error;
use unicode_normalization::is_nfc;

/// The longest path, in bytes of UTF-8.
pub const MAX_PATH_BYTES: usize = 4096;
/// The longest component of a path, in bytes of UTF-8.
pub const MAX_COMPONENT_BYTES: usize = 255;

/// Why a string is not allowed in a capsule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// A control character, or one of the Unicode line and paragraph separators.
    #[error("it holds the control character U+{0:04X}")]
    Control(u32),
    /// Not in Unicode normalization form C.
    #[error("it is not in Unicode normalization form C")]
    NotNfc,
    /// The string is empty.
    #[error("it is empty")]
    Empty,
    /// More than [`MAX_PATH_BYTES`] bytes.
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// A component of more than [`MAX_COMPONENT_BYTES`] bytes.
    #[error("a component is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
    /// Starts with `/`.
    #[error("it is absolute")]
    Absolute,
    /// A component is empty, `.` or `..`.
    #[error("a component is empty, \".\" or \"..\"")]
    BadComponent,
}

/// Checks a header value or one line of text: not empty, at most [`MAX_PATH_BYTES`] bytes, NFC, no
/// control characters.
pub fn check_line(text: &str) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.len() > MAX_PATH_BYTES {
        return Err(TextError::TooLong);
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
    {
        return Err(TextError::Control(bad as u32));
    }
    if !is_nfc(text) {
        return Err(TextError::NotNfc);
    }
    Ok(())
}

/// A relative path inside a capsule: `/` between components, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapsulePath(String);

impl CapsulePath {
    /// Validates a string and keeps it as a path.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check_line(&text)?;
        if text.starts_with('/') {
            return Err(TextError::Absolute);
        }
        for component in text.split('/') {
            if component.len() > MAX_COMPONENT_BYTES {
                return Err(TextError::ComponentTooLong);
            }
            if matches!(component, "" | "." | "..") {
                return Err(TextError::BadComponent);
            }
        }
        Ok(Self(text))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CapsulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for CapsulePath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_disk_or_terminal_could_misread_is_refused() {
        let refused = [
            ("", TextError::Empty),
            ("/etc/passwd", TextError::Absolute),
            ("a/../b", TextError::BadComponent),
            ("./a", TextError::BadComponent),
            ("a//b", TextError::BadComponent),
            ("a/", TextError::BadComponent),
            ("a\nb", TextError::Control(10)),
            ("a\0b", TextError::Control(0)),
            ("a\u{2028}b", TextError::Control(0x2028)),
            ("a\u{9b}b", TextError::Control(0x9b)),
            ("cafe\u{301}", TextError::NotNfc),
        ];
        for (text, why) in refused {
            assert_eq!(CapsulePath::new(text), Err(why), "{text:?}");
        }
        assert_eq!(CapsulePath::new("x".repeat(256)), Err(TextError::ComponentTooLong));
        assert_eq!(CapsulePath::new("x/".repeat(3000) + "x"), Err(TextError::TooLong));
        for text in ["café 🌞/a b.jpg", "..a/b..", "a\\b"] {
            assert!(CapsulePath::new(text).is_ok(), "{text:?}");
        }
    }
}
