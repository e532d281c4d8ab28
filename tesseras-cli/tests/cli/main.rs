//! The built `tes`, driven as a script would: one binary, a hermetic environment for each test.

mod demo;
mod environment;
mod folder;
mod full_disk;
mod garbage;
mod identity;
mod interrupted;
mod library;
mod node;
mod owner;
mod problems;
mod publish;
mod scrub;
mod survives;
mod terminal;
mod words;
