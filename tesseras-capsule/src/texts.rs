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
    Blake3 => "blake3",
    Bmp => "bmp",
    Deflate => "deflate",
    Ed25519 => "ed25519",
    Flac => "flac",
    Gif => "gif",
    Heif => "heif",
    Jpeg => "jpeg",
    Json => "json",
    MlDsa65 => "ml-dsa-65",
    Mp3 => "mp3",
    Mp4 => "mp4",
    Ogg => "ogg",
    Pdf => "pdf",
    Pem => "pem",
    Png => "png",
    Raw => "raw",
    Sha256 => "sha256",
    Tar => "tar",
    Text => "text",
    Tiff => "tiff",
    Wav => "wav",
    Webm => "webm",
    Webp => "webp",
}

impl Description {
    /// The other descriptions that a reader of this one needs, but for those in every capsule.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::Avi => &[Self::Bmp, Self::Jpeg, Self::Wav],
            Self::Heif | Self::Webp => &[Self::Jpeg],
            Self::Mp4 => &[Self::Jpeg, Self::Wav],
            Self::Ogg => &[Self::Flac],
            Self::Pdf | Self::Tiff => &[Self::Deflate, Self::Jpeg],
            Self::Png => &[Self::Deflate],
            Self::Raw => &[Self::Jpeg, Self::Tiff],
            Self::Webm => &[Self::Deflate, Self::Flac, Self::Wav],
            _ => &[],
        }
    }

    /// This description and all that it needs, directly or through others.
    pub fn with_needs(self) -> Vec<Self> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(description) = all.get(next) {
            for needed in description.needs() {
                if !all.contains(needed) {
                    all.push(*needed);
                }
            }
            next += 1;
        }
        all
    }
}

/// The descriptions in every capsule: those of its own parts, and of what they are checked with.
pub(crate) const ALWAYS: [Description; 8] = [
    Description::Blake3,
    Description::Ed25519,
    Description::Json,
    Description::MlDsa65,
    Description::Pem,
    Description::Sha256,
    Description::Tar,
    Description::Text,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_brings_the_others_that_it_refers_to() {
        for description in Description::ALL {
            let brought = description.with_needs();
            for other in Description::ALL {
                let name = other.path().trim_start_matches("decode/");
                let refers = description
                    .text()
                    .match_indices(name)
                    .any(|(at, _)| !description.text()[..at].ends_with(char::is_alphanumeric));
                assert!(
                    !refers || brought.contains(other) || ALWAYS.contains(other),
                    "{description:?} refers to {name}"
                );
            }
        }
    }

    #[test]
    fn needs_of_needs_are_brought() {
        let raw = Description::Raw.with_needs();
        assert_eq!(raw.len(), 4, "{raw:?}");
        assert!(raw.contains(&Description::Deflate), "through TIFF");
        assert_eq!(Description::Aac.with_needs(), [Description::Aac]);
    }

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
