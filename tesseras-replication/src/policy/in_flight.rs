//! Bytes that are being received. They count as used, on the account that they will be charged to.

use std::collections::BTreeMap;

use tesseras_core::ports::{Charge, PeerAt};

use super::admission::Standing;

/// The bytes of one request, which become one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// The account that they will be charged to.
    pub(crate) charge: Charge,
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
    /// Counts bytes as used until the returned number is removed.
    pub(crate) fn add(&mut self, incoming: Incoming) -> u64 {
        self.last += 1;
        self.incoming.insert(self.last, incoming);
        self.last
    }

    /// Stops counting bytes as in flight: they are stored, or did not arrive.
    pub(crate) fn remove(&mut self, number: u64) {
        self.incoming.remove(&number);
    }

    /// All bytes together.
    fn bytes(&self) -> u64 {
        self.sum(|_| true)
    }

    /// The stored figures plus what is in flight: each figure only with the bytes that will be
    /// charged to it. A peer whose balance is unknown counts as having none.
    pub(crate) fn beside(&self, standing: Standing, asked: &Charge) -> Standing {
        let Standing { mut account, mut usage, free } = standing;
        usage.total += self.bytes();
        usage.repair += self.sum(|charge| matches!(charge, Charge::Repair(_)));
        usage.indebted += self.sum(|charge| matches!(charge, Charge::Peer(_)));
        if let Charge::Peer(PeerAt { id: asks, subnet: near }) = asked {
            let is_near =
                |c: &Charge| matches!(c, Charge::Peer(PeerAt { subnet, .. }) if subnet == near);
            usage.indebted_in_subnet += self.sum(is_near);
            account.stored_for +=
                self.sum(|c| matches!(c, Charge::Peer(PeerAt { id, .. }) if id == asks));
        }
        if let Charge::Repair(PeerAt { id: asks, subnet: near }) = asked {
            let is_by = |c: &Charge| matches!(c, Charge::Repair(PeerAt { id, .. }) if id == asks);
            let is_near =
                |c: &Charge| matches!(c, Charge::Repair(PeerAt { subnet, .. }) if subnet == near);
            usage.repair_by_peer += self.sum(is_by);
            usage.repair_in_subnet += self.sum(is_near);
        }
        let lengths = self.incoming.values().map(|incoming| incoming.bytes);
        Standing { account, usage, free: free.after(lengths) }
    }

    fn sum(&self, counts: impl Fn(&Charge) -> bool) -> u64 {
        let counted = self.incoming.values().filter(|incoming| counts(&incoming.charge));
        counted.fold(0, |sum, incoming| sum.saturating_add(incoming.bytes))
    }
}

#[cfg(test)]
mod tests {
    use tesseras_core::contact::Subnet;
    use tesseras_core::ids::NodeId;
    use tesseras_core::ports::{FreeSpace, PER_FILE_BYTES};

    use super::*;

    #[test]
    fn what_one_peer_sends_counts_against_no_other() {
        let near = Subnet::of("8.8.8.8".parse().expect("an address"));
        let far = Subnet::of("9.9.9.9".parse().expect("an address"));
        let [one, other] = [NodeId::new([1; 20]), NodeId::new([2; 20])];
        let mut all = InFlight::default();
        let from_one = Charge::Peer(PeerAt { id: one, subnet: near });
        let placed = all.add(Incoming { charge: from_one, bytes: 10 });
        all.add(Incoming {
            charge: Charge::Repair(PeerAt { id: other, subnet: near }),
            bytes: 100,
        });
        let seen = |all: &InFlight, id, subnet| {
            let free = FreeSpace { bytes: 10_000, ..FreeSpace::UNLIMITED };
            let standing = Standing { free, ..Standing::default() };
            let Standing { account, usage, free } =
                all.beside(standing, &Charge::Peer(PeerAt { id, subnet }));
            let files = all.incoming.len() as u64;
            assert_eq!(free.bytes + files * PER_FILE_BYTES + usage.total, 10_000);
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
