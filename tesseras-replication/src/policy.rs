//! Decisions: pure functions and small state machines that are given the time and the results of
//! requests. No async, no I/O, no clock, no randomness, so that all of it can be tested without
//! sending a message.

pub mod admission;
pub mod agenda;
pub mod causes;
pub(crate) mod checks;
pub(crate) mod fair_share;
pub mod health;
pub mod hedging;
pub(crate) mod hunt;
pub(crate) mod in_flight;
pub(crate) mod offers;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod rebuild;
pub(crate) mod rounds;
pub mod routine;
pub(crate) mod shown;
pub(crate) mod slots;
pub mod steward;
pub mod survey;
pub(crate) mod token_bucket;
pub mod urgency;
