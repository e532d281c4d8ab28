//! Sizes, counts and tables for people.

use tesseras_core::append::Append as _;

pub use tesseras_core::words::{count, size};

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
            line.append(format_args!("{cell}{:padding$}", ""));
        }
        out.append_line(format_args!("{}", line.trim_end()));
    }
    out
}

/// How many columns a string takes, near enough: its characters.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// How much loss a tessera stands, as a sentence.
pub fn survives_text(survives: u64) -> String {
    match survives {
        0 => "It may not survive the loss of even one of these nodes.\n".to_owned(),
        1 => "It survives the loss of any one of these nodes.\n".to_owned(),
        n => format!("It survives the loss of any {n} of these nodes.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let rows = [["avó".to_owned(), "1".to_owned()], ["letters".to_owned(), String::new()]];
        assert_eq!(table(["a", "n"], &rows), "a        n\navó      1\nletters\n");
    }
}
