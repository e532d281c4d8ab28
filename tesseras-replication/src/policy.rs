//! What decides: pure functions and small state machines, driven by what the flows hear and told
//! the time. No async, no I/O, no clock, no randomness in here, so that any of it runs without a
//! message being sent.

pub mod admission;
pub mod causes;
pub mod health;
pub mod hedging;
pub(crate) mod hunt;
pub(crate) mod in_flight;
pub(crate) mod offers;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod rebuild;
pub(crate) mod rounds;
pub mod survey;
pub(crate) mod turns;
