//! The built `tes`, driven as a script would: one binary, a hermetic environment for each test.

mod environment;
mod identity;
mod library;
mod node;
mod terminal;
mod words;
