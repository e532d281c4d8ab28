//! Sizes, counts and tables for people.

use std::fmt::Write as _;

/// A length in the unit that fits: `17 bytes`, `1.4 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return count(bytes, "byte", "bytes");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is shown as 1.0 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number and its word: `1 memory`, `2 memories`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The start of a hash, long enough for people to tell tesserae apart and for commands to take.
pub fn short(hash: &impl ToString) -> String {
    hash.to_string().chars().take(12).collect()
}

/// Rows under a header, columns aligned to the left; the last one is never padded.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let mut out = String::new();
    let header = header.map(str::to_owned);
    for row in std::iter::once(&header).chain(rows) {
        let mut line = String::new();
        for (cell, widest) in row.iter().zip(widths) {
            let padding = widest - width(cell) + 2;
            write!(line, "{cell}{:padding$}", "").expect("a String takes all");
        }
        writeln!(out, "{}", line.trim_end()).expect("a String takes all");
    }
    out
}

/// How many columns a text takes, near enough: its characters.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_never_1024_of_anything() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (1_500_000, "1.4 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [["avó".to_owned(), "1".to_owned()], ["letters".to_owned(), String::new()]];
        assert_eq!(table(["a", "n"], &rows), "a        n\navó      1\nletters\n");
    }
}
