//! The offset of this node's clock from its peers' clocks, from the dates in their answers. Pure.
//!
//! Other nodes refuse what this node dates when the clocks differ by more than [`CLOCK_TOLERANCE`].
//! The error of one sample is at most the time that the answer took, which is negligible beside
//! that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tesseras_core::contact::Subnet;
use tesseras_core::ids::NodeId;
use tesseras_core::time::{CLOCK_TOLERANCE, ClockOffset, Timestamp};

/// The most witnesses that are kept; the one heard least recently is dropped.
const MAX_WITNESSES: usize = 32;
/// The most nodes of one witness whose dates are kept; the one heard least recently is dropped.
const MAX_VOICES: usize = 16;
/// With this many witnesses or more, the median counts at once, so that one liar decides nothing.
/// As many nodes must have spoken where one witness speaks for all.
const MAJORITY: usize = 3;
/// A sample stays valid for this many rounds of greetings: long enough to hear all of a small
/// network again, so that the samples never come from a single neighbourhood only.
const ROUNDS_UNTIL_STALE: u32 = 12;
/// How long to wait for more witnesses while there are peers that have not sent a date: two rounds of
/// greetings, at 0 and 2 s, with the deadline of a `hello`. Longer, and a first publication would
/// fail for another reason than the clock.
const PATIENCE: Duration = Duration::from_secs(10);
/// A difference between the two clocks' progress above this means that the wall clock was set or
/// the machine slept.
const STEP: Duration = Duration::from_secs(60);

/// The source of a date. A neighbourhood counts once, however many NodeIds it uses: the median of
/// what they say. On a private network, which may be one neighbourhood altogether, each address
/// counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Witness {
    Neighbourhood(Subnet),
    Host(IpAddr),
}

impl Witness {
    fn at(ip: IpAddr) -> Self {
        match Subnet::of(ip).limited() {
            None => Self::Host(ip.to_canonical()),
            Some(subnet) => Self::Neighbourhood(subnet),
        }
    }
}

/// The peers that a node knows, as sources of dates.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// How many there are.
    pub peers: usize,
    /// Whether a single witness speaks for all of them: there is only one, or they are all in one
    /// neighbourhood, or on a private network at one address.
    pub is_one_witness: bool,
}

impl Known {
    /// Peers at these addresses.
    pub fn at(addresses: impl Iterator<Item = IpAddr>) -> Self {
        let each: Vec<Witness> = addresses.map(Witness::at).collect();
        Self { peers: each.len(), is_one_witness: BTreeSet::from_iter(&each).len() <= 1 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Statement {
    /// How far this node's clock was ahead of the peer's, in seconds.
    ahead: i64,
    at: Duration,
}

/// The newest statement of each node of one witness.
#[derive(Debug, Default)]
struct Voices(BTreeMap<NodeId, Statement>);

impl Voices {
    fn add(&mut self, id: NodeId, statement: Statement) {
        self.0.insert(id, statement);
        if self.0.len() > MAX_VOICES {
            let oldest = self.0.iter().min_by_key(|(_, statement)| statement.at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                self.0.remove(&oldest);
            }
        }
    }

    fn newest(&self) -> Duration {
        self.0.values().map(|statement| statement.at).max().unwrap_or_default()
    }

    fn heard_since(&self, then: Duration) -> Vec<i64> {
        let fresh = self.0.values().filter(|statement| statement.at >= then);
        fresh.map(|statement| statement.ahead).collect()
    }
}

/// The median, and of two middle values the smaller one. A difference that other nodes would not
/// tolerate counts only if most values agree about it.
fn judgement(mut ahead: Vec<i64>) -> Option<i64> {
    ahead.sort_unstable();
    let last = ahead.len().checked_sub(1)?;
    let middle = [ahead[last / 2], ahead[ahead.len() / 2]];
    let seconds = middle.into_iter().min_by_key(|seconds| seconds.unsigned_abs())?;
    let tolerance = CLOCK_TOLERANCE.as_secs();
    let agree = ahead.iter().filter(|other| other.abs_diff(seconds) <= tolerance).count();
    (2 * agree > ahead.len() || seconds.unsigned_abs() <= tolerance).then_some(seconds)
}

/// Samples of peers' clocks.
#[derive(Debug)]
pub struct Clocks {
    believed_for: Duration,
    witnesses: BTreeMap<Witness, Voices>,
    /// When the collection of samples began.
    since: Duration,
    /// Both clocks of this node when it last looked.
    last: Option<(Duration, Timestamp)>,
}

impl Clocks {
    /// No peer has been asked yet.
    pub fn new(hello_every: Duration) -> Self {
        Self {
            believed_for: hello_every * ROUNDS_UNTIL_STALE,
            witnesses: BTreeMap::new(),
            since: Duration::ZERO,
            last: None,
        }
    }

    /// Records this node's own clocks. Returns whether the wall clock has jumped; the old samples
    /// are then discarded, and peers should be asked again.
    pub fn look(&mut self, now: Duration, wall: Timestamp) -> bool {
        let jumped = self.last.is_some_and(|(then, was)| {
            let expected = was.plus(now.saturating_sub(then));
            expected.0.abs_diff(wall.0) > STEP.as_secs()
        });
        self.last = Some((now, wall));
        if jumped {
            self.witnesses.clear();
            self.since = now;
        }
        jumped
    }

    /// Whether there are so few witnesses that a single one could decide the result.
    pub fn wants_more(&self, now: Duration) -> bool {
        self.voices(now).count() < MAJORITY
    }

    /// Records the date that the peer `id` at `ip` sent.
    pub fn learn(
        &mut self,
        (id, ip): (NodeId, IpAddr),
        date: Timestamp,
        now: Duration,
        wall: Timestamp,
    ) {
        let ahead = wall.ahead_of(date);
        self.witnesses.entry(Witness::at(ip)).or_default().add(id, Statement { ahead, at: now });
        if self.witnesses.len() > MAX_WITNESSES {
            let oldest = self.witnesses.iter().min_by_key(|(_, voices)| voices.newest());
            if let Some(oldest) = oldest.map(|(witness, _)| *witness) {
                self.witnesses.remove(&oldest);
            }
        }
    }

    /// How far this node's clock is from its peers': the [`judgement`] of the witnesses, each of
    /// which says the judgement of its nodes. With two witnesses, the value they agree on, once all
    /// known peers have had time to answer. With one, only if it speaks for all known peers, and
    /// then for three of its nodes or all: the first to answer may lie. `None` while it is unknown.
    pub fn offset(&self, now: Duration, known: Known) -> Option<ClockOffset> {
        let heard: usize = self.voices(now).map(|ahead| ahead.len()).sum();
        let ahead: Vec<i64> = self.voices(now).filter_map(judgement).collect();
        let (first, last) = (*ahead.iter().min()?, *ahead.iter().max()?);
        if ahead.len() < MAJORITY {
            let waits = heard < known.peers && now < self.since + PATIENCE;
            let agree = last.abs_diff(first) <= CLOCK_TOLERANCE.as_secs();
            let speaks_for_all = known.is_one_witness && heard >= known.peers.min(MAJORITY);
            if waits || !agree || ahead.len() == 1 && !speaks_for_all {
                return None;
            }
        }
        let witnesses = match ahead.len() {
            1 if known.peers > 1 => 0,
            n => n as u64,
        };
        Some(ClockOffset { seconds: judgement(ahead)?, witnesses })
    }

    /// What the nodes of each witness said, as far as it is still valid.
    fn voices(&self, now: Duration) -> impl Iterator<Item = Vec<i64>> {
        let valid_since = now.saturating_sub(self.believed_for);
        let voices = self.witnesses.values().map(move |voices| voices.heard_since(valid_since));
        voices.filter(|ahead| !ahead.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Timestamp = Timestamp(1_700_000_000);
    const HELLO_EVERY: Duration = Duration::from_secs(600);

    fn id(n: usize) -> NodeId {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        NodeId::new(bytes)
    }

    /// The state after hearing these peers at start, in this order.
    fn heard(peers: &[(&str, i64)]) -> Clocks {
        let mut clocks = Clocks::new(HELLO_EVERY);
        for (n, (ip, ahead)) in peers.iter().enumerate() {
            let date = Timestamp(WALL.0.saturating_add_signed(-ahead));
            let ip = ip.parse().expect("an IP");
            clocks.learn((id(n), ip), date, Duration::ZERO, WALL);
        }
        clocks
    }

    fn seconds(peers: &[(&str, i64)]) -> Option<i64> {
        heard(peers).offset(Duration::ZERO, known(peers)).map(|offset| offset.seconds)
    }

    fn known(peers: &[(&str, i64)]) -> Known {
        Known::at(peers.iter().map(|(ip, _)| ip.parse().expect("an IP")))
    }

    /// So many peers, each of another neighbourhood.
    fn apart(peers: usize) -> Known {
        Known { peers, is_one_witness: peers <= 1 }
    }

    #[test]
    fn one_liar_among_three_decides_nothing() {
        assert_eq!(seconds(&[("127.0.1.1", 2), ("127.0.2.1", 1), ("127.0.3.1", 7200)]), Some(2));
        assert_eq!(seconds(&[("127.0.1.1", -9000), ("127.0.1.2", 0), ("127.0.1.3", 0)]), Some(0));
        let two_of_four =
            [("10.0.0.1", 7200), ("10.0.0.2", 7201), ("10.0.0.3", 3), ("10.0.0.4", 0)];
        assert_eq!(seconds(&two_of_four), Some(3), "half is not a majority");
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
            let offset = heard(&said).offset(Duration::ZERO, known(&said)).expect("known");
            assert_eq!((offset.seconds, offset.witnesses), (0, 3), "{ip}");
        }
    }

    #[test]
    fn fewer_than_three_count_if_they_agree_and_nobody_else_can_be_asked() {
        assert_eq!(seconds(&[]), None);
        assert_eq!(seconds(&[("127.0.1.1", 7200)]), Some(7200));
        assert_eq!(seconds(&[("127.0.1.1", 7200), ("127.0.1.2", 7000)]), Some(7000));
        assert_eq!(seconds(&[("127.0.1.1", 7200), ("127.0.1.2", 0)]), None);
        let two = heard(&[("127.0.1.1", 7200), ("127.0.1.2", 7000)]);
        assert_eq!(two.offset(PATIENCE / 2, apart(5)), None, "the others will answer soon");
        assert!(two.offset(PATIENCE, apart(5)).is_some(), "they have had time to answer");
    }

    #[test]
    fn one_witness_of_several_peers_is_not_believed_however_long_the_others_are_silent() {
        let first = heard(&[("8.8.8.8", 7200)]);
        for now in [Duration::ZERO, PATIENCE, HELLO_EVERY] {
            assert_eq!(first.offset(now, apart(2)), None);
            assert_eq!(first.offset(now, apart(20)), None);
        }
        let only = first.offset(PATIENCE, apart(1)).expect("its word is all there is");
        assert_eq!(only.to_string(), "2 h 0 min ahead of its only peer's");
        let near = [("8.8.8.8", 7200), ("8.8.8.9", 7200)];
        let all = heard(&near).offset(PATIENCE, known(&near)).expect("no other network is known");
        assert_eq!((all.witnesses, all.to_string().as_str()), (0, "2 h 0 min ahead of its peers'"));
        let right = heard(&[("8.8.8.8", 7200), ("9.9.9.9", 1), ("1.1.1.1", 0)]);
        assert_eq!(right.offset(PATIENCE, apart(3)).map(|offset| offset.seconds), Some(1));
    }

    #[test]
    fn a_difference_about_which_most_witnesses_disagree_is_not_known() {
        assert_eq!(seconds(&[("10.0.0.1", -7200), ("10.0.0.2", 7200), ("10.0.0.3", 10_000)]), None);
        let half =
            [("10.0.0.1", -7200), ("10.0.0.2", -7200), ("10.0.0.3", 7200), ("10.0.0.4", 7200)];
        assert_eq!(seconds(&half), None);
        let most = [("10.0.0.1", -7200), ("10.0.0.2", 7000), ("10.0.0.3", 7200)];
        assert_eq!(seconds(&most), Some(7000));
    }

    #[test]
    fn what_was_said_is_forgotten_in_the_end_and_when_the_clock_is_set() {
        let mut clocks = heard(&[("127.0.1.1", 7200)]);
        assert!(!clocks.look(Duration::ZERO, WALL));
        assert!(clocks.offset(HELLO_EVERY * ROUNDS_UNTIL_STALE, apart(1)).is_some());
        assert_eq!(
            clocks.offset(HELLO_EVERY * ROUNDS_UNTIL_STALE + Duration::from_secs(1), apart(1)),
            None
        );
        let later = Duration::from_secs(300);
        assert!(!clocks.look(later, WALL.plus(later)), "only time has passed");
        assert!(clocks.look(later, Timestamp(WALL.0 - 6900)), "set right");
        assert_eq!(clocks.offset(later, apart(1)), None);
        assert!(!clocks.look(later, Timestamp(WALL.0 - 6900)));
    }

    #[test]
    fn witnesses_are_bounded_and_no_date_is_too_wild() {
        let mut clocks = Clocks::new(HELLO_EVERY);
        for n in 0..1000_u16 {
            let [high, low] = n.to_be_bytes();
            let date = Timestamp(u64::MAX - u64::from(n));
            let now = Duration::from_secs(n.into());
            clocks.learn((id(0), IpAddr::from([127, 0, high, low])), date, now, WALL);
        }
        assert_eq!(clocks.witnesses.len(), MAX_WITNESSES);
        let offset = clocks.offset(Duration::from_secs(1000), apart(1000)).expect("known");
        assert_eq!(offset.seconds, WALL.0 as i64 - i64::MAX);
    }

    #[test]
    fn one_wrong_clock_among_many_at_one_address_convinces_nobody_but_itself() {
        for ip in ["127.0.0.1", "8.8.8.8"] {
            for wrong in 0..8 {
                let mut said = [(ip, 0); 8];
                said[wrong].1 = -7200;
                let offset = heard(&said).offset(PATIENCE, known(&said)).expect("known");
                assert_eq!((offset.seconds, offset.witnesses), (0, 0), "{ip} {wrong}");
            }
            let own = [7200, 7201, 7199, 0].map(|ahead| (ip, ahead));
            assert_eq!(seconds(&own), Some(7199), "its own clock is wrong");
            let few = heard(&[(ip, -7200)]);
            let known = Known { peers: 7, is_one_witness: true };
            assert_eq!(few.offset(PATIENCE, known), None, "the other six are to be heard first");
        }
    }

    #[test]
    fn a_node_has_one_voice_at_its_witness_however_often_it_speaks() {
        let mut clocks = heard(&[("10.0.0.1", 0), ("10.0.0.1", 1), ("10.0.0.1", 7200)]);
        let ip = "10.0.0.1".parse().expect("an IP");
        for n in 1..100 {
            clocks.learn((id(2), ip), Timestamp(WALL.0 - 7200), Duration::from_secs(n), WALL);
        }
        let known = Known { peers: 3, is_one_witness: true };
        let offset = clocks.offset(Duration::from_secs(100), known).expect("known");
        assert_eq!(offset.seconds, 1);
    }

    #[test]
    fn the_nodes_of_a_witness_are_bounded() {
        let mut clocks = Clocks::new(HELLO_EVERY);
        let ip = "10.0.0.1".parse().expect("an IP");
        for n in 0..1000 {
            clocks.learn((id(n), ip), WALL, Duration::from_secs(n as u64), WALL);
        }
        let kept = clocks.witnesses.values().map(|voices| voices.0.len()).sum::<usize>();
        assert_eq!(kept, MAX_VOICES);
    }
}
