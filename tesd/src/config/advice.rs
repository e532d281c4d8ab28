//! Suggestions for a mistyped name or value.

use toml::de::DeValue;

use super::keys::{KEYS, Key, find};
use super::settings::Config;

/// The least similarity of a mistyped name to a known one for it to be suggested; 1 is equal.
const MIN_LIKENESS: f64 = 0.6;

/// The error for an unknown table.
pub fn unknown_table(name: &str) -> String {
    format!("unknown table: {name:?}; {}", advice("", name, sections().collect()))
}

/// The error for an unknown key.
pub fn unknown_key(section: &str, name: &str) -> String {
    let known = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    format!("unknown key of [{section}]: {name:?}; {}", advice(section, name, known.collect()))
}

/// The names of all tables, each once.
pub fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().map(|key| key.section).filter(move |section| {
        let new = *section != last;
        last = section;
        new
    })
}

/// A suggestion for an unknown name: a key of another table, or a known name with a similar
/// spelling; else the list of known names.
fn advice(section: &str, name: &str, known: Vec<&str>) -> String {
    if let Some(key) = KEYS.iter().find(|key| key.name == name && key.section != section) {
        return format!("it belongs below [{}]", key.section);
    }
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&name, known);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= MIN_LIKENESS) {
        Some(nearest) => format!("did you mean {nearest:?}?"),
        None => format!("there are {}", known.join(", ")),
    }
}

/// The error for a line that is not TOML because a known key's value has no quotes; `before` is the
/// file up to that line.
pub fn unquoted(before: &str, line: &str) -> Option<String> {
    let (name, written) = line.split_once('=')?;
    let written = written.split('#').next()?.trim();
    let is_value = written.starts_with(['"', '\'', '[', '{']) || DeValue::parse(written).is_ok();
    if written.is_empty() || is_value {
        return None;
    }
    let key = find(section_of(before)?, name.trim())?;
    Some(format!("{key}: {}", why_unquoted(key, written)))
}

fn why_unquoted(key: &Key, written: &str) -> String {
    match key.read(&mut Config::default(), &DeValue::String(written.into())) {
        Ok(()) => format!("write it in quotes: {} = {written:?}", key.name),
        Err(reason) => reason,
    }
}

/// The table that the next line of a file belongs to.
fn section_of(before: &str) -> Option<&str> {
    let line = before.lines().rev().find(|line| line.trim_start().starts_with('['))?;
    Some(line.trim_start().strip_prefix('[')?.split_once(']')?.0.trim())
}
