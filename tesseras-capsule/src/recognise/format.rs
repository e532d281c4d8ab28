//! The kinds of files that are kept, as values.

use crate::texts::Description;

/// A kind of file that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Its media type, without parameters.
    pub mime: &'static str,
    /// The extension in `media.<extension>`.
    pub extension: &'static str,
    /// The text of the capsule's `decode/` that describes it; rare formats have none.
    pub(crate) described_by: Option<Description>,
}

impl Format {
    /// Whether it is plain UTF-8 text.
    pub fn is_text(&self) -> bool {
        self.mime == "text/plain"
    }

    /// Whether a page of `decode/` describes this format.
    pub fn is_described(&self) -> bool {
        self.described_by.is_some()
    }

    /// Whether it may contain EXIF that can be read here.
    pub fn may_have_exif(&self) -> bool {
        self.is_described()
            && self.mime.starts_with("image/")
            && !matches!(self.extension, "gif" | "bmp")
    }
}

pub(super) const fn format(
    mime: &'static str,
    extension: &'static str,
    described_by: Description,
) -> Format {
    Format { mime, extension, described_by: Some(described_by) }
}

/// A kind of file that no text of `decode/` describes.
pub(super) const fn undescribed(mime: &'static str, extension: &'static str) -> Format {
    Format { mime, extension, described_by: None }
}

/// The part of a name after the last dot, in lower case.
pub(super) fn extension(name: &str) -> String {
    name.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase()
}
