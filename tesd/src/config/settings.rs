//! The settings of `tesd`: those of a node, and what only the daemon needs.

use std::path::PathBuf;

use tesseras_node::NodeConfig;
use tesseras_node::config::{DEFAULT_LISTEN, DEFAULT_REPAIR_SHARE_PERCENT, percent};
use tesseras_storage::data_dir;

/// Every setting, with typed values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The node's settings. The names of its bootstrap peers have not been resolved yet.
    pub node: NodeConfig,
    /// The part of the storage limit that repairs may use.
    pub repair_share_percent: u8,
    /// The format of log lines.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        let data_dir = data_dir::of_platform().unwrap_or_else(|| PathBuf::from("tesseras-data"));
        Self {
            node: NodeConfig::new(data_dir, DEFAULT_LISTEN),
            repair_share_percent: DEFAULT_REPAIR_SHARE_PERCENT,
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// The node's settings, including those derived from several keys.
    pub fn into_node(self) -> NodeConfig {
        let mut node = self.node;
        let limits = &mut node.replication.limits;
        limits.repair_share = percent(limits.storage, self.repair_share_percent);
        node
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// Finds a format by its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Text, Self::Json].into_iter().find(|format| format.name() == name)
    }
}
