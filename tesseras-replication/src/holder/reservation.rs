//! Admission of bytes, and the space that is reserved while they are received.

use std::sync::{Arc, Mutex};

use tesseras_core::lock::lock;
use tesseras_core::ports::{Charge, PeerAt, StoreError};

use super::Holder;
use crate::policy::admission::{self, Limit, Standing};
use crate::policy::in_flight::{InFlight, Incoming};

/// Why bytes are not accepted.
pub(crate) enum NotAdmitted {
    /// A limit is reached.
    Limit(Limit),
    /// A store failed.
    Store(StoreError),
}

/// Bytes that are being received; they count as used until this is dropped.
pub(crate) struct Reservation {
    in_flight: Arc<Mutex<InFlight>>,
    number: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.in_flight).remove(self.number);
    }
}

impl Holder {
    /// Decides whether `bytes` are accepted, and returns how many bytes would be.
    pub(crate) async fn admit(
        &self,
        from: PeerAt,
        charge: Charge,
        bytes: u64,
    ) -> Result<u64, NotAdmitted> {
        self.admit_by(self.standing(from).await?, &charge, bytes)
    }

    /// Like [`Self::admit`], by figures that were read a moment ago.
    pub(crate) fn admit_by(
        &self,
        standing: Standing,
        charge: &Charge,
        bytes: u64,
    ) -> Result<u64, NotAdmitted> {
        self.decide(&lock(&self.in_flight), charge, standing, bytes)
    }

    /// Like [`Self::admit`]; the bytes count as used until the reservation is dropped.
    pub(crate) async fn reserve(
        &self,
        from: PeerAt,
        charge: Charge,
        bytes: u64,
    ) -> Result<Reservation, NotAdmitted> {
        let standing = self.standing(from).await?;
        let mut in_flight = lock(&self.in_flight);
        self.decide(&in_flight, &charge, standing, bytes)?;
        let number = in_flight.add(Incoming { charge, bytes });
        Ok(Reservation { in_flight: self.in_flight.clone(), number })
    }

    /// What a peer and this node store for each other, and what is in use here: sums over all that
    /// is kept.
    pub(crate) async fn standing(&self, from: PeerAt) -> Result<Standing, NotAdmitted> {
        let read = self.run(move |stores| {
            Ok(Standing {
                account: stores.ledger.account(&from.id)?,
                usage: stores.ledger.usage(&from)?,
                free: stores.blobs.free_space()?,
            })
        });
        read.await.map_err(NotAdmitted::Store)
    }

    fn decide(
        &self,
        in_flight: &InFlight,
        charge: &Charge,
        standing: Standing,
        bytes: u64,
    ) -> Result<u64, NotAdmitted> {
        let standing = in_flight.beside(standing, charge);
        admission::decide(bytes, charge, &standing, &self.limits).map_err(NotAdmitted::Limit)?;
        Ok(admission::room(charge, &standing, &self.limits))
    }
}
