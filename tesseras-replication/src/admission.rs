//! Whether a piece is accepted: the limits of one node, as one pure decision.

use tesseras_core::contact::Subnet;
use tesseras_core::ports::{Account, Usage};

use crate::messages::refusal;

/// What one node offers to others, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// In all.
    pub storage: u64,
    /// What stays free on the disk for its person.
    pub min_free_space: u64,
    /// For one peer, whatever it stores for us.
    pub per_peer: u64,
    /// How much more one peer may store here than it stores for us.
    pub deficit_allowance: u64,
    /// For pieces that are placed as repairs.
    pub repair_share: u64,
}

/// Peers whose balance is not positive together get one part in this many of the storage.
pub const INDEBTED_SHARE: u64 = 4;
/// And those of one /24 or /48 together one part in this many, except on local networks.
pub const INDEBTED_SUBNET_SHARE: u64 = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A peer places a piece from a neighbourhood.
    Peer {
        /// What it and we store for each other.
        account: Account,
        /// From where it asks.
        subnet: Subnet,
    },
    /// A steward places a piece of a tessera that others attest.
    Repair,
}

/// Decides whether `bytes` more are accepted. An error carries the refusal's code and the reason.
pub fn decide(
    bytes: u64,
    claim: &Claim,
    usage: &Usage,
    free_bytes: u64,
    limits: &Limits,
) -> Result<(), (&'static str, &'static str)> {
    let fits = |used: u64, limit: u64| used.saturating_add(bytes) <= limit;
    if free_bytes < limits.min_free_space.saturating_add(bytes) {
        return Err((refusal::NO_SPACE, "the disk's reserve is reached"));
    }
    if !fits(usage.total, limits.storage) {
        return Err((refusal::NO_SPACE, "the space offered to others is used up"));
    }
    match claim {
        Claim::Repair => {
            if !fits(usage.repair, limits.repair_share) {
                return Err((refusal::NO_SPACE, "the space offered for repairs is used up"));
            }
        }
        Claim::Peer { account, subnet } => {
            if !fits(account.stored_for, limits.per_peer) {
                return Err((refusal::OVER_QUOTA, "this peer's limit is reached"));
            }
            let allowed = account.stored_by.saturating_add(limits.deficit_allowance);
            if !fits(account.stored_for, allowed) {
                return Err((refusal::OVER_QUOTA, "this peer stores too little in return"));
            }
            if !account.is_positive() {
                if !fits(usage.indebted, limits.storage / INDEBTED_SHARE) {
                    return Err((refusal::OVER_QUOTA, "the space for newcomers is used up"));
                }
                if !subnet.is_local()
                    && !fits(usage.indebted_in_subnet, limits.storage / INDEBTED_SUBNET_SHARE)
                {
                    return Err((
                        refusal::OVER_QUOTA,
                        "the space for newcomers of this network is used up",
                    ));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        storage: 1000,
        min_free_space: 100,
        per_peer: 300,
        deficit_allowance: 50,
        repair_share: 500,
    };

    fn peer(stored_for: u64, stored_by: u64, address: &str) -> Claim {
        let subnet = Subnet::of(address.parse().expect("an address"));
        Claim::Peer { account: Account { stored_for, stored_by }, subnet }
    }

    #[test]
    fn every_limit_is_enforced_to_the_byte() {
        let usage = Usage::default();
        let code = |bytes, claim, usage: Usage, free| {
            decide(bytes, &claim, &usage, free, &LIMITS).err().map(|(code, _)| code)
        };
        let stranger = peer(0, 0, "8.8.8.8");
        assert_eq!(code(50, stranger, usage, 150), None);
        assert_eq!(code(50, stranger, usage, 149), Some(refusal::NO_SPACE));
        assert_eq!(code(51, stranger, usage, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(100, peer(200, 250, "8.8.8.8"), usage, 999), None);
        assert_eq!(code(101, peer(200, 250, "8.8.8.8"), usage, 999), Some(refusal::OVER_QUOTA));
        let full = Usage { total: 960, ..usage };
        assert_eq!(code(41, peer(0, 500, "8.8.8.8"), full, 999), Some(refusal::NO_SPACE));
        assert_eq!(code(40, peer(0, 500, "8.8.8.8"), full, 999), None);
        let newcomers = Usage { indebted: 210, ..usage };
        assert_eq!(code(41, stranger, newcomers, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(41, peer(0, 1, "8.8.8.8"), newcomers, 999), None);
        let street = Usage { indebted_in_subnet: 60, ..usage };
        assert_eq!(code(41, stranger, street, 999), Some(refusal::OVER_QUOTA));
        assert_eq!(code(41, peer(0, 0, "127.0.0.1"), street, 999), None);
        let repaired = Usage { repair: 460, ..usage };
        assert_eq!(code(41, Claim::Repair, repaired, 999), Some(refusal::NO_SPACE));
        assert_eq!(code(40, Claim::Repair, repaired, 999), None);
    }
}
