//! Whose turn it is to repair a tessera: that of the live holder nearest to its key, its steward. If it
//! does nothing, the next nearest acts after a step of time, and so on.
//!
//! Every holder decides for itself, by its own survey. Two may act at once; that costs space.

use std::collections::BTreeMap;

use tesseras_core::contact::Subnet;
use tesseras_core::ids::{DhtKey, NodeId};
use tesseras_core::time::Timestamp;

use super::routine::RepairConfig;

/// How many holders of one neighbourhood (/24 or /48, local networks excepted) count as nearer: names
/// cost nothing, so a wall of them must not put off everybody else's turn.
const NEAR: usize = 2;

/// The turn of one node to repair a tessera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// How many holders have their turn before it.
    pub rank: usize,
    /// The nearest of them, whose turn is the first; `None` if it is this node.
    pub steward: Option<NodeId>,
    /// Since when this node knows that the repair is due.
    pub since: Timestamp,
    /// When its turn begins, or began.
    pub at: Timestamp,
}

impl Turn {
    /// The turn of a node that waits for no other.
    pub(crate) fn first(since: Timestamp, at: Timestamp) -> Self {
        Self { rank: 0, steward: None, since, at }
    }
}

/// The turn of a holder that knows since `since` that a repair is due. `others` are the other live
/// holders and where they were reached; `most` is how many of them the form needs at the most.
pub(crate) fn turn_of(
    me: NodeId,
    key: DhtKey,
    others: impl Iterator<Item = (NodeId, Option<Subnet>)>,
    most: usize,
    since: Timestamp,
    config: &RepairConfig,
) -> Turn {
    let own = me.distance(&key);
    let mut nearer: Vec<_> = others.filter(|(id, _)| id.distance(&key) < own).collect();
    nearer.sort_by_key(|(id, _)| id.distance(&key));
    let mut near: BTreeMap<Subnet, usize> = BTreeMap::new();
    nearer.retain(|(_, subnet)| {
        let Some(subnet) = subnet.and_then(Subnet::limited) else { return true };
        let of_it = near.entry(subnet).or_default();
        *of_it += 1;
        *of_it <= NEAR
    });
    let rank = nearer.len().min(most);
    let steps = config.steward_step.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX));
    let at = Timestamp(since.0.saturating_add(steps.min(config.interval).as_secs()));
    Turn { rank, steward: nearer.first().map(|(id, _)| *id), since, at }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const KEY: DhtKey = DhtKey::new([0; 20]);
    const CONFIG: RepairConfig = RepairConfig {
        interval: Duration::from_secs(86_400),
        jitter: Duration::ZERO,
        grace: None,
        steward_step: Duration::from_secs(900),
        bandwidth: 0,
    };

    /// The nearer to the key, the smaller the number.
    fn node(distance: u16) -> NodeId {
        let mut id = [0; 20];
        id[..2].copy_from_slice(&distance.to_be_bytes());
        NodeId::new(id)
    }

    fn subnet(number: u16) -> Subnet {
        let [high, low] = number.to_be_bytes();
        Subnet::of([8, high, low, 1].into())
    }

    fn turn(me: u16, others: &[(u16, u16)], most: usize) -> Turn {
        let others = others.iter().map(|(id, near)| (node(*id), Some(subnet(*near))));
        turn_of(node(me), KEY, others, most, Timestamp(1000), &CONFIG)
    }

    #[test]
    fn the_nearest_acts_at_once_and_each_next_one_a_step_later() {
        let others = [(10, 1), (30, 3), (20, 2)];
        let since = Timestamp(1000);
        assert_eq!(turn(5, &others, 24), Turn::first(since, since));
        let steward = Some(node(10));
        assert_eq!(turn(25, &others, 24), Turn { rank: 2, steward, since, at: Timestamp(2800) });
        assert_eq!(turn(40, &others, 24), Turn { rank: 3, steward, since, at: Timestamp(3700) });
    }

    proptest! {
        #[test]
        fn no_wall_of_names_puts_a_turn_off_for_longer_than_the_limits(
            others in prop::collection::vec((0_u16..1000, 0_u16..20), 0..400),
            most in 1_usize..200,
        ) {
            let Turn { rank, steward, at, .. } = turn(500, &others, most);
            let places: BTreeSet<_> = others.iter().map(|(_, near)| near).collect();
            prop_assert!(rank <= most && rank <= NEAR * places.len());
            prop_assert!(at.0 - 1000 <= (900 * rank as u64).min(86_400));
            prop_assert_eq!(steward.is_some(), others.iter().any(|(id, _)| *id < 500));
        }

        #[test]
        fn of_holders_in_places_of_their_own_each_has_another_turn(count in 1_u16..24) {
            let all: Vec<_> = (0..count).map(|id| (id, id)).collect();
            for me in 0..count {
                let others: Vec<_> = all.iter().copied().filter(|(id, _)| *id != me).collect();
                let Turn { rank, at, .. } = turn(me, &others, 24);
                prop_assert_eq!((rank, at.0), (me.into(), 1000 + 900 * u64::from(me)));
            }
        }
    }
}
