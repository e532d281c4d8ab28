//! The texts in a capsule that make it readable without any software.
//!
//! They are frozen: a capsule stores them when it is created, and they are never regenerated. A
//! newer version of the software may have better ones; old capsules keep theirs.

/// README.decode.
pub(crate) const README: &str = include_str!("../texts/README.decode");

macro_rules! descriptions {
    ($($variant:ident => $name:literal),* $(,)?) => {
        /// A text of `decode/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Description { $($variant),* }

        impl Description {
            /// Its path in a capsule.
            pub fn path(self) -> &'static str {
                match self { $(Self::$variant => concat!("decode/", $name, ".txt")),* }
            }

            /// Its content.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../texts/decode/", $name, ".txt"))),*
                }
            }

            /// All of them.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$variant),*];
        }
    };
}

descriptions! {
    Aac => "aac",
    Amr => "amr",
    Avi => "avi",
    Bmp => "bmp",
    Flac => "flac",
    Gif => "gif",
    Heif => "heif",
    Jpeg => "jpeg",
    Json => "json",
    Mp3 => "mp3",
    Mp4 => "mp4",
    Ogg => "ogg",
    Pdf => "pdf",
    Pem => "pem",
    Png => "png",
    Raw => "raw",
    Tar => "tar",
    Text => "text",
    Tiff => "tiff",
    Wav => "wav",
    Webm => "webm",
    Webp => "webp",
}

/// The descriptions in every capsule: those of its own parts.
pub(crate) const ALWAYS: [Description; 4] =
    [Description::Json, Description::Pem, Description::Tar, Description::Text];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_plain_lines_that_fit_a_page() {
        let all = Description::ALL.iter().map(|d| (d.path(), d.text()));
        for (path, text) in all.chain([("README.decode", README)]) {
            assert!(text.ends_with('\n') && !text.contains('\r') && !text.contains('\t'), "{path}");
            assert!(text.len() > 900, "{path} says too little");
            for line in text.lines() {
                assert!(line.chars().count() <= 76, "{path}: {line}");
                assert_eq!(line.trim_end(), line, "{path}: {line}");
            }
        }
    }
}
