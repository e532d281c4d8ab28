//! Runs the built `tes`, and knows where `tesd` is.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::clock::wait_for;
use crate::failure::Result;

/// A command that takes longer has hung.
const LONGEST: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);

/// The built programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Where `tes` is.
    tes: PathBuf,
    /// Where `tesd` is.
    pub tesd: PathBuf,
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit code; nothing if it was killed.
    pub code: Option<i32>,
    /// What it printed; null if that is not JSON.
    pub json: Value,
}

impl Answer {
    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.code == Some(0)
    }

    /// A text of the answer; empty if it has none of this name.
    pub fn text(&self, name: &str) -> &str {
        self.json[name].as_str().unwrap_or_default()
    }

    /// A number of the answer; 0 if it has none of this name.
    pub fn number(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or(0)
    }

    /// Why it failed, in short.
    pub fn why(&self) -> String {
        match self.code {
            Some(0) => "done".to_owned(),
            None => "killed".to_owned(),
            Some(_) => format!("{}: {}", self.text("code"), self.text("error")),
        }
    }
}

/// A command that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    out: File,
}

impl Programs {
    /// The programs in this directory.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        let programs = Self { tes: directory.join("tes"), tesd: directory.join("tesd") };
        for program in [&programs.tes, &programs.tesd] {
            if !program.is_file() {
                let path = program.display();
                return Err(format!("{path} is not there: build it, or say --programs DIR").into());
            }
        }
        Ok(programs)
    }

    /// Starts `tes --json` on a data directory.
    pub fn start(&self, data: &Path, args: &[&str]) -> Result<Running> {
        let out = tempfile::tempfile()?;
        let mut command = Command::new(&self.tes);
        command.env_clear().env("HOME", data).arg("--json").arg("--data-dir").arg(data).args(args);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(Stdio::null());
        Ok(Running { child: command.spawn()?, out })
    }

    /// Runs `tes --json` to its end.
    pub fn run(&self, data: &Path, args: &[&str]) -> Result<Answer> {
        let mut running = self.start(data, args)?;
        if !wait_for(LONGEST, POLL, || running.has_ended()) {
            running.kill();
            return Err(format!("tes {args:?} on {} hung", data.display()).into());
        }
        running.end()
    }
}

impl Running {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Sends SIGKILL. Whether it was still running.
    pub fn kill(&mut self) -> bool {
        let was_running = !self.has_ended();
        // It may end by itself in between; then the signal goes nowhere.
        let _ = self.child.kill();
        was_running
    }

    /// Waits for its end; what it printed.
    pub fn end(mut self) -> Result<Answer> {
        let status = self.child.wait()?;
        let mut text = String::new();
        self.out.rewind()?;
        self.out.read_to_string(&mut text)?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { code: status.code(), json })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has mostly ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
