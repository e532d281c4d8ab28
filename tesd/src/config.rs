//! The settings of `tesd`: a TOML file, every key optional, then command-line flags, which win.
//!
//! An unknown key or a bad value is refused by name and line. [`keys`] lists every key.

mod advice;
mod config_error;
mod keys;
mod settings;
mod value;

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use advice::{sections, unknown_key, unknown_table, unquoted};
pub use config_error::{ConfigError, Refused};
use keys::{KEYS, Key};
pub use settings::{Config, LogFormat};
pub use value::{check_dialable, parse_address, parse_peer};

/// The longest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The defaults, overridden by a file.
pub fn load(path: &Path) -> Result<Config, Refused> {
    let unread = |error| Refused { error, log_format: LogFormat::Text };
    let text = read(path).map_err(unread)?;
    parse(&text, path).map_err(|error| Refused { error, log_format: log_format_in(&text) })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let read = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // Limited while reading: a pipe or a device has no length.
    let file = File::open(path).map_err(read)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!("a configuration has at most {MAX_FILE_BYTES} bytes");
        return Err(read(io::Error::other(reason)));
    }
    String::from_utf8(bytes).map_err(|error| ConfigError::Line {
        path: path.to_owned(),
        line: line_at(error.as_bytes(), error.utf8_error().valid_up_to()),
        reason: "this is not UTF-8".to_owned(),
    })
}

/// The defaults, overridden by TOML; `path` is the file's name in errors.
fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let written = Written { text, path };
    let root = DeTable::parse(text).map_err(|error| written.not_toml(&error))?;
    let mut config = Config::default();
    let mut set = Vec::new();
    for (section, table) in root.get_ref() {
        let section_name: &str = section.get_ref();
        if !sections().any(|known| known == section_name) {
            return Err(written.refuse(section.span(), unknown_table(section_name)));
        }
        let DeValue::Table(entries) = table.get_ref() else {
            let reason = format!("{section_name:?} is a table: write [{section_name}]");
            return Err(written.refuse(section.span(), reason));
        };
        for (name, value) in entries {
            let name_text: &str = name.get_ref();
            let Some(key) = keys::find(section_name, name_text) else {
                let reason = unknown_key(section_name, name_text);
                return Err(written.refuse(name.span(), reason));
            };
            key.read(&mut config, value.get_ref())
                .map_err(|reason| written.refuse(value.span(), format!("{key}: {reason}")))?;
            set.push((key, value.span()));
        }
    }
    check_repair(&config, &set, &written)?;
    Ok(config)
}

/// Refuses repair intervals that contradict each other, at the later of their lines.
fn check_repair(
    config: &Config,
    set: &[(&Key, Range<usize>)],
    written: &Written<'_>,
) -> Result<(), ConfigError> {
    let repair = &config.node.replication.repair;
    let (interval, jitter) = (repair.interval, repair.jitter);
    if jitter <= interval {
        return Ok(());
    }
    let names = ["repair_interval_secs", "repair_jitter_secs"];
    let lines = set.iter().filter(|(key, _)| names.contains(&key.name)).map(|(_, span)| span);
    let last = lines.max_by_key(|span| span.start).cloned().unwrap_or(0..0);
    let (interval, jitter) = (interval.as_secs(), jitter.as_secs());
    Err(written.refuse(
        last,
        format!(
            "replication.repair_jitter_secs ({jitter}) is more than \
             replication.repair_interval_secs ({interval})"
        ),
    ))
}

/// A configuration as TOML, every key with its meaning.
pub fn print(config: &Config) -> String {
    let mut out = "# Every key of tesd's configuration, with its default.\n".to_owned();
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            out += &format!("\n[{section}]\n");
        }
        for line in key.doc().lines() {
            out += &format!("# {line}\n");
        }
        out += &format!("{} = {}\n", key.name, key.show(config));
    }
    out
}

/// The text of a file, to find the line of an error.
struct Written<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Written<'_> {
    fn refuse(&self, span: Range<usize>, reason: String) -> ConfigError {
        let line = line_at(self.text.as_bytes(), span.start);
        ConfigError::Line { path: self.path.to_owned(), line, reason }
    }

    fn not_toml(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let at = self.text.floor_char_boundary(span.start);
        let begin = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[begin..].lines().next().unwrap_or("");
        let what = self.text.get(span.clone()).and_then(|what| what.lines().next()).unwrap_or("");
        let reason = match unquoted(&self.text[..begin], line) {
            Some(reason) => reason,
            None if what.is_empty() => error.message().to_owned(),
            None => format!("{}: {what:?}", error.message()),
        };
        self.refuse(span, reason)
    }
}

/// The log format set in a file that is refused for another reason; text, if it cannot be read.
fn log_format_in(text: &str) -> LogFormat {
    let (root, _) = DeTable::parse_recoverable(text);
    let table = root.get_ref().get("observability").map(|table| table.get_ref());
    let written = table.and_then(|table| table.get("log_format"));
    let written = written.and_then(|value| value.get_ref().as_str());
    written.and_then(LogFormat::named).unwrap_or(LogFormat::Text)
}

/// The line of a byte, from 1.
fn line_at(text: &[u8], byte: usize) -> usize {
    1 + text[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests;
