//! The command line of `tesd`. Flags win over the configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::Parser;
use clap_complete::Shell;
use tesseras_node::BootstrapPeer;
use tesseras_storage::{STORAGE_FORMAT, data_dir};

use crate::config::{self, Config, ConfigError, Refused};
use crate::config::{check_dialable, parse_address, parse_peer};

/// The version of the software, and the format that it stores.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} (storage format {STORAGE_FORMAT})", env!("CARGO_PKG_VERSION")));

/// A node of the Tesseras network: keeps other people's memories, and lets others keep yours.
///
/// It prints one line on stdout once it accepts QUIC and `tes`: `ready node=<40 hex digits>
/// listen=<address> metrics=<address or ->`. Logs go to stderr; RUST_LOG selects them. SIGTERM and
/// SIGINT stop it within 5 seconds; a second signal stops it at once.
#[derive(Debug, Parser)]
#[command(name = "tesd", version = VERSION.as_str())]
pub struct Args {
    /// The configuration, a TOML file; `--print-config` prints every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where keys, database and stored bytes are kept [default: $TESSERAS_DATA_DIR, or else the
    /// configuration's, or else the platform's data directory].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The UDP address for QUIC; port 0 lets the system choose one.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// The address that others are told to dial, if it differs from the listening address.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = parse_address)]
    advertise: Vec<SocketAddr>,
    /// Nodes to join through, as host:port.
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = parse_peer)]
    bootstrap: Vec<String>,
    /// The TCP address that serves Prometheus metrics at /metrics.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    metrics: Option<SocketAddr>,
    /// Print every key of the configuration with its default, and exit.
    #[arg(long)]
    pub print_config: bool,
    /// Print a completion script for a shell, and exit.
    #[arg(long, value_name = "SHELL", exclusive = true)]
    pub completions: Option<Shell>,
    /// Print a manual page, and exit.
    #[arg(long, exclusive = true)]
    pub man: bool,
}

impl Args {
    /// The configuration from file, environment and flags; each overrides the ones before it.
    pub fn config(self) -> Result<Config, Refused> {
        let mut config = match &self.config {
            Some(path) => config::load(path)?,
            None => Config::default(),
        };
        let node = &mut config.node;
        if let Some(data_dir) = self.data_dir.or_else(data_dir::of_environment) {
            node.data_dir = data_dir;
        }
        if let Some(listen) = self.listen {
            node.listen = listen;
        }
        if !self.advertise.is_empty() {
            node.advertise = self.advertise;
        }
        if !self.bootstrap.is_empty() {
            let peer = |name| BootstrapPeer { name, addresses: Vec::new() };
            node.bootstrap = self.bootstrap.into_iter().map(peer).collect();
        }
        if self.metrics.is_some() {
            node.metrics = self.metrics;
        }
        match node.advertise.iter().try_for_each(check_dialable) {
            Ok(()) => Ok(config),
            Err(reason) => Err(Refused {
                error: ConfigError::Flag(format!("node.advertise: {reason}")),
                log_format: config.log_format,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::CommandFactory as _;

    use super::*;

    fn names(config: &Config) -> Vec<&str> {
        config.node.bootstrap.iter().map(|peer| peer.name.as_str()).collect()
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(
            file,
            "[node]\nlisten = \"127.0.0.1:1\"\nstorage_limit = 7\n\
             [bootstrap]\npeers = [\"a.example:1\"]\n\
             [observability]\nmetrics_addr = \"127.0.0.1:2\"\n"
        )
        .expect("written");
        let path = file.path().to_str().expect("UTF-8");
        let args = ["tesd", "--config", path, "--data-dir", "/d", "--listen", "127.0.0.1:3"];
        let args = args.iter().chain(&["--bootstrap", "b.example:1,127.0.0.1:4"]);
        let args = args.chain(&["--advertise", "192.0.2.1:5", "--metrics", "127.0.0.1:6"]);
        let config = Args::parse_from(args).config().expect("good");
        assert_eq!(config.node.data_dir, PathBuf::from("/d"));
        assert_eq!(config.node.listen.port(), 3);
        assert_eq!(config.node.advertise.len(), 1);
        assert_eq!(names(&config), ["b.example:1", "127.0.0.1:4"]);
        assert_eq!(config.node.metrics.map(|a| a.port()), Some(6));
        assert_eq!(config.node.replication.limits.storage, 7);
        let config = Args::parse_from(["tesd", "--config", path]).config().expect("good");
        assert_eq!(config.node.listen.port(), 1);
        assert_eq!(names(&config), ["a.example:1"]);
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
        assert!(Args::try_parse_from(["tesd", "--listen", "nowhere"]).is_err());
        assert!(Args::try_parse_from(["tesd", "--bootstrap", "a:1,b"]).is_err());
    }
}
