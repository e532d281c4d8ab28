//! The `tes` command.
//!
//! Follow one call: [`cli`] reads the command line and picks a file of [`commands`]; it works on
//! the [`context`]'s store or asks a running `tesd` ([`ask`]); its result is shown by
//! [`output`], and an error by [`command_error`], each in one place.

mod ask;
mod cli;
mod code;
mod command_error;
mod commands;
mod consent;
mod context;
mod demo;
mod exit;
mod failures;
mod hashes;
mod hidden_line;
mod human;
mod identity;
mod interrupt;
mod output;
mod passphrase;
mod problems;
mod progress;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
