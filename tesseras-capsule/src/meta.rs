//! `meta.json`: what is known of one memory, as text that any reader of JSON understands.

use serde::{Deserialize, Serialize};

/// The version that `meta.json` begins with.
pub const META_VERSION: u32 = 1;
/// The longest `meta.json` that is read, in bytes: two paths of 4 KiB, every byte escaped.
pub const MAX_META_BYTES: u64 = 64 * 1024;

/// What kind of memory something is.
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

/// What `meta.json` says. Keys stand in this order; what is not known is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// [`META_VERSION`].
    pub version: u32,
    /// What kind of memory it is.
    #[serde(rename = "type")]
    pub memory_type: MemoryType,
    /// Where the file lay in its owner's folder.
    pub original: String,
    /// Where the text beside it lay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The file's media type.
    pub mime: String,
    /// The file's length.
    pub bytes: u64,
    /// When it was taken, as its EXIF says: RFC 3339, mostly without an offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Where it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// When the file was last changed on its owner's disk: RFC 3339 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
}

impl Meta {
    /// As the text that is stored, with a line feed at its end.
    pub(crate) fn render(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("texts and finite numbers are always JSON");
        text.push('\n');
        text
    }
}

/// Seconds since 1970 as RFC 3339 in UTC; `None` beyond the years that it can write.
pub fn rfc_3339(seconds: i64) -> Option<String> {
    let at = jiff::Timestamp::from_second(seconds).ok()?;
    let text = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    (text.len() == "2000-01-01T00:00:00Z".len()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_one_form() {
        let meta = Meta {
            version: META_VERSION,
            memory_type: MemoryType::Moment,
            original: "beach \"1\".jpg".to_owned(),
            context: None,
            mime: "image/jpeg".to_owned(),
            bytes: 9,
            taken: None,
            place: Some(Place { latitude: -22.9, longitude: -43.2 }),
            modified: rfc_3339(0),
        };
        let text = "{\n  \"version\": 1,\n  \"type\": \"moment\",\n  \
                    \"original\": \"beach \\\"1\\\".jpg\",\n  \"mime\": \"image/jpeg\",\n  \
                    \"bytes\": 9,\n  \"place\": {\n    \"latitude\": -22.9,\n    \
                    \"longitude\": -43.2\n  },\n  \"modified\": \"1970-01-01T00:00:00Z\"\n}\n";
        assert_eq!(meta.render(), text);
        assert_eq!(serde_json::from_str::<Meta>(text).expect("own JSON"), meta);
        assert_eq!(rfc_3339(i64::MAX), None);
    }
}
