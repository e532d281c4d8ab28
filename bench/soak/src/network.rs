//! The nodes of a run: where each lives, and which run.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tesseras_core::ids::{ContentHash, NodeId};

use crate::daemon::{Daemon, Start};
use crate::failure::Result;
use crate::mount::Mount;
use crate::programs::Programs;

/// Nodes that another joins through.
const BOOTSTRAP: usize = 3;
/// One node of so many has a file system of its own.
const MOUNTED: u8 = 4;

/// Settings of all nodes: what happens once a day elsewhere happens all the time here. A node repairs
/// every half minute, and a holder that is away is missed after 20 s.
const CONFIG: &str = r#"[node]
work_bits = 0
storage_limit = "STORAGE"
[dht]
requests_per_second = 1000
[replication]
repair_interval_secs = 30
repair_jitter_secs = 10
grace_secs = 20
steward_step_secs = 5
repair_bandwidth = "16 MiB"
scrub_period_days = 1
deficit_allowance = "1 GiB"
per_peer_limit = "1 GiB"
min_free_space = "RESERVE"
"#;

/// What a node keeps free of its disk.
pub const RESERVE: u64 = 16 << 20;

/// Settings, as files.
pub struct Configs {
    usual: PathBuf,
    full: PathBuf,
    reader: PathBuf,
}

impl Configs {
    fn write(directory: &Path) -> Result<Self> {
        let write = |name: &str, storage: &str, reserve: &str| -> Result<PathBuf> {
            let path = directory.join(name);
            fs::write(&path, CONFIG.replace("STORAGE", storage).replace("RESERVE", reserve))?;
            Ok(path)
        };
        Ok(Self {
            usual: write("usual.toml", "4 GiB", &RESERVE.to_string())?,
            full: write("full.toml", "4 GiB", "1 EiB")?,
            reader: write("reader.toml", "0", "0")?,
        })
    }
}

/// Where a node lives.
pub struct Place {
    /// Its number, from 1.
    pub number: u8,
    /// Its data directory.
    pub data: PathBuf,
    log: PathBuf,
    state: Mutex<State>,
    // After the state: it can only be unmounted once the node has ended.
    mount: Option<Mount>,
}

/// How a node is now.
pub struct State {
    /// Its process, while it runs.
    pub daemon: Option<Daemon>,
    /// Its id, also while it does not run.
    pub id: Option<NodeId>,
    /// Stored files of which a bit was flipped, and that were not found sound since.
    pub touched: BTreeSet<ContentHash>,
    /// Whether its disk is full.
    pub is_full: bool,
    listen: SocketAddr,
}

impl Place {
    fn new(root: &Path, number: u8, mount: Option<Mount>) -> Result<Self> {
        let home = root.join(format!("node-{number}"));
        fs::create_dir_all(&home)?;
        let listen = SocketAddr::from((Ipv4Addr::new(127, 0, number, 1), 0));
        let state =
            State { daemon: None, id: None, touched: BTreeSet::new(), is_full: false, listen };
        let log = root.join(format!("node-{number}.log"));
        Ok(Self { number, data: home.join("data"), log, mount, state: Mutex::new(state) })
    }

    /// Its state. Held while a fault is done to it, and by nobody else for long.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its id, if it ever ran since its disk was erased last.
    pub fn id(&self) -> Option<NodeId> {
        self.state().id
    }
}

/// All nodes.
pub struct Network {
    /// Each node.
    pub places: Vec<Place>,
    /// The programs.
    pub programs: Programs,
    configs: Configs,
    root: PathBuf,
    first: Mutex<Vec<SocketAddr>>,
}

impl Network {
    /// Prepares so many nodes below a directory; none runs yet.
    pub fn new(root: &Path, programs: Programs, nodes: u8) -> Result<Self> {
        let mut places = Vec::new();
        for number in 1..=nodes {
            let at = root.join(format!("node-{number}"));
            let mount = if number % MOUNTED == 0 { Mount::new(&at)? } else { None };
            places.push(Place::new(root, number, mount)?);
        }
        let (configs, first) = (Configs::write(root)?, Mutex::default());
        Ok(Self { places, programs, configs, root: root.to_owned(), first })
    }

    /// How the disk of a node is made full.
    pub fn kind_of_full(&self) -> &'static str {
        let mut kinds = self.places.iter().filter_map(|place| Some(place.mount.as_ref()?.kind));
        kinds.next().unwrap_or("min_free_space above what is free")
    }

    /// Makes the data directory and the owner of a node.
    pub fn init(&self, place: &Place) -> Result<()> {
        let name = format!("Owner {}", place.number);
        let made = self.programs.run(&place.data, &["init", "--name", &name])?;
        if made.is_done() { Ok(()) } else { Err(made.why().into()) }
    }

    /// Starts a node at the address that it had before.
    pub fn start(&self, place: &Place) -> Result<()> {
        let mut state = place.state();
        let is_full = state.is_full && place.mount.is_none();
        let config = if is_full { &self.configs.full } else { &self.configs.usual };
        self.start_with(place, &mut state, config)
    }

    fn start_with(&self, place: &Place, state: &mut State, config: &Path) -> Result<()> {
        let known = self.first();
        let others = known.iter().filter(|address| **address != state.listen);
        let start = Start {
            config,
            data: place.data.clone(),
            listen: state.listen,
            bootstrap: others.copied().take(BOOTSTRAP).collect(),
            log: place.log.clone(),
        };
        let daemon = Daemon::start(&self.programs, &start)?;
        state.listen = daemon.listen;
        state.id = Some(daemon.id);
        if !known.contains(&daemon.listen) {
            self.lock_first().push(daemon.listen);
        }
        state.daemon = Some(daemon);
        Ok(())
    }

    fn first(&self) -> Vec<SocketAddr> {
        self.lock_first().clone()
    }

    fn lock_first(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A data directory with an owner and without a node.
    pub fn desk(&self, number: u8) -> Result<Place> {
        let desk = Place::new(&self.root, number, None)?;
        self.init(&desk)?;
        Ok(desk)
    }

    /// A node with an empty disk that holds nothing for others, and runs.
    pub fn reader(&self, number: u8) -> Result<Place> {
        let reader = Place::new(&self.root, number, None)?;
        self.wipe(&reader)?;
        self.init(&reader)?;
        let mut state = reader.state();
        let config = self.configs.reader.clone();
        self.start_with(&reader, &mut state, &config)?;
        let listen = state.listen;
        self.lock_first().retain(|address| *address != listen);
        drop(state);
        Ok(reader)
    }

    /// Removes the whole data directory of a node that does not run.
    pub fn wipe(&self, place: &Place) -> Result<()> {
        let gone = place.data.with_file_name("gone");
        if place.data.exists() {
            // A command may be at work in it; what it makes anew goes nowhere.
            fs::rename(&place.data, &gone)?;
            for _ in 0..100 {
                if fs::remove_dir_all(&gone).is_ok() || !gone.exists() {
                    break;
                }
            }
        }
        let mut state = place.state();
        state.touched.clear();
        state.id = None;
        Ok(())
    }

    /// Makes the disk of a node full but for so many bytes; it is restarted where that takes another
    /// setting.
    pub fn fill(&self, place: &Place, leave: u64) -> Result<()> {
        place.state().is_full = true;
        match &place.mount {
            Some(mount) => mount.fill(leave),
            None => self.restart(place),
        }
    }

    /// Gives a full disk its space back.
    pub fn empty(&self, place: &Place) -> Result<()> {
        place.state().is_full = false;
        match &place.mount {
            Some(mount) => mount.empty(),
            None => self.restart(place),
        }
    }

    fn restart(&self, place: &Place) -> Result<()> {
        let daemon = place.state().daemon.take();
        match daemon {
            Some(daemon) => {
                daemon.stop();
                self.start(place)
            }
            None => Ok(()),
        }
    }

    /// Whether a node has a disk that can be filled. Without any such disk, every node can be.
    pub fn can_fill(&self, place: &Place) -> bool {
        place.mount.is_some() || self.places.iter().all(|other| other.mount.is_none())
    }
}
