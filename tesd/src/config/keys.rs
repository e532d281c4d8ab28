//! Every key of the configuration: its meaning, its range, and where its value is stored.
//!
//! This table is the only list of keys; reading, checking and printing use it. Defaults are those
//! of the types that hold the values.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use tesseras_core::units::MIB;
use tesseras_node::BootstrapPeer;
use tesseras_node::config::{MAX_ALPHA, MAX_CONTACTS, MAX_TRANSFERS};
use toml::de::DeValue;

use super::settings::{Config, LogFormat};
use super::value::{self, show_addresses, show_bytes, show_optional, show_path};

/// One key.
pub struct Key {
    /// The table that it belongs to.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Its meaning, unit and cost; `{range}` stands for the range of a number.
    about: &'static str,
    kind: Kind,
}

/// The kind of a key's value, and where it is stored.
enum Kind {
    /// A whole number in a range, in the unit given by the key's name or its comment.
    Number { range: RangeInclusive<u64>, get: fn(&Config) -> u64, set: fn(&mut Config, u64) },
    /// A number of bytes.
    Bytes { get: fn(&Config) -> u64, set: fn(&mut Config, u64) },
    /// True or false.
    Switch { get: fn(&Config) -> bool, set: fn(&mut Config, bool) },
    /// Anything else.
    Other { show: fn(&Config) -> String, read: fn(&mut Config, &DeValue<'_>) -> Result<(), String> },
}

impl Key {
    /// Its meaning, unit, range and cost; printed as a comment.
    pub fn doc(&self) -> String {
        match &self.kind {
            Kind::Number { range, .. } => {
                let range = format!("{} to {}", range.start(), range.end());
                self.about.replace("{range}", &range)
            }
            _ => self.about.to_owned(),
        }
    }

    /// Its value as TOML text.
    pub fn show(&self, config: &Config) -> String {
        match &self.kind {
            Kind::Number { get, .. } => get(config).to_string(),
            Kind::Bytes { get, .. } => show_bytes(get(config)),
            Kind::Switch { get, .. } => get(config).to_string(),
            Kind::Other { show, .. } => show(config),
        }
    }

    /// Reads a value into the configuration; the error says what is wrong with it.
    pub fn read(&self, config: &mut Config, value: &DeValue<'_>) -> Result<(), String> {
        match &self.kind {
            Kind::Number { range, set, .. } => set(config, value::integer(value, range)?),
            Kind::Bytes { set, .. } => set(config, value::bytes(value)?),
            Kind::Switch { set, .. } => set(config, value::boolean(value)?),
            Kind::Other { read, .. } => read(config, value)?,
        }
        Ok(())
    }
}

/// The full name of the key: `node.listen`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.name)
    }
}

/// Finds a key by its table and name.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

const DAY: u64 = 24 * 60 * 60;

/// All keys, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    Key {
        section: "node",
        name: "data_dir",
        about: "Where keys, database and stored bytes live; only one tesd at a time may use it.\n\
              A path; ~ is the home directory. The path of the socket in it is limited to 107 bytes.",
        kind: Kind::Other {
            show: |c| show_path(&c.node.data_dir),
            read: |c, v| value::path(v).map(|path| c.node.data_dir = path),
        },
    },
    Key {
        section: "node",
        name: "listen",
        about: "The UDP address for QUIC; port 0 lets the system choose one.",
        kind: Kind::Other {
            show: |c| format!("\"{}\"", c.node.listen),
            read: |c, v| value::address(v).map(|address| c.node.listen = address),
        },
    },
    Key {
        section: "node",
        name: "advertise",
        about: "The addresses that others are told to dial, if they differ from the listening\n\
              addresses (port forwarding). Empty: determined from the interfaces and from what\n\
              peers report.",
        kind: Kind::Other {
            show: |c| show_addresses(&c.node.advertise),
            read: |c, v| value::dialable(v).map(|addresses| c.node.advertise = addresses),
        },
    },
    Key {
        section: "node",
        name: "storage_limit",
        about: "How much disk is offered to others: bytes, or a string such as \"10 GiB\", up to\n\
              1 EiB; 0 offers none. The node's own library does not count. Lowering it deletes\n\
              nothing.",
        kind: Kind::Bytes {
            get: |c| c.node.replication.limits.storage,
            set: |c, bytes| c.node.replication.limits.storage = bytes,
        },
    },
    Key {
        section: "node",
        name: "work_bits",
        about: "The proof of work that this network requires of every node, in bits, {range}.\n\
              The same on all nodes of a network; costs 2^bits hashes once, about 0.1 s at 20.",
        kind: Kind::Number {
            range: 0..=40,
            get: |c| c.node.dht.work_bits.into(),
            set: |c, n| c.node.dht.work_bits = n as u32,
        },
    },
    Key {
        section: "bootstrap",
        name: "peers",
        about: "Nodes to join through, as \"host:port\"; names are resolved by DNS. Peers met\n\
              before are tried as well.",
        kind: Kind::Other {
            show: |c| show_peers(&c.node.bootstrap),
            read: |c, v| value::peers(v).map(|peers| c.node.bootstrap = named(peers)),
        },
    },
    Key {
        section: "dht",
        name: "k",
        about: "Nodes kept per bucket of the routing table, and found per lookup; {range}. More\n\
              makes lookups more reliable and sends more requests.",
        kind: Kind::Number {
            range: 1..=MAX_CONTACTS as u64,
            get: |c| c.node.dht.k as u64,
            set: |c, n| c.node.dht.k = n as usize,
        },
    },
    Key {
        section: "dht",
        name: "alpha",
        about: "Concurrent requests of one lookup, {range}. More is faster and sends more\n\
              requests.",
        kind: Kind::Number {
            range: 1..=MAX_ALPHA as u64,
            get: |c| c.node.dht.alpha as u64,
            set: |c, n| c.node.dht.alpha = n as usize,
        },
    },
    Key {
        section: "dht",
        name: "requests_per_second",
        about: "Average requests per second that one node may make, {range}; more are answered\n\
              \"busy\".",
        kind: Kind::Number {
            range: 1..=100_000,
            get: |c| c.node.rate_limit.requests_per_second.into(),
            set: |c, n| c.node.rate_limit.requests_per_second = n as u32,
        },
    },
    Key {
        section: "replication",
        name: "repair_interval_secs",
        about: "Seconds between two repair cycles, {range}. A cycle asks every known holder of\n\
              every held tessera.",
        kind: Kind::Number {
            range: 1..=30 * DAY,
            get: |c| c.node.replication.repair.interval.as_secs(),
            set: |c, n| c.node.replication.repair.interval = Duration::from_secs(n),
        },
    },
    Key {
        section: "replication",
        name: "repair_jitter_secs",
        about: "The longest random time, in seconds, that is added to or subtracted from the\n\
              interval, so that nodes do not repair at the same time; {range}, and at most\n\
              repair_interval_secs.",
        kind: Kind::Number {
            range: 0..=30 * DAY,
            get: |c| c.node.replication.repair.jitter.as_secs(),
            set: |c, n| c.node.replication.repair.jitter = Duration::from_secs(n),
        },
    },
    Key {
        section: "replication",
        name: "grace_secs",
        about: "How long after it was seen last, in seconds, a holder that does not answer may still\n\
              come back, before its pieces are replaced; {range}. 0 stands for repair_interval_secs;\n\
              1 is as good as at once. An endangered tessera is repaired at once in any case. A\n\
              short time costs traffic and space.",
        kind: Kind::Number {
            range: 0..=30 * DAY,
            get: |c| c.node.replication.repair.grace.map_or(0, |grace| grace.as_secs()),
            set: |c, n| c.node.replication.repair.grace = (n > 0).then_some(Duration::from_secs(n)),
        },
    },
    Key {
        section: "replication",
        name: "steward_step_secs",
        about: "A tessera is repaired by its steward, the live holder nearest to its key; if that one\n\
              does not, by the next nearest, and so on. This is how long each of them has, in\n\
              seconds, before the next one acts; {range}. No holder waits longer than\n\
              repair_interval_secs in all, so a larger value than that is the same as that. A short\n\
              time makes several nodes repair at once, which costs traffic and space.",
        kind: Kind::Number {
            range: 0..=DAY,
            get: |c| c.node.replication.repair.steward_step.as_secs(),
            set: |c, n| c.node.replication.repair.steward_step = Duration::from_secs(n),
        },
    },
    Key {
        section: "replication",
        name: "repair_bandwidth",
        about: "How many bytes per second the repairs of this node transfer on average, in both\n\
              directions together: a number, or a string such as \"2 MiB\", which is 2 MiB per second;\n\
              0 is no limit. What is not urgent waits for it. Endangered tesserae and `tes repair`\n\
              do not wait, but count. A low value leaves tesserae incomplete for longer after many\n\
              nodes died.",
        kind: Kind::Bytes {
            get: |c| c.node.replication.repair.bandwidth,
            set: |c, bytes| c.node.replication.repair.bandwidth = bytes,
        },
    },
    Key {
        section: "replication",
        name: "scrub_period_days",
        about: "Days in which everything that is stored is re-read once and compared with its hash,\n\
              {range}; damage is mended from other nodes. Short is found sooner and reads the disk\n\
              more: a period's share of it each day, at most 8 MiB per second, and not while others\n\
              transfer unless it is far behind.",
        kind: Kind::Number {
            range: 1..=3650,
            get: |c| c.node.scrub_period.as_secs() / DAY,
            set: |c, n| c.node.scrub_period = Duration::from_secs(n * DAY),
        },
    },
    Key {
        section: "replication",
        name: "max_transfers",
        about: "Concurrent transfers in each direction that one task of this node starts; {range}.\n\
              All its tasks together have twice as many, of which repair takes at most half. Other\n\
              nodes may request as many as one task. Fewer take less memory and bandwidth.",
        kind: Kind::Number {
            range: 1..=MAX_TRANSFERS as u64,
            get: |c| c.node.replication.max_transfers as u64,
            set: |c, n| c.node.replication.max_transfers = n as usize,
        },
    },
    Key {
        section: "replication",
        name: "hedge_percent",
        about: "A late request is also sent to another node (hedging). This limits the hedges\n\
              that turn out to be unnecessary, in percent of all requests; {range}, 0 disables\n\
              hedging.",
        kind: Kind::Number {
            range: 0..=100,
            get: |c| c.node.replication.hedge_percent.into(),
            set: |c, n| c.node.replication.hedge_percent = n as u8,
        },
    },
    Key {
        section: "replication",
        name: "deficit_allowance",
        about: "How much more a peer may store here than it stores for this node: bytes, or a\n\
              string. A new peer can publish this much before it stores anything in return;\n\
              all peers without a positive balance together get a quarter of storage_limit,\n\
              and a tenth from one network (/24 or /48).",
        kind: Kind::Bytes {
            get: |c| c.node.replication.limits.deficit_allowance,
            set: |c, bytes| c.node.replication.limits.deficit_allowance = bytes,
        },
    },
    Key {
        section: "replication",
        name: "per_peer_limit",
        about: "The most that one peer may store here: bytes, or a string.",
        kind: Kind::Bytes {
            get: |c| c.node.replication.limits.per_peer,
            set: |c, bytes| c.node.replication.limits.per_peer = bytes,
        },
    },
    Key {
        section: "replication",
        name: "min_free_space",
        about: "Below this much free disk space nothing more is accepted from others: bytes, or\n\
              a string.",
        kind: Kind::Bytes {
            get: |c| c.node.replication.limits.min_free_space,
            set: |c, bytes| c.node.replication.limits.min_free_space = bytes,
        },
    },
    Key {
        section: "replication",
        name: "repair_share_percent",
        about: "The part of storage_limit reserved for repairing tesserae whose owners are away,\n\
              {range}.",
        kind: Kind::Number {
            range: 0..=100,
            get: |c| c.repair_share_percent.into(),
            set: |c, n| c.repair_share_percent = n as u8,
        },
    },
    Key {
        section: "performance",
        name: "sqlite_cache_size_kb",
        about: "SQLite's page cache in KiB, shared by all its connections, {range}. It is\n\
              memory, allocated as pages are read; if it is smaller than the index, requests\n\
              read the disk.",
        kind: Kind::Number {
            range: 64..=16_000_000,
            get: |c| c.node.storage.cache_size_kb.into(),
            set: |c, n| c.node.storage.cache_size_kb = n as u32,
        },
    },
    Key {
        section: "performance",
        name: "sqlite_synchronous_full",
        about: "true or false: whether SQLite syncs every commit by itself. For unstable hardware (a\n\
              Raspberry Pi on an SD card): hints (peers, other holders) survive a power cut, too. What\n\
              was acknowledged survives either way. Costs one sync for each commit, instead of one\n\
              shared by all waiting commits.",
        kind: Kind::Switch {
            get: |c| c.node.storage.synchronous_full,
            set: |c, on| c.node.storage.synchronous_full = on,
        },
    },
    Key {
        section: "performance",
        name: "sqlite_busy_timeout_ms",
        about: "Milliseconds to wait for another process that writes (tes), {range}. After a\n\
              short wait writes fail that a longer one would have completed; all writes of\n\
              tesd wait in the meantime.",
        kind: Kind::Number {
            range: 1..=600_000,
            get: |c| c.node.storage.busy_timeout.as_millis() as u64,
            set: |c, n| c.node.storage.busy_timeout = Duration::from_millis(n),
        },
    },
    Key {
        section: "performance",
        name: "sqlite_wal_autocheckpoint_pages",
        about: "Pages of 4 KiB in SQLite's write-ahead log before they are written back,\n\
              {range}. A larger value writes back less often but for longer, and uses that\n\
              much more disk.",
        kind: Kind::Number {
            range: 1..=1_000_000,
            get: |c| c.node.storage.wal_autocheckpoint_pages.into(),
            set: |c, n| c.node.storage.wal_autocheckpoint_pages = n as u32,
        },
    },
    Key {
        section: "performance",
        name: "fragment_cache_size_mb",
        about: "Memory for the most recently read pieces, in MiB, {range}; 0 disables the cache.\n\
              Allocated as pieces are read; a piece larger than an eighth of it is never\n\
              cached.",
        kind: Kind::Number {
            range: 0..=1_000_000,
            get: |c| c.node.fragment_cache / MIB,
            set: |c, n| c.node.fragment_cache = n * MIB,
        },
    },
    Key {
        section: "performance",
        name: "pool_max_connections",
        about: "Concurrent connections to other nodes, {range}; at the limit the oldest idle one\n\
              is closed. An idle one costs about 20 KiB of memory.",
        kind: Kind::Number {
            range: 8..=65_536,
            get: |c| c.node.pool.max_connections as u64,
            set: |c, n| c.node.pool.max_connections = n as usize,
        },
    },
    Key {
        section: "performance",
        name: "pool_idle_timeout_secs",
        about: "Seconds after which an unused connection is closed, {range}. A longer time keeps\n\
              memory, a shorter one costs more handshakes. Both sides have this setting; the\n\
              shorter one applies.",
        kind: Kind::Number {
            range: 1..=DAY,
            get: |c| c.node.pool.idle_timeout.as_secs(),
            set: |c, n| c.node.pool.idle_timeout = Duration::from_secs(n),
        },
    },
    Key {
        section: "performance",
        name: "pool_reaper_interval_secs",
        about: "Seconds between two searches for unused connections, {range}; a connection may\n\
              stay open that much longer. A search costs almost nothing.",
        kind: Kind::Number {
            range: 1..=DAY,
            get: |c| c.node.pool.reaper_interval.as_secs(),
            set: |c, n| c.node.pool.reaper_interval = Duration::from_secs(n),
        },
    },
    Key {
        section: "observability",
        name: "metrics_addr",
        about: "The TCP address that serves Prometheus metrics at /metrics; empty: none. It has\n\
              no authentication, so keep it on loopback.",
        kind: Kind::Other {
            show: |c| show_optional(c.node.metrics),
            read: |c, v| value::optional_address(v).map(|address| c.node.metrics = address),
        },
    },
    Key {
        section: "observability",
        name: "log_format",
        about: "The format of logs on stderr: \"text\" or \"json\". RUST_LOG selects which are\n\
              shown.",
        kind: Kind::Other {
            show: |c| format!("\"{}\"", c.log_format.name()),
            read: |c, v| log_format(v).map(|format| c.log_format = format),
        },
    },
];

/// Bootstrap peers whose names have not been resolved yet.
fn named(peers: Vec<String>) -> Vec<BootstrapPeer> {
    peers.into_iter().map(|name| BootstrapPeer { name, addresses: Vec::new() }).collect()
}

fn show_peers(peers: &[BootstrapPeer]) -> String {
    let names: Vec<_> = peers.iter().map(|peer| peer.name.clone()).collect();
    toml::Value::from(names).to_string()
}

fn log_format(value: &DeValue<'_>) -> Result<LogFormat, String> {
    let text = value::text(value)?;
    LogFormat::named(text).ok_or_else(|| format!("expected \"text\" or \"json\", found {text:?}"))
}
