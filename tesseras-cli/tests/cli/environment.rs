//! A home of its own for each test, and nothing else of this machine.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread::JoinHandle;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;
use tesseras_core::code::Piece;
use tesseras_core::dossier::Dossier;
use tesseras_core::ids::{NodeId, TesseraHash};
use tesseras_core::ports::{BlobStore as _, HoldingRepository as _, PlacedPiece};
use tesseras_core::publication::PublicationEvent;
use tesseras_core::signature::SignaturePair;
use tesseras_core::time::Timestamp;
use tesseras_storage::{StorageConfig, Store};

/// A 1×1 PNG.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde\
    \0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\x03\x01\x01\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82";

/// A person's home with a data directory.
pub struct Environment {
    root: TempDir,
}

/// Result of a call of `tes --json`.
pub struct Answer {
    pub code: Option<i32>,
    pub json: Value,
    pub stderr: String,
}

impl Environment {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a directory") }
    }

    /// One with keys.
    pub fn with_creator() -> Self {
        let environment = Self::new();
        environment.ok(&["init", "--name", "Ana"]);
        environment
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// `tes` with a cleared environment and this data directory.
    pub fn tes(&self) -> Command {
        let mut command = Command::cargo_bin("tes").expect("it is built");
        command.env_clear().env("HOME", self.root.path()).current_dir(self.root.path());
        command.arg("--data-dir").arg(self.data_dir());
        command
    }

    /// For people.
    pub fn human(&self, args: &[&str]) -> Output {
        self.tes().args(args).output().expect("it runs")
    }

    /// For scripts: stdout is exactly one JSON object and a line feed, or empty.
    pub fn json(&self, args: &[&str]) -> Answer {
        let output = self.tes().arg("--json").args(args).output().expect("it runs");
        let stdout = String::from_utf8(output.stdout).expect("UTF-8");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let json = if stdout.is_empty() {
            Value::Null
        } else {
            assert!(stdout.ends_with('\n') && stdout.lines().count() == 1, "{stdout:?}");
            serde_json::from_str(&stdout).expect("JSON")
        };
        Answer { code: output.status.code(), json, stderr }
    }

    /// For scripts, and it is done.
    pub fn ok(&self, args: &[&str]) -> Value {
        let answer = self.json(args);
        assert_eq!(answer.code, Some(0), "{args:?}: {}", answer.stderr);
        answer.json
    }

    /// For scripts, and it fails: exit code 1, the reason on both outputs. Returns the reason.
    pub fn fails(&self, args: &[&str]) -> String {
        let answer = self.json(args);
        assert_eq!(answer.code, Some(1), "{args:?}: {}", answer.stderr);
        let error = answer.json["error"].as_str().expect("a reason").to_owned();
        assert!(answer.json.get("hint").is_some());
        assert!(answer.json["code"].as_str().is_some_and(|code| !code.is_empty()));
        assert!(answer.stderr.contains(error.lines().next().expect("a line")), "{}", answer.stderr);
        error
    }

    /// A folder with three memories and two things that are left out.
    pub fn album(&self) -> PathBuf {
        let folder = self.path("album");
        fs::create_dir_all(folder.join("summer")).expect("made");
        let put = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("written");
        put("summer/beach.png", PNG);
        put("summer/beach.txt", "A warm Sunday.\n".as_bytes());
        put("carta da avó.txt", "Um domingo de sol.\n".as_bytes());
        put("copy.png", PNG);
        put("program.bin", b"\x7fELF\x02\x01\x01\0\0\0\0\0");
        put("empty.txt", b"");
        folder
    }

    /// Makes a tessera of [`Environment::album`]; its hash.
    pub fn tessera(&self) -> String {
        let album = self.album();
        let made = self.ok(&["create", text(&album), "--title", "Summer", "--tags", "family,sun"]);
        made["hash"].as_str().expect("a hash").to_owned()
    }

    /// As if this node had published a tessera, and another one had acknowledged a copy.
    pub fn publish_in_store(&self, hash: &str) {
        let tessera: TesseraHash = hash.parse().expect("a hash");
        let store = Store::open(&self.data_dir(), &StorageConfig::default()).expect("opened");
        let manifest = store.blobs().open(&tessera.into()).expect("stored");
        let mut bytes = vec![0; usize::try_from(manifest.bytes()).expect("short")];
        manifest.read_at(0, &mut bytes).expect("read");
        let nothing = || SignaturePair { ed25519: Vec::new(), ml_dsa_65: Vec::new() };
        let dossier = Dossier {
            manifest: bytes,
            manifest_signatures: nothing(),
            ed25519_pem: Vec::new(),
            ml_dsa_65_pem: Vec::new(),
            plan: Vec::new(),
            plan_signatures: nothing(),
        };
        let holdings = store.holdings();
        let placed = PlacedPiece { piece: Piece::Whole, holder: NodeId::new([7; 20]), bytes: 9 };
        holdings.put_dossier(&tessera, &dossier).expect("kept");
        holdings.record_placement(&tessera, &placed, Timestamp(1)).expect("recorded");
        for event in [PublicationEvent::Published, PublicationEvent::Told] {
            holdings.note_publication(&tessera, event).expect("noted");
        }
    }

    /// Takes the place of a `tesd` and gives each client one answer, as bytes of frames.
    pub fn fake_node(&self, answers: Vec<Vec<u8>>) -> JoinHandle<Vec<Vec<u8>>> {
        fs::create_dir_all(self.data_dir()).expect("made");
        let listener = UnixListener::bind(self.data_dir().join("daemon.sock")).expect("it binds");
        std::thread::spawn(move || answers.into_iter().map(|a| serve(&listener, &a)).collect())
    }
}

fn serve(listener: &UnixListener, answer: &[u8]) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let (mut stream, _) = listener.accept().expect("a client");
    let mut length = [0; 4];
    // A client that only looks whether a node is there sends nothing.
    while stream.read_exact(&mut length).is_err() {
        stream = listener.accept().expect("a client").0;
    }
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut request).expect("a request");
    stream.write_all(answer).expect("answered");
    request
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
