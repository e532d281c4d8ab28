//! The settings of replication, with their defaults and the constraints between them.

use std::time::Duration;

use crate::bulk::{CHUNK, CHUNKS_IN_FLIGHT};
use crate::peers::LATE;
use crate::policy::admission::{INDEBTED_SUBNET_SHARE, Limits};
use crate::policy::routine::RepairConfig;

const GIB: u64 = 1 << 30;

/// Default of [`Limits::storage`].
pub const DEFAULT_STORAGE_LIMIT: u64 = 10 * GIB;
/// Default of [`Limits::min_free_space`].
pub const DEFAULT_MIN_FREE_SPACE: u64 = GIB;
/// Default of [`Limits::per_peer`].
pub const DEFAULT_PER_PEER_LIMIT: u64 = GIB;
/// Default of [`Limits::deficit_allowance`]: as much as all newcomers of one /24 or /48 may store
/// together.
pub const DEFAULT_DEFICIT_ALLOWANCE: u64 = GIB;
/// Default of [`Limits::repair_share`], in percent of [`Limits::storage`].
pub const DEFAULT_REPAIR_SHARE_PERCENT: u8 = 50;

/// Default of [`ReplicationConfig::max_transfers`].
pub const DEFAULT_MAX_TRANSFERS: usize = 4;
/// The most transfers in each direction that can be configured.
pub const MAX_TRANSFERS: usize = 4;
/// Default of [`RepairConfig::interval`].
pub const DEFAULT_REPAIR_INTERVAL: Duration = Duration::from_secs(86_400);
/// Default of [`RepairConfig::jitter`].
pub const DEFAULT_REPAIR_JITTER: Duration = Duration::from_secs(7_200);
/// Default of [`RepairConfig::steward_step`].
pub const DEFAULT_STEWARD_STEP: Duration = Duration::from_secs(900);
/// Default of [`RepairConfig::bandwidth`]: an eighth of a line of 128 Mbit/s. In one day
/// it is enough to read sixteen times the default [`Limits::storage`]: all the tesserae of which
/// that is one fragment of sixteen.
pub const DEFAULT_REPAIR_BANDWIDTH: u64 = 2 << 20;
/// Default of [`ReplicationConfig::hedge_percent`].
pub const DEFAULT_HEDGE_PERCENT: u8 = 10;
/// Default of [`ReplicationConfig::answer_deadline`].
pub const DEFAULT_ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Default of [`ReplicationConfig::transfer_deadline`].
pub const DEFAULT_TRANSFER_DEADLINE: Duration = Duration::from_secs(30);

/// In each direction: transfers of this node, as many hedges, late ones that go on without a permit, and
/// transfers requested by others.
const _: () = assert!(
    2 * (3 + LATE) * MAX_TRANSFERS * CHUNK * CHUNKS_IN_FLIGHT <= 32 << 20,
    "promise: bounded memory"
);

// A lower allowance would not stop an attacker with many identities, who is stopped by the share of
// one neighbourhood; a higher one could not be used.
const _: () = assert!(
    DEFAULT_DEFICIT_ALLOWANCE == DEFAULT_STORAGE_LIMIT / INDEBTED_SUBNET_SHARE
        && DEFAULT_DEFICIT_ALLOWANCE <= DEFAULT_PER_PEER_LIMIT
);

/// The settings of replication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// The storage offered to others.
    pub limits: Limits,
    /// The number of transfers that a task starts at once in each direction, 1 to
    /// [`MAX_TRANSFERS`]. All tasks together have twice as many, of which repair takes at most
    /// half; other nodes may request as many as one task.
    pub max_transfers: usize,
    /// The repairs that nobody asks for.
    pub repair: RepairConfig,
    /// The most hedged requests whose original still succeeded, in percent of all requests; 0 waits
    /// for a late request until it fails.
    pub hedge_percent: u8,
    /// The timeout for a short answer, including the time to connect.
    pub answer_deadline: Duration,
    /// How long a transfer may stall.
    pub transfer_deadline: Duration,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            limits: Limits {
                storage: DEFAULT_STORAGE_LIMIT,
                min_free_space: DEFAULT_MIN_FREE_SPACE,
                per_peer: DEFAULT_PER_PEER_LIMIT,
                deficit_allowance: DEFAULT_DEFICIT_ALLOWANCE,
                repair_share: percent(DEFAULT_STORAGE_LIMIT, DEFAULT_REPAIR_SHARE_PERCENT),
            },
            max_transfers: DEFAULT_MAX_TRANSFERS,
            repair: RepairConfig {
                interval: DEFAULT_REPAIR_INTERVAL,
                jitter: DEFAULT_REPAIR_JITTER,
                grace: None,
                steward_step: DEFAULT_STEWARD_STEP,
                bandwidth: DEFAULT_REPAIR_BANDWIDTH,
            },
            hedge_percent: DEFAULT_HEDGE_PERCENT,
            answer_deadline: DEFAULT_ANSWER_DEADLINE,
            transfer_deadline: DEFAULT_TRANSFER_DEADLINE,
        }
    }
}

/// A percentage of a number of bytes, rounded down; more than 100 percent counts as 100.
pub fn percent(of: u64, percent: u8) -> u64 {
    let share = u128::from(of) * u128::from(percent.min(100)) / 100;
    u64::try_from(share).unwrap_or(of)
}

/// In one day, the tesserae of which the default offer holds one fragment of sixteen can be read.
const _: () = assert!(DEFAULT_REPAIR_BANDWIDTH * 86_400 >= 16 * DEFAULT_STORAGE_LIMIT);

#[cfg(test)]
mod tests {
    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::NodeId;
    use tesseras_core::ports::{Charge, FreeSpace, PeerAt};
    use tesseras_core::units::MIB;

    use super::*;
    use crate::policy::admission::{Standing, room};

    #[test]
    fn a_default_node_has_room_for_an_album_and_a_film_of_a_newcomer() {
        let limits = ReplicationConfig::default().limits;
        let subnet = Subnet::of("8.8.8.8".parse().expect("an address"));
        let charge = Charge::Peer(PeerAt { id: NodeId::new([1; 20]), subnet });
        let standing = Standing { free: FreeSpace::UNLIMITED, ..Standing::default() };
        // On few nodes each takes a whole copy: a film of 300 MiB, and two albums as large.
        assert!(room(&charge, &standing, &limits) >= 3 * 300 * MIB);
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(percent(u64::MAX, 100), u64::MAX);
        assert_eq!(percent(10, 50), 5);
        assert_eq!(percent(10, 200), 10);
    }
}
