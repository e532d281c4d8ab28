//! Whether this node repairs a tessera now, or waits for its turn. Asks no other node.

use std::sync::Mutex;

use tesseras_core::ids::TesseraHash;
use tesseras_core::lock::lock as locked;
use tesseras_core::placement::Lack;
use tesseras_core::plan::Plan;
use tesseras_core::ports::{Charge, StoreError};

use super::{Occasion, Repairer};
use crate::holder::Holder;
use crate::policy::agenda::Agenda;
use crate::policy::routine::RepairConfig;
use crate::policy::steward::{Turn, turn_of};
use crate::policy::survey::{Survey, neighbourhood};
use crate::policy::urgency::{Urgency, urgency};

/// Decides by the agenda, the clock, and what this node holds.
#[derive(Clone, Copy)]
pub(super) struct Stewardship<'a> {
    holder: &'a Holder,
    config: &'a RepairConfig,
    agenda: &'a Mutex<Agenda>,
}

impl<'a> Repairer<'a> {
    pub(super) fn stewardship(&self) -> Stewardship<'a> {
        let Self { holder, config, agenda, .. } = *self;
        Stewardship { holder, config, agenda }
    }
}

impl Stewardship<'_> {
    /// When what is missing is to be replaced.
    pub(super) fn urgency(
        self,
        occasion: Occasion,
        plan: &Plan,
        lack: &Lack,
        survey: &Survey,
    ) -> Urgency {
        match occasion {
            Occasion::Asked => Urgency::Now,
            Occasion::Round | Occasion::Turn => {
                urgency(self.config.grace(), plan, lack, survey, self.holder.clock.now())
            }
        }
    }

    /// The turn of this node to repair a tessera; `None` if it is not done in turns. `most` is how many
    /// holders the form needs at the most.
    pub(super) fn turn(
        self,
        plan: &Plan,
        survey: &Survey,
        most: usize,
        charge: Charge<()>,
        occasion: Occasion,
    ) -> Option<Turn> {
        if occasion == Occasion::Asked {
            return None;
        }
        let now = self.holder.clock.now();
        let since = locked(self.agenda).due_since(&plan.tessera()).unwrap_or(now);
        // The owner's node does not wait for others.
        if charge == Charge::OWN {
            return Some(Turn::first(since, since));
        }
        let placement = survey.placement(plan);
        let live = placement.keys().filter_map(|id| survey.live.get(id));
        let others = live.map(|holder| (holder.contact.id, neighbourhood(&holder.contact)));
        let key = plan.tessera().dht_key();
        Some(turn_of(self.holder.me(), key, others, most, since, self.config))
    }

    /// The turn that a repair waits for, if it does. It needs none if nothing is to be transferred for
    /// it.
    pub(super) async fn turn_to_wait_for(
        self,
        tessera: TesseraHash,
        urgency: Urgency,
        turn: Option<Turn>,
        occasion: Occasion,
    ) -> Result<Option<Turn>, StoreError> {
        let now = self.holder.clock.now();
        Ok(match turn {
            Some(turn) if urgency == Urgency::InTurn => {
                Some(turn).filter(|turn| occasion == Occasion::Round || turn.at > now)
            }
            Some(_) if urgency == Urgency::Later && occasion == Occasion::Round => {
                // What is damaged here is replaced by this node in any case.
                let is_damaged = !self.holder.damaged_pieces(tessera).await?.is_empty();
                is_damaged.then_some(Turn::first(now, now))
            }
            _ => None,
        })
    }

    /// A repair waits for its turn from now on.
    pub(super) fn postpone(self, tessera: TesseraHash, turn: Turn) {
        let survives = self.holder.last_survived(&tessera);
        locked(self.agenda).put(tessera, turn, survives);
    }

    /// A repair does not wait any more.
    pub(super) fn forget(self, tessera: &TesseraHash) {
        locked(self.agenda).remove(tessera);
    }

    /// The tessera whose repair is to begin now, of several the most endangered one. It is not given
    /// again until [`Stewardship::ended`].
    pub(super) fn begin_next(self) -> Option<TesseraHash> {
        locked(self.agenda).begin_next(self.holder.clock.now())
    }

    /// The repair of a tessera has ended, however it did.
    pub(super) fn ended(self, tessera: &TesseraHash) {
        locked(self.agenda).ended(tessera);
    }

    /// A repair gives way to another task, and gets another turn.
    pub(super) fn give_way(self, tessera: TesseraHash) {
        let at = self.holder.clock.now();
        let since = locked(self.agenda).due_since(&tessera).unwrap_or(at);
        self.postpone(tessera, Turn::first(since, at));
    }
}
