//! The date of a memory, with how exact it is and who says so. Cameras know it best; else the names
//! that people and programs gave to the file and its directories may hold it.

use serde::{Deserialize, Serialize};

/// How exact a date is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// `1978`.
    Year,
    /// `1978-07`.
    Month,
    /// `1978-07-16`.
    Day,
    /// `1978-07-16T18:30:00`, with or without an offset from UTC.
    Second,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateSource {
    /// The camera, in the file's EXIF.
    Camera,
    /// The file's name.
    FileName,
    /// The name of a directory that it lay in.
    FolderName,
}

/// When something was, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date {
    /// The date, ISO 8601, as long as its precision.
    pub value: String,
    /// How exact it is.
    pub precision: Precision,
    /// Who says it.
    pub source: DateSource,
}

/// The first year that is believed in a name: that of the first photograph.
const FIRST_YEAR: i16 = 1826;
/// The first year that is not: a number is more likely than a date.
const END_YEAR: i16 = 2200;

impl Date {
    /// The date that a camera recorded, RFC 3339 with or without an offset.
    pub(crate) fn of_camera(taken: &str) -> Self {
        let value = taken.to_owned();
        Self { value, precision: Precision::Second, source: DateSource::Camera }
    }

    /// The date in the name of a file, or else of the nearest directory that has one in its name.
    /// Only what can hardly mean anything else is taken: a day is `20160504` or `2016-05-04`
    /// between other characters than digits, and a directory may begin with a year or a month.
    pub(crate) fn of_names(path: &str) -> Option<Self> {
        let mut names = path.rsplit('/');
        let of = |(value, precision), source| Self { value, precision, source };
        let file = names.next().and_then(day_in).map(|found| of(found, DateSource::FileName));
        file.or_else(|| {
            let found = names.find_map(|name| day_in(name).or_else(|| beginning_of(name)))?;
            Some(of(found, DateSource::FolderName))
        })
    }
}

/// A run of digits in a name, and what stands around it.
fn digits_at(name: &str, at: usize) -> &str {
    let rest = &name[at..];
    &rest[..rest.bytes().take_while(u8::is_ascii_digit).count()]
}

/// The first day in a name, with the time of day if that follows as `_030201`.
fn day_in(name: &str) -> Option<(String, Precision)> {
    let starts_run = |at: &usize| {
        let before = at.checked_sub(1).map(|before| name.as_bytes()[before]);
        name.as_bytes()[*at].is_ascii_digit() && !before.is_some_and(|b| b.is_ascii_digit())
    };
    (0..name.len()).filter(starts_run).find_map(|at| day_at(name, at))
}

fn day_at(name: &str, at: usize) -> Option<(String, Precision)> {
    let run = digits_at(name, at);
    if run.len() == 8 {
        let day = civil(&run[..4], &run[4..6], &run[6..])?;
        let next = at + run.len();
        let separated = matches!(name.as_bytes().get(next), Some(b'_' | b'-'));
        let time = if separated { digits_at(name, next + 1) } else { "" };
        // Telephones append milliseconds.
        return Some(match time_of(time) {
            Some(time) => (format!("{day}T{time}"), Precision::Second),
            None => (day, Precision::Day),
        });
    }
    let separator = *name.as_bytes().get(at + run.len())?;
    if run.len() != 4 || !matches!(separator, b'-' | b'_' | b'.') {
        return None;
    }
    let month = digits_at(name, at + 5);
    if month.len() != 2 || name.as_bytes().get(at + 7) != Some(&separator) {
        return None;
    }
    let day = digits_at(name, at + 8);
    Some((civil(run, month, day)?, Precision::Day))
}

/// `030201`, or that with milliseconds, as a time of day.
fn time_of(digits: &str) -> Option<String> {
    if !matches!(digits.len(), 6 | 9) {
        return None;
    }
    let part = |from: usize| digits[from..from + 2].parse::<i8>().ok();
    let time = jiff::civil::Time::new(part(0)?, part(2)?, part(4)?, 0).ok()?;
    Some(time.strftime("%H:%M:%S").to_string())
}

/// A directory's name that begins with a month or a year: `2016-05 Lisbon`, `1978 summer`.
fn beginning_of(name: &str) -> Option<(String, Precision)> {
    let year = digits_at(name, 0);
    if year.len() != 4 {
        return None;
    }
    civil(year, "01", "01")?;
    let rest = &name[4..];
    if let Some(rest) = rest.strip_prefix(['-', '_', '.']) {
        let month = digits_at(rest, 0);
        if month.len() == 2 && civil(year, month, "01").is_some() {
            return Some((format!("{year}-{month}"), Precision::Month));
        }
    }
    let ends = rest.is_empty() || rest.starts_with([' ', '-', '_', ',', '.']);
    ends.then(|| (year.to_owned(), Precision::Year))
}

/// A day that a calendar has, in a year that is believed.
fn civil(year: &str, month: &str, day: &str) -> Option<String> {
    if month.len() != 2 || day.len() != 2 {
        return None;
    }
    let year: i16 = year.parse().ok().filter(|year| (FIRST_YEAR..END_YEAR).contains(year))?;
    let date = jiff::civil::Date::new(year, month.parse().ok()?, day.parse().ok()?).ok()?;
    Some(date.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(String, DateSource)> {
        let date = Date::of_names(path)?;
        let length = match date.precision {
            Precision::Year => 4,
            Precision::Month => 7,
            Precision::Day => 10,
            Precision::Second => 19,
        };
        assert_eq!(date.value.len(), length, "{path}: {date:?}");
        Some((date.value, date.source))
    }

    #[test]
    fn names_of_telephones_cameras_and_people_have_dates() {
        for (path, value) in [
            ("IMG_20190504_030201.jpg", "2019-05-04T03:02:01"),
            ("PXL_20210101_235959123.jpg", "2021-01-01T23:59:59"),
            ("a/IMG-20190504-WA0001.jpg", "2019-05-04"),
            ("VID_20190504_030201(1).mp4", "2019-05-04T03:02:01"),
            ("Screenshot_2019-05-04-03-02-01.png", "2019-05-04"),
            ("WhatsApp Image 2019-05-04 at 03.02.01.jpeg", "2019-05-04"),
            ("2019.05.04.txt", "2019-05-04"),
            ("avó 2019_05_04é.jpg", "2019-05-04"),
        ] {
            assert_eq!(found(path), Some((value.to_owned(), DateSource::FileName)), "{path}");
        }
        for (path, value) in [
            ("1978/a.jpg", "1978"),
            ("1978 summer/b/a.jpg", "1978"),
            ("1978/2016-05 Lisbon/a.jpg", "2016-05"),
            ("trips/2016-05-04 Lisbon/DSC01234.jpg", "2016-05-04"),
            ("1978-summer/a.jpg", "1978"),
        ] {
            assert_eq!(found(path), Some((value.to_owned(), DateSource::FolderName)), "{path}");
        }
    }

    #[test]
    fn other_numbers_are_no_dates() {
        for path in [
            "IMG_0001.jpg",
            "DSC20161332.jpg",
            "20190230.jpg",
            "120190504.jpg",
            "201905041.jpg",
            "2019-5-4.jpg",
            "2019-05.04.jpg",
            "12345678.jpg",
            "1978.jpg",
            "19780 things/a.jpg",
            "1978things/a.jpg",
            "0004-05-04/a.jpg",
            "",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        let time = found("IMG_20190504_250201.jpg");
        assert_eq!(time, Some(("2019-05-04".to_owned(), DateSource::FileName)));
    }
}
