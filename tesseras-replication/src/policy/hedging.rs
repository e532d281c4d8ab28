//! The limit on hedges. A hedge is a second request in place of a late one that has not failed yet.

/// This many hedges are always allowed, whatever the share: the first task of a node meets dead
/// peers before it has sent many requests.
const ALWAYS: u64 = 32;

/// Counts of requests and hedges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests sent to other nodes about tesserae.
    pub sent: u64,
    /// Hedges: requests sent in place of a late one.
    pub hedged: u64,
    /// Hedges that were needed: the late request failed, or made no more progress.
    pub needed: u64,
}

impl Requests {
    /// Whether another hedge may be sent: hedges that may be unnecessary stay below `percent` of
    /// all requests.
    pub fn may_hedge(&self, percent: u8) -> bool {
        let extra = self.hedged.saturating_sub(self.needed);
        percent > 0 && extra < ALWAYS + self.sent.saturating_mul(percent.into()) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unnecessary_hedges_stay_a_share_of_all_requests() {
        let mut requests = Requests { sent: 1000, ..Requests::default() };
        assert!(!requests.may_hedge(0), "it is turned off");
        let mut extra = 0;
        while requests.may_hedge(10) {
            (requests.hedged, extra) = (requests.hedged + 1, extra + 1);
        }
        assert_eq!(extra, 100 + ALWAYS);
        requests.needed += 1;
        assert!(requests.may_hedge(10), "the late one had failed");
        requests.hedged += 1;
        assert!(!requests.may_hedge(10));
        requests.sent += 10;
        assert!(requests.may_hedge(10));
    }
}
