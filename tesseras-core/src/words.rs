//! Formatting of counts, lengths and untrusted strings, the same in every crate.

/// The longest line of another node's text that is shown, in characters.
pub const MAX_LINE_CHARS: usize = 120;
/// The longest code of a refusal that is read, in characters; all known ones are shorter.
pub const MAX_CODE_CHARS: usize = 32;

/// A number and its word: `1 piece`, `2 pieces`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A length in the binary unit that fits: `17 bytes`, `1.4 MiB`.
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

/// Whether a terminal shows a character as it is: not one that ends a line, moves the cursor,
/// starts an escape sequence, or changes the writing direction.
pub fn is_plain(c: char) -> bool {
    let is_mark = matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !c.is_control() && !is_mark
}

/// An untrusted string as one line: characters that are not plain are escaped, a line feed as `\n`.
pub fn printable(text: &str) -> String {
    escaped(text, is_plain)
}

/// A string that somebody else chose as a terminal may print it: like [`printable`], but with its
/// line feeds and tabs.
pub fn printable_lines(text: &str) -> String {
    escaped(text, |c| is_plain(c) || matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if stays(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Text from another node, as a [`printable`] line of at most [`MAX_LINE_CHARS`] characters.
pub fn one_line(text: &str) -> String {
    // None is shown as less than one character.
    let end = text.char_indices().nth(MAX_LINE_CHARS + 1).map_or(text.len(), |(at, _)| at);
    let line = printable(&text[..end]);
    if line.chars().count() <= MAX_LINE_CHARS {
        return line;
    }
    let mut cut: String = line.chars().take(MAX_LINE_CHARS - 1).collect();
    cut.push('…');
    cut
}

/// What another node gives as the code of a refusal, as it may stand in a message: its characters
/// from `a` to `z` and `_`, at most [`MAX_CODE_CHARS`] of them.
pub fn code_word(code: &str) -> String {
    code.chars().filter(|c| matches!(c, 'a'..='z' | '_')).take(MAX_CODE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_all_else_is_many() {
        let pieces = |n| count(n, "piece", "pieces");
        assert_eq!([pieces(0), pieces(1), pieces(2)], ["0 pieces", "1 piece", "2 pieces"]);
    }

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
    fn what_others_say_is_one_short_line() {
        for (said, shown) in [
            ("", ""),
            ("avó 🌞", "avó 🌞"),
            ("a\r\nb\tc\u{85}", "a\\r\\nb\\tc\\u{85}"),
            ("\u{1b}[2J\u{202e}\u{2028}", "\\u{1b}[2J\\u{202e}\\u{2028}"),
        ] {
            assert_eq!(printable(said), shown);
            assert_eq!(one_line(said), shown);
        }
        let whole = "é".repeat(MAX_LINE_CHARS);
        assert_eq!(one_line(&whole), whole);
        for long in [whole + "é", "\n".repeat(MAX_LINE_CHARS), "日".repeat(100_000)] {
            let line = one_line(&long);
            assert_eq!(line.chars().count(), MAX_LINE_CHARS);
            assert!(line.ends_with('…'), "{line}");
        }
    }

    #[test]
    fn a_code_is_one_short_word() {
        assert_eq!(code_word("over_quota"), "over_quota");
        assert_eq!(code_word("no\nPublished: 24"), "noublished");
        assert_eq!(code_word(&"x".repeat(1000)).len(), MAX_CODE_CHARS);
    }
}
