//! `meta.json`: the metadata of one memory, as JSON.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tesseras_core::path::{CapsulePath, MAX_COMPONENT_BYTES};
use unicode_normalization::UnicodeNormalization as _;

use crate::dates::Date;

/// The version that `meta.json` begins with.
pub const META_VERSION: u32 = 1;
/// The longest `meta.json` that is read, in bytes: three paths of 4 KiB, two spellings, which are at
/// most three times as long as their paths, an album and a caption, with each character escaped.
pub const MAX_META_BYTES: u64 = 128 * 1024;

/// The kind of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryType {
    /// Something that happened: a photo, a recording.
    Moment,
    /// A thought: a letter, a text.
    Reflection,
    /// A day like others.
    Daily,
    /// Of a person, and of what binds people.
    Relation,
    /// Of a thing.
    Object,
}

/// A point on the earth, in degrees of WGS 84.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// From -90 (south) to 90 (north).
    pub latitude: f64,
    /// From -180 (west) to 180 (east).
    pub longitude: f64,
}

/// The content of `meta.json`. Keys are in this order; unknown values are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`META_VERSION`].
    pub version: u32,
    /// What kind of memory it is.
    #[serde(rename = "type")]
    pub memory_type: MemoryType,
    /// Its path in its owner's folder, in NFC.
    pub original: String,
    /// The same path as spelled on the owner's disk, if that is not in NFC. Capsules from before
    /// version 0.2.0 do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_spelling: Option<String>,
    /// The path of the text beside it, in NFC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The spelling of that path, like [`Meta::original_spelling`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_spelling: Option<String>,
    /// The directory that it lay in: the last component of its path. From version 0.2.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
    /// What its file says that it shows. From version 0.2.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Where the other half of a moving photo lay: a photo and a film of the same name, as telephones
    /// make them together. From version 0.2.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// The file's media type.
    pub mime: String,
    /// PRONOM's identifier of its format. From version 0.2.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pronom: Option<String>,
    /// The file's length in bytes.
    pub bytes: u64,
    /// When it was, as far as that is known. From version 0.2.0 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Date>,
    /// When it was taken, as its EXIF says: RFC 3339, mostly without an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// When the file was last changed on its owner's disk: RFC 3339 in UTC, with a fraction of the
    /// second if the disk recorded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// The same for the text beside it. Capsules from before version 0.2.0 do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_modified: Option<String>,
    /// Whether a page of `decode/` describes the format of the file. Before version 0.2.0 no other
    /// files were kept.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub described: bool,
}

fn yes() -> bool {
    true
}

fn is_true(flag: &bool) -> bool {
    *flag
}

impl Meta {
    /// The text that is stored, with a final line feed.
    pub(crate) fn render(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("texts and finite numbers are always JSON");
        text.push('\n');
        text
    }
}

/// A path as spelled on its owner's disk: `spelling`, if that is the same path in another
/// normalization form, else the path itself. Both are untrusted.
pub(crate) fn spelled<'a>(path: &'a CapsulePath, spelling: Option<&'a str>) -> &'a str {
    let is_same = |spelling: &&str| {
        let (there, here) = (spelling.split('/'), path.as_str().split('/'));
        there.clone().count() == here.clone().count()
            && there.zip(here).all(|(there, here)| {
                there.len() <= MAX_COMPONENT_BYTES && there.nfc().eq(here.chars())
            })
    };
    spelling.filter(is_same).unwrap_or(path.as_str())
}

/// Seconds since 1970 and nanoseconds after them as RFC 3339 in UTC, with the shortest fraction;
/// `None` for a year that it cannot represent.
pub fn rfc_3339(seconds: i64, nanoseconds: i64) -> Option<String> {
    let nanoseconds = i32::try_from(nanoseconds).ok()?;
    let text = jiff::Timestamp::new(seconds, nanoseconds).ok()?.to_string();
    // A year of more than four digits starts with a sign.
    text.starts_with(|c: char| c.is_ascii_digit()).then_some(text)
}

/// Parses the output of [`rfc_3339`], which is untrusted: `None` if it is not such a string.
pub(crate) fn point_in_time(text: &str) -> Option<SystemTime> {
    Some(text.parse::<jiff::Timestamp>().ok()?.into())
}

#[cfg(test)]
mod tests {
    use tesseras_core::path::MAX_PATH_BYTES;

    use super::*;
    use crate::exif::MAX_CAPTION_BYTES;

    #[test]
    fn the_text_has_one_form() {
        let meta = Meta {
            version: META_VERSION,
            memory_type: MemoryType::Moment,
            original: "beach \"1\".jpg".to_owned(),
            original_spelling: None,
            context: None,
            context_spelling: None,
            album: None,
            caption: None,
            pair: None,
            mime: "image/jpeg".to_owned(),
            pronom: Some("fmt/43".to_owned()),
            bytes: 9,
            date: Date::of_names("1978/beach.jpg"),
            taken: None,
            place: Some(Place { latitude: -22.9, longitude: -43.2 }),
            modified: rfc_3339(0, 0),
            context_modified: None,
            described: true,
        };
        let text = "{\n  \"version\": 1,\n  \"type\": \"moment\",\n  \
                    \"original\": \"beach \\\"1\\\".jpg\",\n  \"mime\": \"image/jpeg\",\n  \"pronom\": \"fmt/43\",\n  \
                    \"bytes\": 9,\n  \"date\": {\n    \"value\": \"1978\",\n    \"precision\": \"year\",\n    \
                    \"source\": \"folder-name\"\n  },\n  \"place\": {\n    \"latitude\": -22.9,\n    \
                    \"longitude\": -43.2\n  },\n  \"modified\": \"1970-01-01T00:00:00Z\"\n}\n";
        assert_eq!(meta.render(), text);
        assert_eq!(serde_json::from_str::<Meta>(text).expect("own JSON"), meta);
        let other = Meta {
            context: Some("beach.txt".to_owned()),
            context_modified: rfc_3339(-1, 500_000_000),
            described: false,
            ..meta
        };
        let text = other.render();
        assert!(
            text.ends_with(
                "\"context_modified\": \"1969-12-31T23:59:59.5Z\",\n  \"described\": false\n}\n"
            ),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Meta>(&text).expect("own JSON"), other);
    }

    #[test]
    fn the_longest_text_that_is_written_can_be_read() {
        let quotes = |bytes| "\"".repeat(bytes);
        let meta = Meta {
            version: META_VERSION,
            memory_type: MemoryType::Moment,
            original: quotes(MAX_PATH_BYTES),
            original_spelling: Some(quotes(3 * MAX_PATH_BYTES)),
            context: Some(quotes(MAX_PATH_BYTES)),
            context_spelling: Some(quotes(3 * MAX_PATH_BYTES)),
            album: Some(quotes(MAX_COMPONENT_BYTES)),
            caption: Some(quotes(MAX_CAPTION_BYTES)),
            pair: Some(quotes(MAX_PATH_BYTES)),
            mime: "image/jpeg".to_owned(),
            pronom: Some("fmt/43".to_owned()),
            bytes: u64::MAX,
            date: Date::of_names("20190504_030201.jpg"),
            taken: Some("2019-05-04T03:02:01-03:00".to_owned()),
            place: Some(Place { latitude: -22.123_456_7, longitude: -143.123_456_7 }),
            modified: rfc_3339(0, 999_999_999),
            context_modified: rfc_3339(0, 999_999_999),
            described: false,
        };
        let bytes = meta.render().len() as u64;
        assert!(bytes > MAX_META_BYTES / 2 && bytes <= MAX_META_BYTES, "{bytes}");
    }

    #[test]
    fn dates_come_back_to_the_nanosecond() {
        for (seconds, nanoseconds) in [(0, 0), (267_000_000, 1), (-86_401, 999_999_999)] {
            let text = rfc_3339(seconds, nanoseconds).expect("it can be written");
            let back: jiff::Timestamp =
                point_in_time(&text).expect("it can be read").try_into().expect("in range");
            let same = jiff::Timestamp::new(seconds, nanoseconds as i32).expect("in range");
            assert_eq!(back, same, "{text}");
        }
        assert_eq!(rfc_3339(i64::MAX, 0), None);
        assert_eq!(rfc_3339(-70_000_000_000, 0), None);
        for bad in ["", "yesterday", "2016-02-30T00:00:00Z"] {
            assert_eq!(point_in_time(bad), None);
        }
    }
}
