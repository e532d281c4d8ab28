//! Admission of pieces: the limits of one node, as one pure decision.

use tesseras_core::contact::Subnet;
use tesseras_core::ports::{Account, Charge, FreeSpace, PeerAt, Usage};
use thiserror::Error;

use crate::messages::refusal;

/// What one node offers to others, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For all peers together.
    pub storage: u64,
    /// Disk space that stays free for the owner.
    pub min_free_space: u64,
    /// For one peer, regardless of what it stores for us.
    pub per_peer: u64,
    /// How much more one peer may store here than it stores for us.
    pub deficit_allowance: u64,
    /// For pieces that are placed as repairs.
    pub repair_share: u64,
}

/// All peers without a positive balance together get this fraction of the storage: one part in so
/// many.
pub const INDEBTED_SHARE: u64 = 4;
/// Those of them in one /24 or /48 together get one part in this many, except on local networks.
pub const INDEBTED_SUBNET_SHARE: u64 = 10;

/// Of the repair share, pieces that one peer placed get one part in this many, and those of one /24
/// or /48 together as much, except on local networks.
pub const REPAIRER_SHARE: u64 = 4;

/// The figures of a peer and of all that is kept here, before a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What the peer and this node store for each other.
    pub account: Account,
    /// Storage in use.
    pub usage: Usage,
    /// Free space on the disk.
    pub free: FreeSpace,
}

/// The limit that is reached. The text is for people on this node; a peer is sent [`Limit::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Limit {
    /// [`Limits::min_free_space`], or the disk can hold no more files.
    #[error("the disk's reserve is reached")]
    Reserve,
    /// [`Limits::storage`].
    #[error("the space offered to others is used up")]
    Storage,
    /// [`Limits::repair_share`].
    #[error("the space offered for repairs is used up")]
    Repairs,
    /// [`REPAIRER_SHARE`] of one peer.
    #[error("this peer's part of the space offered for repairs is used up")]
    RepairsOfPeer,
    /// [`REPAIRER_SHARE`] of one neighbourhood.
    #[error("the part of this network in the space offered for repairs is used up")]
    RepairsOfSubnet,
    /// [`Limits::per_peer`].
    #[error("this peer's limit is reached")]
    Peer,
    /// [`Limits::deficit_allowance`].
    #[error("this peer stores too little in return")]
    Deficit,
    /// [`INDEBTED_SHARE`].
    #[error("the space for peers without a balance is used up")]
    Newcomers,
    /// [`INDEBTED_SUBNET_SHARE`].
    #[error("the space for peers of this network without a balance is used up")]
    Subnet,
}

impl Limit {
    /// The code of the refusal. Only limits of the sender itself are disclosed: a full node looks
    /// like one with any other reason of its own.
    pub fn code(self) -> &'static str {
        match self {
            Self::Reserve | Self::Storage | Self::Repairs => refusal::DECLINED,
            Self::RepairsOfPeer
            | Self::RepairsOfSubnet
            | Self::Peer
            | Self::Deficit
            | Self::Newcomers
            | Self::Subnet => refusal::OVER_QUOTA,
        }
    }
}

/// Decides whether `bytes` more are accepted on an account.
pub fn decide(
    bytes: u64,
    charge: &Charge,
    standing: &Standing,
    limits: &Limits,
) -> Result<(), Limit> {
    let too_little = |(_, left): &(Limit, u64)| *left < bytes;
    match left_under(charge, standing, limits).find(too_little) {
        Some((limit, _)) => Err(limit),
        None => Ok(()),
    }
}

/// How many bytes would be accepted now, piece after piece.
pub fn room(charge: &Charge, standing: &Standing, limits: &Limits) -> u64 {
    let mut room = u64::MAX;
    for (_, left) in left_under(charge, standing, limits) {
        room = room.min(left);
    }
    let Standing { account, usage, .. } = standing;
    let Charge::Peer(PeerAt { subnet, .. }) = charge else { return room };
    if !account.is_positive() {
        return room;
    }
    // Once its balance is used up it counts as a peer without balance, with everything stored for
    // it by then.
    let balance = account.stored_by - account.stored_for;
    let stored_for = account.stored_for;
    let as_newcomer = newcomers(subnet, usage, limits)
        .map(|(_, left)| left.saturating_sub(stored_for))
        .fold(u64::MAX, u64::min);
    room.min(balance.max(as_newcomer))
}

/// What each limit leaves, in the order of their names.
fn left_under(
    charge: &Charge,
    standing: &Standing,
    limits: &Limits,
) -> impl Iterator<Item = (Limit, u64)> + use<> {
    let Standing { account, usage, free } = standing;
    let mut left = vec![
        (Limit::Reserve, free.room(limits.min_free_space)),
        (Limit::Storage, limits.storage.saturating_sub(usage.total)),
    ];
    match charge {
        Charge::Repair(PeerAt { subnet, .. }) => {
            left.push((Limit::Repairs, limits.repair_share.saturating_sub(usage.repair)));
            let part = limits.repair_share / REPAIRER_SHARE;
            left.push((Limit::RepairsOfPeer, part.saturating_sub(usage.repair_by_peer)));
            if subnet.limited().is_some() {
                left.push((Limit::RepairsOfSubnet, part.saturating_sub(usage.repair_in_subnet)));
            }
        }
        Charge::Peer(PeerAt { subnet, .. }) => {
            let allowed = account.stored_by.saturating_add(limits.deficit_allowance);
            left.push((Limit::Peer, limits.per_peer.saturating_sub(account.stored_for)));
            left.push((Limit::Deficit, allowed.saturating_sub(account.stored_for)));
            if !account.is_positive() {
                left.extend(newcomers(subnet, usage, limits));
            }
        }
    }
    left.into_iter()
}

/// What is left for all peers without a positive balance.
fn newcomers(
    subnet: &Subnet,
    usage: &Usage,
    limits: &Limits,
) -> impl Iterator<Item = (Limit, u64)> + use<> {
    let all = (limits.storage / INDEBTED_SHARE).saturating_sub(usage.indebted);
    let near = (limits.storage / INDEBTED_SUBNET_SHARE).saturating_sub(usage.indebted_in_subnet);
    let near = subnet.limited().map(|_| (Limit::Subnet, near));
    [(Limit::Newcomers, all)].into_iter().chain(near)
}

#[cfg(test)]
mod tests {
    use tesseras_core::ids::NodeId;
    use tesseras_core::ports::PER_FILE_BYTES;

    use super::*;

    const LIMITS: Limits = Limits {
        storage: 1000,
        min_free_space: 100,
        per_peer: 300,
        deficit_allowance: 50,
        repair_share: 500,
    };

    /// A disk with room for one more file of so many bytes, without a reserve.
    fn room_for(bytes: u64) -> FreeSpace {
        FreeSpace { bytes: bytes.saturating_add(PER_FILE_BYTES), ..FreeSpace::UNLIMITED }
    }

    fn peer(stored_for: u64, stored_by: u64, address: &str) -> (Charge, Account) {
        let subnet = Subnet::of(address.parse().expect("an address"));
        let id = NodeId::new([1; 20]);
        (Charge::Peer(PeerAt { id, subnet }), Account { stored_for, stored_by })
    }

    fn repairs_from(address: &str) -> Charge {
        let subnet = Subnet::of(address.parse().expect("an address"));
        Charge::Repair(PeerAt { id: NodeId::new([1; 20]), subnet })
    }

    #[test]
    fn no_peer_and_no_neighbourhood_fills_the_space_for_repairs() {
        let room = |usage, address| {
            let standing = Standing { usage, free: room_for(1000), ..Standing::default() };
            room(&repairs_from(address), &standing, &LIMITS)
        };
        let by_it = Usage { total: 100, repair: 100, repair_by_peer: 100, ..Usage::default() };
        assert_eq!([room(by_it, "8.8.8.8"), room(by_it, "10.0.0.1")], [25, 25]);
        let near = Usage { repair_by_peer: 0, repair_in_subnet: 100, ..by_it };
        assert_eq!([room(near, "8.8.8.8"), room(near, "10.0.0.1")], [25, 125]);
        let standing = Standing { usage: near, free: room_for(1000), ..Standing::default() };
        let refused = decide(26, &repairs_from("8.8.8.8"), &standing, &LIMITS);
        assert_eq!(refused.map_err(Limit::code), Err(refusal::OVER_QUOTA));
    }

    #[test]
    fn every_limit_is_enforced_to_the_byte() {
        let usage = Usage::default();
        let code = |bytes, (charge, account), usage: Usage, free| {
            let standing = Standing { account, usage, free: room_for(free) };
            decide(bytes, &charge, &standing, &LIMITS).err().map(Limit::code)
        };
        let repair = (repairs_from("8.8.8.8"), Account::default());
        let stranger = peer(0, 0, "8.8.8.8");
        assert_eq!(code(50, stranger, usage, 150), None);
        assert_eq!(code(50, stranger, usage, 149), Some(refusal::DECLINED));
        assert_eq!(code(51, stranger, usage, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(100, peer(200, 250, "8.8.8.8"), usage, 999), None);
        assert_eq!(code(101, peer(200, 250, "8.8.8.8"), usage, 999), Some(refusal::OVER_QUOTA));
        let full = Usage { total: 960, ..usage };
        assert_eq!(code(41, peer(0, 500, "8.8.8.8"), full, 999), Some(refusal::DECLINED));
        assert_eq!(code(40, peer(0, 500, "8.8.8.8"), full, 999), None);
        let newcomers = Usage { indebted: 210, ..usage };
        assert_eq!(code(41, stranger, newcomers, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(41, peer(0, 1, "8.8.8.8"), newcomers, 999), None);
        let street = Usage { indebted_in_subnet: 60, ..usage };
        assert_eq!(code(41, stranger, street, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(41, peer(0, 0, "127.0.0.1"), street, 999), None);
        let repaired = Usage { repair: 460, ..usage };
        assert_eq!(code(41, repair, repaired, 999), Some(refusal::DECLINED));
        assert_eq!(code(40, repair, repaired, 999), None);
    }

    #[test]
    fn the_room_that_is_told_is_what_is_accepted_piece_after_piece() {
        let amounts = [0, 30, 90, 240];
        for (stored_for, stored_by) in amounts.iter().flat_map(|a| amounts.map(|b| (*a, b))) {
            for (others, address) in
                [(0, "8.8.8.8"), (60, "8.8.8.8"), (200, "8.8.8.8"), (200, "10.0.0.1")]
            {
                let account = |stored_for| Account { stored_for, stored_by };
                let (charge, _) = peer(0, 0, address);
                // The others' share and, while it has no balance, its own.
                let usage = |stored| {
                    let own = if account(stored).is_positive() { 0 } else { stored };
                    Usage {
                        total: others + stored,
                        repair: 0,
                        indebted: others + own,
                        indebted_in_subnet: others / 2 + own,
                        ..Usage::default()
                    }
                };
                let standing = |stored| Standing {
                    account: account(stored),
                    usage: usage(stored),
                    free: room_for(700 + stored_for - stored),
                };
                let told = room(&charge, &standing(stored_for), &LIMITS);
                let accepts = |stored| decide(1, &charge, &standing(stored), &LIMITS);
                let mut stored = stored_for;
                while accepts(stored).is_ok() {
                    stored += 1;
                }
                let case = format!("{stored_for} for {stored_by}, others {others} at {address}");
                assert_eq!(told, stored - stored_for, "{case}");
            }
        }
        let usage = Usage { total: 700, repair: 450, ..Usage::default() };
        let for_repairs = |free| {
            let charge = repairs_from("8.8.8.8");
            let free = room_for(free);
            room(&charge, &Standing { account: Account::default(), usage, free }, &LIMITS)
        };
        assert_eq!([for_repairs(1000), for_repairs(120), for_repairs(50)], [50, 20, 0]);
    }

    #[test]
    fn room_on_the_disk_is_reckoned_in_blocks_and_files() {
        let disk = FreeSpace { bytes: 20_000, block_bytes: 4096, files: 1 };
        let (charge, account) = peer(0, 0, "8.8.8.8");
        let limits = Limits { min_free_space: 0, ..LIMITS };
        let decided = |free| {
            let standing = Standing { account, free, ..Standing::default() };
            decide(1, &charge, &standing, &limits).map_err(Limit::code)
        };
        assert_eq!(decided(disk), Ok(()));
        assert_eq!(decided(FreeSpace { files: 0, ..disk }), Err(refusal::DECLINED));
        let block = 4096 + PER_FILE_BYTES;
        assert_eq!(decided(FreeSpace { bytes: block, ..disk }), Ok(()));
        assert_eq!(decided(FreeSpace { bytes: block - 1, ..disk }), Err(refusal::DECLINED));
    }
}
