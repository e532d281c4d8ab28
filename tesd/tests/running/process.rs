//! One `tesd` in a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `tesd` with a cleared environment and this home directory.
pub fn tesd(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tesd"));
    command.env_clear().env("HOME", home).env("RUST_LOG", "info").current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A `tesd` that was started. Killed when dropped.
pub struct Process {
    child: Child,
    /// Its first line; empty if it ended without one.
    pub ready: String,
}

impl Process {
    /// Starts it and waits for its first line.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it runs");
        let mut ready = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        BufReader::new(stdout).read_line(&mut ready).expect("UTF-8");
        Self { child, ready }
    }

    /// A field of the ready line.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.ready.split_whitespace();
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal of this name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end; returns its exit code and how long that took.
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    pub fn wait(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        let status = self.child.wait().expect("it ends");
        (status.code(), begin.elapsed())
    }

    /// The rest of its output, once it has ended.
    pub fn stdout(&mut self) -> String {
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// Its log output, once it has ended.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
