//! What a node can be told: a TOML file, every key optional, then command-line flags, which win.
//!
//! An unknown key or a bad value is refused by name and line. [`keys`] lists every key.

mod keys;
mod value;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use keys::KEYS;
pub use value::{parse_address, parse_peer};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// The longest configuration file that is read.
const MAX_FILE_BYTES: u64 = MIB;
/// How much like a known name a mistyped one must be to be taken for it; 1 is the same.
const MIN_LIKENESS: f64 = 0.6;

/// Every setting of a node, with typed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[bootstrap]`
    pub bootstrap: Bootstrap,
    /// `[dht]`
    pub dht: Dht,
    /// `[replication]`
    pub replication: Replication,
    /// `[performance]`
    pub performance: Performance,
    /// `[observability]`
    pub observability: Observability,
}

/// `[node]`: who and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where everything of the node lives.
    pub data_dir: PathBuf,
    /// The UDP address for QUIC.
    pub listen: SocketAddr,
    /// The addresses that others are told; none: those that it finds by itself.
    pub advertise: Vec<SocketAddr>,
    /// Bytes offered to others.
    pub storage_limit: u64,
    /// Proof of work that the network asks for.
    pub work_bits: u32,
}

/// `[bootstrap]`: how it finds others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// `host:port` each, not looked up yet.
    pub peers: Vec<String>,
}

/// `[dht]`: Kademlia.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dht {
    /// Bucket size and lookup width.
    pub k: usize,
    /// Questions in flight.
    pub alpha: usize,
    /// Requests that one node may make in a second.
    pub requests_per_second: u32,
}

/// `[replication]`: repair and what is accepted from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// Between two repair cycles.
    pub repair_interval: Duration,
    /// The most that is added or taken at random.
    pub repair_jitter: Duration,
    /// At once, each way.
    pub max_transfers: usize,
    /// How deep in debt a peer may be, in bytes.
    pub deficit_allowance: u64,
    /// The most stored for one peer, in bytes.
    pub per_peer_limit: u64,
    /// Free disk below which nothing is accepted, in bytes.
    pub min_free_space: u64,
    /// The part of the storage limit kept for repair.
    pub repair_share_percent: u8,
}

/// `[performance]`: memory, disk and connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Performance {
    /// Page cache, in KiB.
    pub sqlite_cache_size_kb: u32,
    /// Whether to sync at every commit.
    pub sqlite_synchronous_full: bool,
    /// How long to wait for another process.
    pub sqlite_busy_timeout: Duration,
    /// Pages in the WAL before they are moved.
    pub sqlite_wal_autocheckpoint_pages: u32,
    /// Fragment cache, in MiB.
    pub fragment_cache_size_mb: u64,
    /// Connections kept open.
    pub pool_max_connections: usize,
    /// When an unused one is closed.
    pub pool_idle_timeout: Duration,
    /// How often that is looked for.
    pub pool_reaper_interval: Duration,
}

/// `[observability]`: what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observability {
    /// Where metrics are served.
    pub metrics_addr: Option<SocketAddr>,
    /// How logs look.
    pub log_format: LogFormat,
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.name() == name)
    }

    /// What a file says that is refused for something else; text, if that cannot be read.
    fn written_in(text: &str) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let table = root.get_ref().get("observability").map(|table| table.get_ref());
        let written = table.and_then(|table| table.get("log_format"));
        let written = written.and_then(|value| value.get_ref().as_str());
        written.and_then(Self::named).unwrap_or(Self::Text)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: Node {
                data_dir: default_data_dir(),
                listen: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 7310)),
                advertise: Vec::new(),
                storage_limit: 10 * GIB,
                work_bits: 20,
            },
            bootstrap: Bootstrap { peers: Vec::new() },
            dht: Dht { k: 20, alpha: 3, requests_per_second: 50 },
            replication: Replication {
                repair_interval: Duration::from_secs(86_400),
                repair_jitter: Duration::from_secs(7200),
                max_transfers: 4,
                deficit_allowance: GIB,
                per_peer_limit: GIB,
                min_free_space: GIB,
                repair_share_percent: 50,
            },
            performance: Performance {
                sqlite_cache_size_kb: 64_000,
                sqlite_synchronous_full: false,
                sqlite_busy_timeout: Duration::from_millis(5000),
                sqlite_wal_autocheckpoint_pages: 1000,
                fragment_cache_size_mb: 128,
                pool_max_connections: 256,
                pool_idle_timeout: Duration::from_secs(300),
                pool_reaper_interval: Duration::from_secs(30),
            },
            observability: Observability { metrics_addr: None, log_format: LogFormat::Text },
        }
    }
}

/// The platform's directory for an application's data, the same as that of `tes`.
fn default_data_dir() -> PathBuf {
    directories::ProjectDirs::from("", "", "tesseras")
        .map_or_else(|| PathBuf::from("tesseras-data"), |dirs| dirs.data_dir().to_owned())
}

/// Why a configuration is refused.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file cannot be accepted.
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it, by name.
        reason: String,
    },
    /// Two values do not fit together.
    Conflict(String),
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "cannot read {}: {source}", path.display()),
            Self::Line { path, line, reason } => write!(f, "{}:{line}: {reason}", path.display()),
            Self::Conflict(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A configuration that is refused, and how logs should look all the same.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: ConfigError,
    /// As the file says, where that can still be read.
    pub log_format: LogFormat,
}

impl Config {
    /// The defaults, changed by what a file says.
    pub fn load(path: &Path) -> Result<Self, Refused> {
        let unread = |error| Refused { error, log_format: LogFormat::Text };
        let text = Self::read(path).map_err(unread)?;
        Self::parse(&text, path)
            .map_err(|error| Refused { error, log_format: LogFormat::written_in(&text) })
    }

    fn read(path: &Path) -> Result<String, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        // Counted as it comes: of a pipe or a device nobody knows the length before.
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

    /// The defaults, changed by TOML; `path` is what errors call it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let refuse = |span: Range<usize>, reason: String| ConfigError::Line {
            path: path.to_owned(),
            line: line_at(text.as_bytes(), span.start),
            reason,
        };
        let root = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let what = text.get(span.clone()).and_then(|what| what.lines().next()).unwrap_or("");
            let reason = match what {
                "" => error.message().to_owned(),
                what => format!("{}: {what:?}", error.message()),
            };
            refuse(span, reason)
        })?;
        let mut config = Self::default();
        for (section, table) in root.get_ref() {
            let section_name: &str = section.get_ref();
            if !KEYS.iter().any(|key| key.section == section_name) {
                return Err(refuse(section.span(), unknown_table(section_name)));
            }
            let DeValue::Table(entries) = table.get_ref() else {
                let reason = format!("{section_name:?} is a table: write [{section_name}]");
                return Err(refuse(section.span(), reason));
            };
            for (name, value) in entries {
                let name_text: &str = name.get_ref();
                let mut known = KEYS.iter().filter(|key| key.section == section_name);
                let Some(key) = known.find(|key| key.name == name_text) else {
                    return Err(refuse(name.span(), unknown_key(section_name, name_text)));
                };
                (key.read)(&mut config, value.get_ref()).map_err(|reason| {
                    refuse(value.span(), format!("{section_name}.{name_text}: {reason}"))
                })?;
            }
        }
        Ok(config)
    }

    /// Refuses values that do not fit together. Called once all flags are in.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Replication { repair_interval, repair_jitter, .. } = self.replication;
        if repair_jitter > repair_interval {
            return Err(ConfigError::Conflict(format!(
                "replication.repair_jitter_secs ({}) is more than replication.repair_interval_secs \
                 ({})",
                repair_jitter.as_secs(),
                repair_interval.as_secs()
            )));
        }
        let undialable = |a: &&SocketAddr| a.ip().is_unspecified() || a.port() == 0;
        if let Some(address) = self.node.advertise.iter().find(undialable) {
            return Err(ConfigError::Conflict(format!(
                "node.advertise ({address}) is not an address that another node could dial"
            )));
        }
        Ok(())
    }

    /// This configuration as TOML, every key with its meaning.
    pub fn print(&self) -> String {
        let mut out = "# Every key of tesd's configuration, with its default.\n".to_owned();
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                write!(out, "\n[{section}]\n").expect("a String takes all");
            }
            for line in key.doc.lines() {
                writeln!(out, "# {line}").expect("a String takes all");
            }
            writeln!(out, "{} = {}", key.name, (key.show)(self)).expect("a String takes all");
        }
        out
    }
}

/// In which line a byte stands, from 1.
fn line_at(text: &[u8], byte: usize) -> usize {
    1 + text[..byte.min(text.len())].iter().filter(|b| **b == b'\n').count()
}

/// The names of all tables, each once.
fn sections() -> impl Iterator<Item = &'static str> {
    let mut last = "";
    KEYS.iter().map(|key| key.section).filter(move |section| {
        let new = *section != last;
        last = section;
        new
    })
}

fn unknown_table(name: &str) -> String {
    format!("unknown table: {name:?}; {}", advice("", name, sections().collect()))
}

fn unknown_key(section: &str, name: &str) -> String {
    let known = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    format!("unknown key of [{section}]: {name:?}; {}", advice(section, name, known.collect()))
}

/// What an unknown name was probably meant to be: a key of another table, or a known name that is
/// spelled nearly so; else what there is.
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

#[cfg(test)]
mod tests;
