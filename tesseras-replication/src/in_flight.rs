//! Bytes that are being received: they count as used, each against what it will be charged to.

use std::collections::BTreeMap;

use tesseras_core::contact::Subnet;
use tesseras_core::ids::NodeId;
use tesseras_core::ports::{Account, Usage};

/// Bytes that one request is bringing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// From whom.
    pub(crate) peer: NodeId,
    /// From which neighbourhood.
    pub(crate) subnet: Subnet,
    /// Whether they will be charged to the repair share, and not to the peer.
    pub(crate) repair: bool,
    /// How many.
    pub(crate) bytes: u64,
}

/// All that is being received.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    last: u64,
    incoming: BTreeMap<u64, Incoming>,
}

impl InFlight {
    /// Counts bytes as used until the number that is returned is removed.
    pub(crate) fn add(&mut self, incoming: Incoming) -> u64 {
        self.last += 1;
        self.incoming.insert(self.last, incoming);
        self.last
    }

    /// Counts bytes as used no more: they are stored, or did not come.
    pub(crate) fn remove(&mut self, number: u64) {
        self.incoming.remove(&number);
    }

    /// All bytes together.
    pub(crate) fn bytes(&self) -> u64 {
        self.sum(|_| true)
    }

    /// What is used, by the store's word, with what is in flight: each of the figures only with
    /// what will be charged to it. A peer whose balance is not known counts as a newcomer.
    pub(crate) fn beside(
        &self,
        (mut account, mut usage): (Account, Usage),
        peer: NodeId,
        subnet: Subnet,
    ) -> (Account, Usage) {
        usage.total += self.bytes();
        usage.repair += self.sum(|incoming| incoming.repair);
        usage.indebted += self.sum(|incoming| !incoming.repair);
        usage.indebted_in_subnet +=
            self.sum(|incoming| !incoming.repair && incoming.subnet == subnet);
        account.stored_for += self.sum(|incoming| !incoming.repair && incoming.peer == peer);
        (account, usage)
    }

    fn sum(&self, counts: impl Fn(&Incoming) -> bool) -> u64 {
        let counted = self.incoming.values().filter(|incoming| counts(incoming));
        counted.fold(0, |sum, incoming| sum.saturating_add(incoming.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_brings_is_used_up_for_nobody_else() {
        let near = Subnet::of("8.8.8.8".parse().expect("an address"));
        let far = Subnet::of("9.9.9.9".parse().expect("an address"));
        let [one, other] = [NodeId::new([1; 20]), NodeId::new([2; 20])];
        let mut all = InFlight::default();
        let placed = all.add(Incoming { peer: one, subnet: near, repair: false, bytes: 10 });
        all.add(Incoming { peer: one, subnet: near, repair: true, bytes: 100 });
        let seen = |all: &InFlight, peer, subnet| {
            let (account, usage) = all.beside(Default::default(), peer, subnet);
            (
                account.stored_for,
                usage.total,
                usage.repair,
                usage.indebted,
                usage.indebted_in_subnet,
            )
        };
        assert_eq!(seen(&all, one, near), (10, 110, 100, 10, 10));
        assert_eq!(seen(&all, other, near), (0, 110, 100, 10, 10));
        assert_eq!(seen(&all, other, far), (0, 110, 100, 10, 0));
        all.remove(placed);
        assert_eq!(seen(&all, one, near), (0, 100, 100, 0, 0));
    }
}
