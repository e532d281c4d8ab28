//! Every key that a configuration may hold: what it means, how it is read, how it is shown.
//!
//! This table is the only place that knows the keys; reading, checking and printing walk it.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::value::{self, show_addresses, show_bytes, show_optional, show_path};
use super::{Config, LogFormat};

/// One key.
pub struct Key {
    /// The table that it stands in.
    pub section: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What it is, its unit, range and cost; a comment in what is printed.
    pub doc: &'static str,
    /// Its value as TOML text.
    pub show: fn(&Config) -> String,
    /// Reads a value into the configuration; says why not.
    pub read: fn(&mut Config, &DeValue<'_>) -> Result<(), String>,
}

const DAY: u64 = 24 * 60 * 60;
const WORK_BITS: RangeInclusive<u64> = 0..=40;
const K: RangeInclusive<u64> = 1..=20;
const ALPHA: RangeInclusive<u64> = 1..=16;
const REQUESTS_PER_SECOND: RangeInclusive<u64> = 1..=100_000;
const REPAIR_INTERVAL: RangeInclusive<u64> = 1..=30 * DAY;
const REPAIR_JITTER: RangeInclusive<u64> = 0..=30 * DAY;
const MAX_TRANSFERS: RangeInclusive<u64> = 1..=4;
const CACHE_KB: RangeInclusive<u64> = 64..=16_000_000;
const BUSY_MS: RangeInclusive<u64> = 1..=600_000;
const CHECKPOINT_PAGES: RangeInclusive<u64> = 1..=1_000_000;
const FRAGMENT_CACHE_MB: RangeInclusive<u64> = 0..=1_000_000;
const POOL_CONNECTIONS: RangeInclusive<u64> = 8..=65_536;
const POOL_SECONDS: RangeInclusive<u64> = 1..=DAY;

/// All keys, in the order in which they are printed.
pub const KEYS: &[Key] = &[
    Key {
        section: "node",
        name: "data_dir",
        doc: "Where keys, database and stored bytes live; only one tesd at a time may use it.\n\
              A path; ~ is the home directory. Its socket's path may have 107 bytes.",
        show: |c| show_path(&c.node.data_dir),
        read: |c, v| value::path(v).map(|path| c.node.data_dir = path),
    },
    Key {
        section: "node",
        name: "listen",
        doc: "The UDP address for QUIC; port 0 lets the system choose one.",
        show: |c| format!("\"{}\"", c.node.listen),
        read: |c, v| value::address(v).map(|address| c.node.listen = address),
    },
    Key {
        section: "node",
        name: "advertise",
        doc: "The addresses that others are told to dial, where they are not those listened on (port\n\
              forwarding). None: found out from the interfaces and from what peers report.",
        show: |c| show_addresses(&c.node.advertise),
        read: |c, v| value::addresses(v).map(|addresses| c.node.advertise = addresses),
    },
    Key {
        section: "node",
        name: "storage_limit",
        doc: "How much disk is offered to others: bytes, or a string such as \"10 GiB\", up to 1 EiB;\n\
              0 offers none. One's own library does not count. Lowered later, nothing is deleted.",
        show: |c| show_bytes(c.node.storage_limit),
        read: |c, v| value::bytes(v).map(|bytes| c.node.storage_limit = bytes),
    },
    Key {
        section: "node",
        name: "work_bits",
        doc: "The proof of work that this network asks of every node, in bits, 0 to 40. The same on\n\
              all nodes of a network; costs 2^bits hashes once, about 0.1 s at 20.",
        show: |c| c.node.work_bits.to_string(),
        read: |c, v| value::integer(v, &WORK_BITS).map(|n| c.node.work_bits = n as u32),
    },
    Key {
        section: "bootstrap",
        name: "peers",
        doc: "Nodes to join through, as \"host:port\"; names are looked up by DNS. Peers met before\n\
              are tried as well.",
        show: |c| toml::Value::from(c.bootstrap.peers.clone()).to_string(),
        read: |c, v| value::peers(v).map(|peers| c.bootstrap.peers = peers),
    },
    Key {
        section: "dht",
        name: "k",
        doc: "Nodes kept per bucket of the routing table, and asked per lookup; 1 to 20. More finds\n\
              more surely and asks more.",
        show: |c| c.dht.k.to_string(),
        read: |c, v| value::integer(v, &K).map(|n| c.dht.k = n as usize),
    },
    Key {
        section: "dht",
        name: "alpha",
        doc: "Questions of one lookup in flight at once, 1 to 16. More is faster and asks more.",
        show: |c| c.dht.alpha.to_string(),
        read: |c, v| value::integer(v, &ALPHA).map(|n| c.dht.alpha = n as usize),
    },
    Key {
        section: "dht",
        name: "requests_per_second",
        doc: "Requests that one node may make in a second for ever, 1 to 100000; what is above is told\n\
              to come back later.",
        show: |c| c.dht.requests_per_second.to_string(),
        read: |c, v| {
            value::integer(v, &REQUESTS_PER_SECOND).map(|n| c.dht.requests_per_second = n as u32)
        },
    },
    Key {
        section: "replication",
        name: "repair_interval_secs",
        doc: "Seconds between two repair cycles, 1 to 2592000. A cycle asks every known holder of\n\
              every held tessera.",
        show: |c| c.replication.repair_interval.as_secs().to_string(),
        read: |c, v| {
            value::seconds(v, &REPAIR_INTERVAL).map(|time| c.replication.repair_interval = time)
        },
    },
    Key {
        section: "replication",
        name: "repair_jitter_secs",
        doc: "Up to so many seconds are added or taken at random, so that nodes do not repair all\n\
              at once; 0 to 2592000, and at most repair_interval_secs.",
        show: |c| c.replication.repair_jitter.as_secs().to_string(),
        read: |c, v| {
            value::seconds(v, &REPAIR_JITTER).map(|time| c.replication.repair_jitter = time)
        },
    },
    Key {
        section: "replication",
        name: "max_transfers",
        doc: "Transfers at once, each way; 1 to 4. Each costs a few MiB of memory.",
        show: |c| c.replication.max_transfers.to_string(),
        read: |c, v| {
            value::integer(v, &MAX_TRANSFERS).map(|n| c.replication.max_transfers = n as usize)
        },
    },
    Key {
        section: "replication",
        name: "deficit_allowance",
        doc: "How much more a peer may have stored here than it stores for us: bytes, or a string. What\n\
              a newcomer can publish before it stores anything in return; all newcomers together\n\
              get a quarter of storage_limit, and a tenth from one network (/24 or /48).",
        show: |c| show_bytes(c.replication.deficit_allowance),
        read: |c, v| value::bytes(v).map(|bytes| c.replication.deficit_allowance = bytes),
    },
    Key {
        section: "replication",
        name: "per_peer_limit",
        doc: "The most that one peer may have stored here: bytes, or a string.",
        show: |c| show_bytes(c.replication.per_peer_limit),
        read: |c, v| value::bytes(v).map(|bytes| c.replication.per_peer_limit = bytes),
    },
    Key {
        section: "replication",
        name: "min_free_space",
        doc: "With less free disk than this, nothing more is accepted from others: bytes, or a\n\
              string.",
        show: |c| show_bytes(c.replication.min_free_space),
        read: |c, v| value::bytes(v).map(|bytes| c.replication.min_free_space = bytes),
    },
    Key {
        section: "replication",
        name: "repair_share_percent",
        doc: "The part of storage_limit kept for repair of tesserae whose owners are away, 0 to 100.",
        show: |c| c.replication.repair_share_percent.to_string(),
        read: |c, v| {
            value::integer(v, &(0..=100)).map(|n| c.replication.repair_share_percent = n as u8)
        },
    },
    Key {
        section: "performance",
        name: "sqlite_cache_size_kb",
        doc: "SQLite's page cache in KiB, for all its connections together, 64 to 16000000. It is\n\
              memory, taken as pages are read; with less than the index has, answers read the disk.",
        show: |c| c.performance.sqlite_cache_size_kb.to_string(),
        read: |c, v| {
            value::integer(v, &CACHE_KB).map(|n| c.performance.sqlite_cache_size_kb = n as u32)
        },
    },
    Key {
        section: "performance",
        name: "sqlite_synchronous_full",
        doc: "true or false: whether SQLite syncs every commit by itself. For unstable hardware (a\n\
              Raspberry Pi on an SD card): hints (peers, other holders) survive a power cut, too. What\n\
              was acknowledged does either way. Costs one sync for each commit, instead of one for\n\
              all who wait.",
        show: |c| c.performance.sqlite_synchronous_full.to_string(),
        read: |c, v| value::boolean(v).map(|on| c.performance.sqlite_synchronous_full = on),
    },
    Key {
        section: "performance",
        name: "sqlite_busy_timeout_ms",
        doc: "Milliseconds to wait for another process that writes (tes), 1 to 600000. A short wait\n\
              refuses what a longer one would have stored; all writes of tesd wait meanwhile.",
        show: |c| c.performance.sqlite_busy_timeout.as_millis().to_string(),
        read: |c, v| {
            value::integer(v, &BUSY_MS).map(|n| {
                c.performance.sqlite_busy_timeout = std::time::Duration::from_millis(n);
            })
        },
    },
    Key {
        section: "performance",
        name: "sqlite_wal_autocheckpoint_pages",
        doc: "Pages of 4 KiB in SQLite's log before they are written back, 1 to 1000000. More writes\n\
              less often and for longer, and takes so much more disk.",
        show: |c| c.performance.sqlite_wal_autocheckpoint_pages.to_string(),
        read: |c, v| {
            value::integer(v, &CHECKPOINT_PAGES)
                .map(|n| c.performance.sqlite_wal_autocheckpoint_pages = n as u32)
        },
    },
    Key {
        section: "performance",
        name: "fragment_cache_size_mb",
        doc: "Memory for held pieces that were read last, in MiB, 0 to 1000000; 0 is off. Taken as\n\
              pieces are read; one above an eighth of it is never kept.",
        show: |c| c.performance.fragment_cache_size_mb.to_string(),
        read: |c, v| {
            value::integer(v, &FRAGMENT_CACHE_MB).map(|n| c.performance.fragment_cache_size_mb = n)
        },
    },
    Key {
        section: "performance",
        name: "pool_max_connections",
        doc: "Connections to other nodes at once, 8 to 65536; for another one the oldest idle one is\n\
              closed. An idle one costs some 20 KiB of memory.",
        show: |c| c.performance.pool_max_connections.to_string(),
        read: |c, v| {
            value::integer(v, &POOL_CONNECTIONS)
                .map(|n| c.performance.pool_max_connections = n as usize)
        },
    },
    Key {
        section: "performance",
        name: "pool_idle_timeout_secs",
        doc: "Seconds after which an unused connection is closed, 1 to 86400. Longer keeps memory,\n\
              shorter costs a handshake more often. Both sides have this; the shorter one counts.",
        show: |c| c.performance.pool_idle_timeout.as_secs().to_string(),
        read: |c, v| {
            value::seconds(v, &POOL_SECONDS).map(|time| c.performance.pool_idle_timeout = time)
        },
    },
    Key {
        section: "performance",
        name: "pool_reaper_interval_secs",
        doc: "Seconds between two looks for unused connections, 1 to 86400; one may stay open so much\n\
              longer. A look costs next to nothing.",
        show: |c| c.performance.pool_reaper_interval.as_secs().to_string(),
        read: |c, v| {
            value::seconds(v, &POOL_SECONDS).map(|time| c.performance.pool_reaper_interval = time)
        },
    },
    Key {
        section: "observability",
        name: "metrics_addr",
        doc: "The TCP address that serves Prometheus metrics at /metrics; empty: none. It asks for\n\
              no password, so keep it on loopback.",
        show: |c| show_optional(c.observability.metrics_addr),
        read: |c, v| {
            value::optional_address(v).map(|address| c.observability.metrics_addr = address)
        },
    },
    Key {
        section: "observability",
        name: "log_format",
        doc: "How logs look on stderr: \"text\" or \"json\". RUST_LOG says which are shown.",
        show: |c| format!("\"{}\"", c.observability.log_format.name()),
        read: |c, v| {
            let text = value::text(v)?;
            c.observability.log_format = LogFormat::named(text)
                .ok_or_else(|| format!("expected \"text\" or \"json\", found {text:?}"))?;
            Ok(())
        },
    },
];
