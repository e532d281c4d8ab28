//! How much may be asked twice: in place of what is late, before it has failed.

/// So much may be asked twice at any time, whatever the share: the first task of a node meets the
/// dead before it has asked for much.
const ALWAYS: u64 = 32;

/// What was asked, and how much of it twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Requests sent to other nodes about tesserae.
    pub sent: u64,
    /// Those of them that were sent in place of one that was late.
    pub hedged: u64,
    /// Hedged requests without which a piece would have been missing: the late one failed.
    pub needed: u64,
}

impl Requests {
    /// Whether one more may be sent in place of one that is late: those that were perhaps in vain
    /// stay below `percent` of all.
    pub fn may_hedge(&self, percent: u8) -> bool {
        let extra = self.hedged.saturating_sub(self.needed);
        percent > 0 && extra < ALWAYS + self.sent.saturating_mul(percent.into()) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_twice_in_vain_stays_a_share_of_all() {
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
