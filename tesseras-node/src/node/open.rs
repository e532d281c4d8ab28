//! Opens the data directory of a node.

use std::sync::Arc;

use tesseras_core::contact::Contact;
use tesseras_core::peer_memory::SilentPeer;
use tesseras_core::ports::PeerRepository as _;
use tesseras_crypto::NodeKeys;
use tesseras_disk::Disk;
use tesseras_storage::{DaemonLock, Store};

use crate::config::NodeConfig;
use crate::identity;
use crate::jobs::sweep;
use crate::start_error::StartError;

/// The number of stored peers that a node joins through.
const REMEMBERED_PEERS: usize = 64;

/// The contents of a data directory.
pub struct Opened {
    pub store: Store,
    /// Excludes other nodes from the data directory.
    pub lock: DaemonLock,
    pub keys: Arc<NodeKeys>,
    /// Peers that were known when the node last ran.
    pub remembered: Vec<Contact>,
    /// Peers that were silent then.
    pub silent: Vec<SilentPeer>,
}

/// Opens the data directory on a blocking thread.
pub async fn open(config: &NodeConfig, disk: Arc<dyn Disk>) -> Result<Opened, StartError> {
    let config = config.clone();
    match tokio::task::spawn_blocking(move || open_now(&config, disk)).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn open_now(config: &NodeConfig, disk: Arc<dyn Disk>) -> Result<Opened, StartError> {
    let store = Store::open_on_disk(&config.data_dir, &config.storage, disk)?;
    let lock = store.lock_daemon()?;
    sweep(&store);
    let keys = Arc::new(identity::load_or_create(&config.data_dir, config.dht.work_bits)?);
    let remembered = store.peers().known_peers(REMEMBERED_PEERS)?;
    let silent = store.peers().silent_peers()?;
    Ok(Opened { store, lock, keys, remembered, silent })
}
