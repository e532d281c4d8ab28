//! How far this node's clock is from its peers', by the dates in their answers. Pure.
//!
//! What a node dates is refused by others when the clocks differ by more than
//! [`CLOCK_TOLERANCE`]. The error of a date is the time that the answer took, which is nothing
//! beside that.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tesseras_core::contact::Subnet;
use tesseras_core::time::{CLOCK_TOLERANCE, ClockOffset, Timestamp};

/// The most witnesses that are kept; the one heard least recently goes.
const MAX_WITNESSES: usize = 32;
/// From so many witnesses on, the median counts, so that one liar decides nothing.
const MAJORITY: usize = 3;
/// What a witness said counts for this many rounds of greetings: long enough to hear all of a
/// small network again, so that no one neighbourhood is ever the only one that is remembered.
const ROUNDS_UNTIL_STALE: u32 = 12;
/// How long more witnesses are waited for, while there are peers that have not said their date.
const PATIENCE: Duration = Duration::from_secs(60);
/// This node's clock was set, or the machine slept, if it differs by more from the time that has
/// passed.
const STEP: Duration = Duration::from_secs(60);

/// Who said a date: a neighbourhood has one voice, however many names are used in it. So has each
/// address of a private network, which may be one neighbourhood altogether.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    Neighbourhood(Subnet),
    Host(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Statement {
    /// How far this node's clock was ahead of the peer's, in seconds.
    ahead: i64,
    at: Duration,
}

/// What peers say about the date.
#[derive(Debug)]
pub struct Clocks {
    believed_for: Duration,
    statements: BTreeMap<Witness, Statement>,
    /// Since when statements are gathered.
    since: Duration,
    /// Both clocks of this node when it last looked.
    last: Option<(Duration, Timestamp)>,
}

impl Clocks {
    /// Nobody was asked yet.
    pub fn new(hello_every: Duration) -> Self {
        Self {
            believed_for: hello_every * ROUNDS_UNTIL_STALE,
            statements: BTreeMap::new(),
            since: Duration::ZERO,
            last: None,
        }
    }

    /// Takes note of this node's own clocks. Returns whether the date has jumped: then what was
    /// heard before says nothing any more, and peers should be asked anew.
    pub fn look(&mut self, now: Duration, wall: Timestamp) -> bool {
        let jumped = self.last.is_some_and(|(then, was)| {
            let expected = was.plus(now.saturating_sub(then));
            expected.0.abs_diff(wall.0) > STEP.as_secs()
        });
        self.last = Some((now, wall));
        if jumped {
            self.statements.clear();
            self.since = now;
        }
        jumped
    }

    /// Whether too few have said their date for one of them not to matter.
    pub fn wants_more(&self, now: Duration) -> bool {
        self.fresh(now).count() < MAJORITY
    }

    /// A peer that answers from `ip` says which date it has.
    pub fn learn(&mut self, ip: IpAddr, date: Timestamp, now: Duration, wall: Timestamp) {
        let seconds = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
        let ahead = seconds(wall).saturating_sub(seconds(date));
        let subnet = Subnet::of(ip);
        let witness = if subnet.is_local() {
            Witness::Host(ip.to_canonical())
        } else {
            Witness::Neighbourhood(subnet)
        };
        self.statements.insert(witness, Statement { ahead, at: now });
        if self.statements.len() > MAX_WITNESSES {
            let oldest = self.statements.iter().min_by_key(|(_, statement)| statement.at);
            if let Some(oldest) = oldest.map(|(witness, _)| *witness) {
                self.statements.remove(&oldest);
            }
        }
    }

    /// How far this node's clock is from its peers': the median, of two middle ones the smaller.
    /// With fewer than three witnesses, what they agree on, once all `peers` that are known have
    /// had the time to say it. `None` while it is not known.
    pub fn offset(&self, now: Duration, peers: usize) -> Option<ClockOffset> {
        let mut ahead: Vec<i64> = self.fresh(now).collect();
        ahead.sort_unstable();
        let (first, last) = (*ahead.first()?, *ahead.last()?);
        if ahead.len() < MAJORITY {
            let waits = ahead.len() < peers && now < self.since + PATIENCE;
            let agree = last.abs_diff(first) <= CLOCK_TOLERANCE.as_secs();
            if waits || !agree {
                return None;
            }
        }
        let middle = [ahead[(ahead.len() - 1) / 2], ahead[ahead.len() / 2]];
        let seconds = middle.into_iter().min_by_key(|seconds| seconds.unsigned_abs())?;
        Some(ClockOffset { seconds, witnesses: ahead.len() as u64 })
    }

    fn fresh(&self, now: Duration) -> impl Iterator<Item = i64> {
        let fresh = self.statements.values().filter(move |s| s.at + self.believed_for >= now);
        fresh.map(|statement| statement.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp(1_700_000_000);
    const HELLO_EVERY: Duration = Duration::from_secs(600);

    /// What a node knows that heard these peers, each from its own address, at its start.
    fn heard(peers: &[(&str, i64)]) -> Clocks {
        let mut clocks = Clocks::new(HELLO_EVERY);
        for (ip, ahead) in peers {
            let date = Timestamp(WALL.0.saturating_add_signed(-ahead));
            let ip = ip.parse().expect("an IP");
            clocks.learn(ip, date, Duration::ZERO, WALL);
        }
        clocks
    }

    fn seconds(peers: &[(&str, i64)]) -> Option<i64> {
        heard(peers).offset(Duration::ZERO, peers.len()).map(|offset| offset.seconds)
    }

    #[test]
    fn one_liar_among_three_decides_nothing() {
        assert_eq!(seconds(&[("127.0.1.1", 2), ("127.0.2.1", 1), ("127.0.3.1", 7200)]), Some(2));
        assert_eq!(seconds(&[("127.0.1.1", -9000), ("127.0.1.2", 0), ("127.0.1.3", 0)]), Some(0));
        let two_of_four =
            [("10.0.0.1", 7200), ("10.0.0.2", 7201), ("10.0.0.3", 3), ("10.0.0.4", 0)];
        assert_eq!(seconds(&two_of_four), Some(3), "half is no majority");
        assert_eq!(seconds(&[("10.0.0.1", 7200), ("10.0.0.2", 7201), ("10.0.0.3", 1)]), Some(7200));
    }

    #[test]
    fn names_in_one_neighbourhood_have_one_voice() {
        let names = [
            ("8.8.8.1", 7200),
            ("8.8.8.2", 7200),
            ("8.8.8.3", 7200),
            ("9.9.9.9", 0),
            ("1.1.1.1", 0),
        ];
        assert_eq!(seconds(&names), Some(0));
    }

    #[test]
    fn names_at_one_address_of_a_private_network_have_one_voice() {
        for ip in ["127.0.9.1", "10.0.0.9", "fd00::9", "::ffff:10.0.0.9"] {
            let mut said = vec![("10.0.0.1", 0), ("10.0.0.2", 0)];
            said.extend([(ip, 7200); 7]);
            let offset = heard(&said).offset(Duration::ZERO, said.len()).expect("known");
            assert_eq!((offset.seconds, offset.witnesses), (0, 3), "{ip}");
        }
    }

    #[test]
    fn fewer_than_three_count_if_they_agree_and_nobody_else_can_be_asked() {
        assert_eq!(seconds(&[]), None);
        assert_eq!(seconds(&[("127.0.1.1", 7200)]), Some(7200));
        assert_eq!(seconds(&[("127.0.1.1", 7200), ("127.0.1.2", 7000)]), Some(7000));
        assert_eq!(seconds(&[("127.0.1.1", 7200), ("127.0.1.2", 0)]), None);
        let one = heard(&[("127.0.1.1", 7200)]);
        assert_eq!(one.offset(PATIENCE / 2, 5), None, "the others will say it soon");
        assert!(one.offset(PATIENCE, 5).is_some(), "they had the time");
    }

    #[test]
    fn what_was_said_is_forgotten_in_the_end_and_when_the_clock_is_set() {
        let mut clocks = heard(&[("127.0.1.1", 7200)]);
        assert!(!clocks.look(Duration::ZERO, WALL));
        assert!(clocks.offset(HELLO_EVERY * ROUNDS_UNTIL_STALE, 1).is_some());
        assert_eq!(
            clocks.offset(HELLO_EVERY * ROUNDS_UNTIL_STALE + Duration::from_secs(1), 1),
            None
        );
        let later = Duration::from_secs(300);
        assert!(!clocks.look(later, WALL.plus(later)), "time has passed, that is all");
        assert!(clocks.look(later, Timestamp(WALL.0 - 6900)), "set right");
        assert_eq!(clocks.offset(later, 1), None);
        assert!(!clocks.look(later, Timestamp(WALL.0 - 6900)));
    }

    #[test]
    fn witnesses_are_bounded_and_no_date_is_too_wild() {
        let mut clocks = Clocks::new(HELLO_EVERY);
        for n in 0..1000_u16 {
            let [high, low] = n.to_be_bytes();
            let date = Timestamp(u64::MAX - u64::from(n));
            let now = Duration::from_secs(n.into());
            clocks.learn(IpAddr::from([127, 0, high, low]), date, now, WALL);
        }
        assert_eq!(clocks.statements.len(), MAX_WITNESSES);
        let offset = clocks.offset(Duration::from_secs(1000), 1000).expect("known");
        assert_eq!(offset.seconds, WALL.0 as i64 - i64::MAX);
    }
}
