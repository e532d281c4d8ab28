//! The publication state of a tessera as known to one node: three facts, and the events that change
//! them.

use serde::{Deserialize, Serialize};

/// What one node knows of the publication of a tessera. A node may publish a tessera and hold a
/// piece of it for others: neither fact changes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Publication {
    /// As a holder, this node was told that the tessera is published. Otherwise nothing of it is
    /// announced, repaired or completed.
    pub confirmed: bool,
    /// It was published from the library of this node, which maintains it.
    pub published: bool,
    /// This node is to publish it in the background: its owner asked for that, or too few holders
    /// know yet that it is published.
    pub wanted: bool,
}

/// An event that changes a [`Publication`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublicationEvent {
    /// A publisher or a repairer told this node, as a holder, that the tessera is published.
    Confirmed,
    /// The owner leaves the publication to the background.
    Wanted,
    /// Enough pieces were attested to read the tessera back; their holders are told next. It is
    /// recorded before the first of them knows: a node that stops in the middle goes on.
    Published,
    /// Enough holders know that it is published.
    Told,
    /// Too few holders know that it is published; they are to be told again.
    Untold,
    /// The owner stopped a publication in progress or in the background.
    Stopped,
    /// The owner wants this node to stop maintaining it.
    Cancelled,
}

/// What ends when a publication is stopped: each also ends what those before it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationStop {
    /// A publication in progress or in the background.
    Stop,
    /// A finished publication: the node no longer maintains the tessera, except as the holder of a
    /// piece.
    Unpublish,
    /// All that is under way, such as a fetch: the tessera is about to be dropped.
    Drop,
}

impl PublicationStop {
    /// The event that is recorded.
    pub fn event(self) -> PublicationEvent {
        match self {
            Self::Stop => PublicationEvent::Stopped,
            Self::Unpublish | Self::Drop => PublicationEvent::Cancelled,
        }
    }
}

/// The publication state of a capsule in its library, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationState {
    /// Not published.
    Local,
    /// Its node is publishing it in the background.
    Publishing,
    /// Published and maintained by its node.
    Published,
}

impl Publication {
    /// The state after an event.
    #[must_use]
    pub fn after(self, event: PublicationEvent) -> Self {
        match event {
            PublicationEvent::Confirmed => Self { confirmed: true, ..self },
            PublicationEvent::Wanted => Self { wanted: true, ..self },
            PublicationEvent::Published => Self { published: true, wanted: true, ..self },
            // Of what was cancelled in the meantime nobody needs to be told.
            PublicationEvent::Told => Self { wanted: self.wanted && !self.published, ..self },
            PublicationEvent::Untold => Self { wanted: self.wanted || self.published, ..self },
            PublicationEvent::Stopped => Self { wanted: false, ..self },
            PublicationEvent::Cancelled => Self { published: false, wanted: false, ..self },
        }
    }

    /// The publication state of a capsule in the library here. Publishing a published capsule again
    /// does not change its state.
    pub fn state(self) -> PublicationState {
        match (self.published, self.wanted) {
            (true, _) => PublicationState::Published,
            (false, true) => PublicationState::Publishing,
            (false, false) => PublicationState::Local,
        }
    }

    /// As a number, for storage: 1 confirmed, 2 published, 4 wanted, summed up.
    pub fn to_bits(self) -> u8 {
        u8::from(self.confirmed) | u8::from(self.published) << 1 | u8::from(self.wanted) << 2
    }

    /// The inverse of [`Publication::to_bits`]; `None` for a number above 7.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits < 8).then_some(Self {
            confirmed: bits & 1 != 0,
            published: bits & 2 != 0,
            wanted: bits & 4 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::PublicationEvent::{Cancelled, Confirmed, Published, Stopped, Told, Untold, Wanted};
    use super::*;

    fn after(events: &[PublicationEvent]) -> Publication {
        events.iter().fold(Publication::default(), |known, event| known.after(*event))
    }

    #[test]
    fn a_wish_publishes_nothing_and_a_finished_publication_ends_the_wish() {
        let wanted = after(&[Wanted]);
        assert_eq!(wanted.state(), PublicationState::Publishing);
        assert_eq!(after(&[Wanted, Stopped]), Publication::default());
        let published = after(&[Wanted, Published, Told]);
        assert_eq!((published.published, published.wanted), (true, false));
    }

    #[test]
    fn publishing_again_never_makes_it_less_published() {
        for again in [&[Wanted][..], &[Wanted, Stopped], &[Stopped]] {
            let known = after(&[&[Published], again].concat());
            assert_eq!(known.state(), PublicationState::Published, "{again:?}");
        }
        assert_eq!(after(&[Published, Wanted, Cancelled]), Publication::default());
    }

    #[test]
    fn what_is_published_stays_so_and_is_gone_on_with_until_holders_know_it() {
        let published = after(&[Published]);
        assert_eq!((published.state(), published.wanted), (PublicationState::Published, true));
        let told = after(&[Published, Told]);
        assert_eq!((told.state(), told.wanted), (PublicationState::Published, false));
        assert_eq!(after(&[Published, Told, Untold]), published);
        assert_eq!(after(&[Published, Stopped]), told, "nobody can call it back");
    }

    #[test]
    fn what_was_cancelled_while_its_holders_were_told_stays_cancelled() {
        for answers in [Told, Untold] {
            let cancelled = after(&[Published, Cancelled, answers]);
            assert_eq!(cancelled, Publication::default());
            let wanted_again = after(&[Published, Cancelled, Wanted, answers]);
            assert_eq!(wanted_again, after(&[Wanted]), "and so does a new wish");
        }
    }

    #[test]
    fn what_an_owner_ends_does_not_end_what_is_held_for_others() {
        let known = after(&[Confirmed, Published, Cancelled]);
        assert!(known.confirmed && !known.published);
        assert_eq!(known.state(), PublicationState::Local);
        let told_again = after(&[Published, Cancelled, Confirmed]);
        assert!(!told_again.published, "a holder that is told publishes nothing from its library");
    }

    #[test]
    fn all_that_can_be_known_survives_its_number() {
        for bits in 0..8 {
            assert_eq!(Publication::from_bits(bits).map(Publication::to_bits), Some(bits));
        }
        assert_eq!(Publication::from_bits(8), None);
    }
}
