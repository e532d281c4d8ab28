//! The only place that writes to stdout and stderr, and that asks questions.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::{self, ExitCode};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tesseras_core::words::printable_lines;

use crate::command_error::CommandError;

/// Result of a command: one JSON object for scripts, sentences for people.
pub trait Report: Serialize {
    /// What people read, with a line feed at the end of each line.
    fn human(&self) -> String;
}

/// Whether the JSON object was written. The lock is held while it is being written.
static SAID: Mutex<bool> = Mutex::new(false);

/// Writes results, errors and questions in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// With `json`, results and errors are one JSON object on stdout, and nothing is asked.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether results are JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Writes the result of a command to stdout.
    pub fn report(self, report: &impl Report) -> Result<(), CommandError> {
        if self.json {
            let mut text = serde_json::to_string(report)
                .map_err(|error| CommandError::new(format!("cannot write JSON: {error}")))?;
            text.push('\n');
            return self.json_once(said(), &text);
        }
        self.raw(printable_lines(&report.human()).as_bytes())
    }

    /// Writes the JSON object, unless one was written before.
    fn json_once(self, mut said: MutexGuard<'_, bool>, text: &str) -> Result<(), CommandError> {
        if *said {
            return Ok(());
        }
        *said = true;
        self.raw(text.as_bytes())
    }

    /// Cleans up, writes an error and exits with code 1. Does nothing if the result was written
    /// already: the process then ends by itself.
    pub fn end(self, clean_up: impl FnOnce() -> CommandError) {
        let said = said();
        if !*said {
            // The lock is held until the process exits, so that no other thread writes a result, nor
            // an error because its files are being removed.
            let error = clean_up();
            self.note(&format!("tes: {}", error.message()));
            if let Some(hint) = error.hint() {
                self.note(&format!("hint: {hint}"));
            }
            if self.json {
                let _ = self.raw(json(&error).as_bytes());
            }
            process::exit(1);
        }
    }

    /// Writes bytes to stdout unchanged. A closed pipe (`tes list | head`) is not an error.
    pub fn raw(self, bytes: &[u8]) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CommandError::new(format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes a message to stderr.
    pub fn note(self, text: &str) {
        note(text);
    }

    /// Writes an error, and returns its exit code.
    pub fn fail(self, error: &CommandError) -> ExitCode {
        let said = said();
        self.note(&format!("tes: {}", error.message()));
        if let Some(hint) = error.hint() {
            self.note(&format!("hint: {hint}"));
        }
        self.fail_once(said, error)
    }

    /// As [`Output::fail`], for an error whose text was already written to stderr.
    pub fn fail_json(self, error: &CommandError) -> ExitCode {
        self.fail_once(said(), error)
    }

    fn fail_once(self, said: MutexGuard<'_, bool>, error: &CommandError) -> ExitCode {
        if self.json {
            let _ = self.json_once(said, &json(error));
        }
        error.exit_code()
    }

    /// Whether questions can be asked: stdin is a terminal and the output is not JSON.
    pub fn can_ask(self) -> bool {
        !self.json && io::stdin().is_terminal()
    }

    /// Asks for one line; `None` at the end of the input.
    pub fn ask(self, question: &str) -> Result<Option<String>, CommandError> {
        // stderr is not locked while waiting: the signal thread may have to write to it.
        let _ = write!(io::stderr().lock(), "{question}").and_then(|()| io::stderr().flush());
        let mut answer = String::new();
        let read = io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| CommandError::new(format!("cannot read the answer: {error}")))?;
        Ok((read > 0).then(|| answer.trim().to_owned()))
    }

    /// Asks for confirmation; a usage error that names `--yes` if questions cannot be asked.
    pub fn confirm(self, question: &str) -> Result<bool, CommandError> {
        if !self.can_ask() {
            return Err(CommandError::usage("there is nobody to ask")
                .with_hint("repeat the command with --yes if you are sure"));
        }
        let answer = self.ask(&format!("{question} [y/N] "))?.unwrap_or_default();
        Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
    }
}

fn said() -> MutexGuard<'static, bool> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error as a JSON object, with a line feed.
fn json(error: &CommandError) -> String {
    let value = serde_json::json!({
        "error": error.message(),
        "code": error.code().word(),
        "hint": error.hint(),
    });
    format!("{value}\n")
}

/// Writes a message to stderr.
pub fn note(text: &str) {
    // If stderr is closed, there is no other place to report that.
    let _ = writeln!(io::stderr().lock(), "{}", printable_lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_but_text() {
        assert_eq!(printable_lines("avó\tok\n"), "avó\tok\n");
        assert_eq!(printable_lines("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
    }
}
