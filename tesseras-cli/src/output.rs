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

/// Whether the one JSON object was written. Whoever writes it keeps the lock meanwhile.
static SAID: Mutex<bool> = Mutex::new(false);

/// How to show things.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// For scripts or for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether it is for scripts.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Shows the result of a command, on stdout.
    pub fn report(self, report: &impl Report) -> Result<(), CommandError> {
        if self.json {
            let mut text = serde_json::to_string(report)
                .map_err(|error| CommandError::new(format!("cannot write JSON: {error}")))?;
            text.push('\n');
            return self.json_once(said(), &text);
        }
        self.raw(printable_lines(&report.human()).as_bytes())
    }

    /// Writes the JSON object, unless there was one.
    fn json_once(self, mut said: MutexGuard<'_, bool>, text: &str) -> Result<(), CommandError> {
        if *said {
            return Ok(());
        }
        *said = true;
        self.raw(text.as_bytes())
    }

    /// Shows an error and ends the process, unless it has shown its result already and ends by itself.
    pub fn end(self, error: &CommandError) {
        let said = said();
        if !*said {
            // The lock is kept until the process is gone, so nothing else is written.
            self.note(&format!("tes: {}", error.message()));
            if let Some(hint) = error.hint() {
                self.note(&format!("hint: {hint}"));
            }
            if self.json {
                let _ = self.raw(json(error).as_bytes());
            }
            process::exit(1);
        }
    }

    /// Writes bytes as they are, on stdout. That nobody reads them any more (`tes list | head`)
    /// is not a failure.
    pub fn raw(self, bytes: &[u8]) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(CommandError::new(format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Says something on the side, on stderr.
    pub fn note(self, text: &str) {
        note(text);
    }

    /// Shows an error, and gives its exit code.
    pub fn fail(self, error: &CommandError) -> ExitCode {
        self.note(&format!("tes: {}", error.message()));
        if let Some(hint) = error.hint() {
            self.note(&format!("hint: {hint}"));
        }
        self.fail_json(error)
    }

    /// [`Output::fail`] for an error that people have been shown already.
    pub fn fail_json(self, error: &CommandError) -> ExitCode {
        if self.json {
            let _ = self.json_once(said(), &json(error));
        }
        error.exit_code()
    }

    /// Whether there is a person to ask.
    pub fn can_ask(self) -> bool {
        !self.json && io::stdin().is_terminal()
    }

    /// Asks a person for one line; `None` if the input ends instead.
    pub fn ask(self, question: &str) -> Result<Option<String>, CommandError> {
        // The lock ends here: a signal says on stderr that it ends the process that waits.
        let _ = write!(io::stderr().lock(), "{question}").and_then(|()| io::stderr().flush());
        let mut answer = String::new();
        let read = io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| CommandError::new(format!("cannot read the answer: {error}")))?;
        Ok((read > 0).then(|| answer.trim().to_owned()))
    }

    /// Asks a person to confirm; with nobody there to ask, a usage error that names the flag.
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

/// An error as the one JSON object, with a line feed.
fn json(error: &CommandError) -> String {
    let value = serde_json::json!({
        "error": error.message(),
        "code": error.code().word(),
        "hint": error.hint(),
    });
    format!("{value}\n")
}

/// Says something on the side, on stderr.
pub fn note(text: &str) {
    // Nobody can be told that stderr is gone.
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
