//! The date and place of a photo, from its EXIF data. EXIF is untrusted, so only plausible values
//! are used, and only the first part of it is read.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use exif::{DateTime, Exif, In, Reader, Tag, Value};
use unicode_normalization::UnicodeNormalization as _;

use crate::meta::Place;

/// At most this many bytes of a file are read in search of EXIF, at any position.
pub const MAX_READ_BYTES: u64 = 256 * 1024;

/// A longer description is not taken for a caption, in bytes of UTF-8; it stays in the file.
pub(crate) const MAX_CAPTION_BYTES: usize = 2048;
/// What cameras write as the description of every image, in capitals.
const DEFAULT_CAPTIONS: [&str; 7] = [
    "OLYMPUS DIGITAL CAMERA",
    "MINOLTA DIGITAL CAMERA",
    "KONICA MINOLTA DIGITAL CAMERA",
    "SONY DSC",
    "DIGITAL CAMERA",
    "SAMSUNG DIGITAL CAMERA",
    "EXIF_JPEG_PICTURE",
];

/// The result of reading EXIF.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shot {
    /// The date: RFC 3339, but without an offset if the camera did not record one (most do not).
    pub taken: Option<String>,
    /// The place.
    pub place: Option<Place>,
    /// What it shows, in the words of who took or edited it.
    pub caption: Option<String>,
}

/// Reads EXIF from a JPEG, TIFF, HEIF, PNG or WebP. Returns nothing for other or damaged files.
pub fn read<R: Read + Seek>(file: R) -> Shot {
    let bounded = Bounded { inner: file, budget: MAX_READ_BYTES };
    let mut reader = BufReader::with_capacity(16 * 1024, bounded);
    let outcome = Reader::new()
        .continue_on_error(true)
        .read_from_container(&mut reader)
        .or_else(|e| e.distill_partial_result(|_| {}));
    match outcome {
        Ok(exif) => Shot { taken: taken(&exif), place: place(&exif), caption: caption(&exif) },
        Err(_) => Shot::default(),
    }
}

/// Returns at most `budget` bytes in total, then the end of the file.
struct Bounded<R> {
    inner: R,
    budget: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.budget).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.inner.read(&mut buffer[..limit])?;
        self.budget -= n as u64;
        Ok(n)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

fn ascii(exif: &Exif, tag: Tag) -> Option<&[u8]> {
    match &exif.get_field(tag, In::PRIMARY)?.value {
        Value::Ascii(texts) => texts.first().map(Vec::as_slice),
        _ => None,
    }
}

/// The date of the shot, or of its digitisation, or of the file.
fn taken(exif: &Exif) -> Option<String> {
    [
        (Tag::DateTimeOriginal, Tag::OffsetTimeOriginal),
        (Tag::DateTimeDigitized, Tag::OffsetTimeDigitized),
        (Tag::DateTime, Tag::OffsetTime),
    ]
    .into_iter()
    .find_map(|(date, offset)| rfc_3339(ascii(exif, date)?, ascii(exif, offset)))
}

/// `2016:05:04 03:02:01` and `+02:00` as RFC 3339. An invalid date gives `None`.
fn rfc_3339(date: &[u8], offset: Option<&[u8]>) -> Option<String> {
    let mut parsed = DateTime::from_ascii(date).ok()?;
    if let Some(offset) = offset {
        // A date without a usable offset is still a date.
        let _ = parsed.parse_offset(offset);
    }
    let DateTime { year, month, day, hour, minute, second, .. } = parsed;
    let signed = |n: u8| i8::try_from(n).ok();
    let civil = jiff::civil::DateTime::new(
        i16::try_from(year).ok().filter(|year| *year > 0)?,
        signed(month)?,
        signed(day)?,
        signed(hour)?,
        signed(minute)?,
        signed(second)?,
        0,
    )
    .ok()?;
    let mut out = civil.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    if let Some(minutes) = parsed.offset.filter(|m| m.unsigned_abs() < 24 * 60) {
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.unsigned_abs();
        out.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
    Some(out)
}

/// The description of the image, unless it is one that cameras write into all of them.
fn caption(exif: &Exif) -> Option<String> {
    let text = std::str::from_utf8(ascii(exif, Tag::ImageDescription)?).ok()?;
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let is_of_camera = DEFAULT_CAPTIONS.contains(&text.to_ascii_uppercase().as_str());
    let text: String = text.nfc().collect();
    (!text.is_empty() && text.len() <= MAX_CAPTION_BYTES && !is_of_camera).then_some(text)
}

fn place(exif: &Exif) -> Option<Place> {
    let latitude = degrees(exif, Tag::GPSLatitude, Tag::GPSLatitudeRef, b'N', b'S', 90.0)?;
    let longitude = degrees(exif, Tag::GPSLongitude, Tag::GPSLongitudeRef, b'E', b'W', 180.0)?;
    // Receivers without a fix write zeros, which is a point in the Atlantic.
    (latitude != 0.0 || longitude != 0.0).then_some(Place { latitude, longitude })
}

/// Degrees, minutes and seconds as degrees, rounded to 10⁻⁷ (1 cm); `None` if beyond `limit`.
fn degrees(
    exif: &Exif,
    value: Tag,
    reference: Tag,
    positive: u8,
    negative: u8,
    limit: f64,
) -> Option<f64> {
    let Value::Rational(parts) = &exif.get_field(value, In::PRIMARY)?.value else { return None };
    let mut sum = 0.0;
    for (part, unit) in parts.iter().zip([1.0, 60.0, 3600.0]) {
        // Some cameras write 0/0 for seconds that they do not know.
        if part.denom == 0 && part.num == 0 && unit > 1.0 {
            continue;
        }
        if part.denom == 0 {
            return None;
        }
        sum += part.to_f64() / unit;
    }
    let sign = match ascii(exif, reference)?.first()? {
        letter if letter.eq_ignore_ascii_case(&positive) => 1.0,
        letter if letter.eq_ignore_ascii_case(&negative) => -1.0,
        _ => return None,
    };
    (!parts.is_empty() && sum <= limit).then(|| (sign * sum * 1e7).round() / 1e7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_that_a_calendar_has_are_believed() {
        let date = |text: &str| rfc_3339(text.as_bytes(), None);
        assert_eq!(date("2016:05:04 03:02:01").as_deref(), Some("2016-05-04T03:02:01"));
        for bad in ["0000:00:00 00:00:00", "2016:02:30 00:00:00", "    :  :     :  :  ", "2016"] {
            assert_eq!(date(bad), None, "{bad}");
        }
        let with = |offset: &str| rfc_3339(b"2016:05:04 03:02:01", Some(offset.as_bytes()));
        assert_eq!(with("-03:30").as_deref(), Some("2016-05-04T03:02:01-03:30"));
        assert_eq!(with("+99:00").as_deref(), Some("2016-05-04T03:02:01"));
        assert_eq!(with("      ").as_deref(), Some("2016-05-04T03:02:01"));
    }
}
