//! The commands, one file each: its arguments, what it does, what it shows.

pub mod card;
pub mod check;
pub mod completions;
pub mod create;
pub mod demo;
pub mod drop;
pub mod export;
pub mod fetch;
pub mod gc;
pub mod identity;
pub mod import;
pub mod init;
pub mod list;
pub mod man;
pub mod peers;
pub mod publish;
pub mod repair;
pub mod restore;
pub mod scrub;
pub mod show;
pub mod status;
pub mod verify;
