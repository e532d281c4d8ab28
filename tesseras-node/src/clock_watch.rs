//! Tells the log when this node's clock begins to differ from its peers', and when it is right
//! again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tesseras_core::time::{CLOCK_TOLERANCE, ClockOffset};
use tesseras_dht::Dht;
use tesseras_wire::BoxFuture;

use crate::jobs::Job;

/// How often the clock is compared with what peers said.
const COMPARE_EVERY: Duration = Duration::from_secs(15);
/// A clock is right again when it is this much inside the tolerance, so that one at its edge is
/// not told of again and again.
const SLACK: Duration = Duration::from_secs(60);

/// Compares this node's clock with its peers'.
pub struct ClockWatch {
    dht: Dht,
    off: Mutex<bool>,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Off(ClockOffset),
    Right,
}

impl ClockWatch {
    /// A watch over the clock of this node of the DHT.
    pub fn new(dht: Dht) -> Self {
        Self { dht, off: Mutex::new(false) }
    }
}

impl Job for ClockWatch {
    fn name(&self) -> &'static str {
        "compare clocks"
    }

    fn pause(&self, _first: bool) -> Duration {
        COMPARE_EVERY
    }

    fn run(&self) -> BoxFuture<'_, String> {
        Box::pin(async move {
            let offset = self.dht.status().await.and_then(|status| status.clock);
            let mut off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
            match news(&mut off, offset) {
                Some(News::Off(offset)) => tracing::warn!(
                    seconds = offset.seconds,
                    "this computer's clock is {offset}; others refuse what it dates: set it right \
                     (NTP)"
                ),
                Some(News::Right) => tracing::info!("this computer's clock is right again"),
                None => {}
            }
            match offset {
                None => "no peer has said its date yet".to_owned(),
                Some(offset) if offset.is_off() => format!("the clock is {offset}"),
                Some(_) => "the clock is right".to_owned(),
            }
        })
    }
}

/// What has changed. What is not known changes nothing.
fn news(off: &mut bool, offset: Option<ClockOffset>) -> Option<News> {
    let offset = offset?;
    let right = offset.seconds.unsigned_abs() <= (CLOCK_TOLERANCE - SLACK).as_secs();
    if !*off && offset.is_off() {
        *off = true;
        Some(News::Off(offset))
    } else if *off && right {
        *off = false;
        Some(News::Right)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_when_it_begins_and_once_when_it_ends() {
        let offset = |seconds| Some(ClockOffset { seconds, witnesses: 3 });
        let heard = [
            offset(3),
            offset(-7200),
            offset(-7201),
            None,
            offset(-899),
            offset(-901),
            offset(-7200),
            offset(1),
            offset(0),
            None,
            offset(901),
        ];
        let mut off = false;
        let told: Vec<_> =
            heard.map(|offset| news(&mut off, offset)).into_iter().flatten().collect();
        let begun = |seconds| News::Off(ClockOffset { seconds, witnesses: 3 });
        assert_eq!(told, [begun(-7200), News::Right, begun(901)]);
    }
}
