//! Runs the readers in Python that lie beside this file.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Where the readers are.
const READERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decode");

/// Runs a reader in a directory. `None`, with a note, if there is no Python.
pub fn run(reader: &str, arguments: &[&str], directory: &Path) -> Option<Output> {
    python(&[&[&*format!("{READERS}/{reader}")], arguments].concat(), directory)
}

/// What a reader's own expressions are worth, each in a line.
pub fn values(reader: &str, expressions: &[&str]) -> Option<String> {
    let module = reader.strip_suffix(".py").unwrap();
    let lines: String = expressions.iter().map(|e| format!("\nprint({e})")).collect();
    let output = python(&["-c", &format!("from {module} import *{lines}")], READERS.as_ref())?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Runs Python. Without `-B`, it would leave compiled files among the sources.
pub fn python(arguments: &[&str], directory: &Path) -> Option<Output> {
    let output = Command::new("python3")
        .arg("-B")
        .args(arguments)
        .current_dir(directory)
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no python3 here");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("Traceback"), "{arguments:?}: {said}");
    Some(output)
}
