//! Telling the holders of a tessera that it is published, until each says that it knows.
//!
//! Only a node that has placed a piece on a holder, or has shown it by all its bytes that it has
//! that piece as well, is believed. So a holder whose piece another node has placed is shown it, and
//! told again.

use std::collections::BTreeSet;

use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::placement::Placement;
use tesseras_core::ports::StoreError;
use tesseras_core::progress::silent;

use crate::collect::Collector;
use crate::distribute::Distributor;
use crate::dossier::VerifiedDossier;
use crate::library::Library;
use crate::pieces::PieceSource;
use crate::roster::{Roster, Told};
use crate::tessera_lock::TesseraLock;

/// The holders of a tessera that was published here, and how they are told.
pub(crate) struct Telling<'a> {
    pub(crate) library: &'a Library,
    pub(crate) lock: &'a TesseraLock,
    pub(crate) roster: Roster<'a>,
}

/// The means to show holders the pieces that they hold.
pub(crate) struct Showing<'a> {
    pub(crate) collector: Collector<'a>,
    pub(crate) distributor: Distributor<'a>,
    pub(crate) dossier: &'a VerifiedDossier,
    pub(crate) source: &'a mut PieceSource,
    /// Who holds which pieces.
    pub(crate) placement: &'a Placement,
}

impl Telling<'_> {
    /// Tells all. If some have pieces that another node has placed, the publication is resumed, which
    /// shows them theirs.
    pub(crate) async fn tell(&self) -> Result<(), StoreError> {
        let told = self.roster.send(self.roster.holders).await;
        self.note(&told);
        match told.unconfirmed.is_empty() {
            true => Ok(()),
            false => self.library.note_untold(self.lock).await,
        }
    }

    /// Tells all, and shows those that need it their pieces. Returns those that know it now; the next
    /// repair tells the others.
    pub(crate) async fn tell_and_show(&self, pieces: Showing<'_>) -> BTreeSet<NodeId> {
        let mut told = self.roster.send(self.roster.holders).await;
        if !told.unconfirmed.is_empty() {
            let shown = pieces.show(std::mem::take(&mut told.unconfirmed)).await;
            told.confirmed.extend(self.roster.send(&shown).await.confirmed);
        }
        self.note(&told);
        told.confirmed
    }

    fn note(&self, told: &Told) {
        if told.confirmed.len() == self.roster.holders.len() {
            self.library.note_all_told(self.lock.tessera());
        }
    }
}

impl Showing<'_> {
    /// Shows to each of these holders that this node has a piece which that node holds, too. Returns
    /// those that have seen it.
    async fn show(self, to: Vec<Contact>) -> Vec<Contact> {
        let Self { collector, distributor, dossier, source, placement } = self;
        let plan = dossier.plan();
        let with_piece = to.into_iter().filter_map(|holder| {
            let pieces = placement.get(&holder.id)?.iter();
            let smallest = pieces.min_by_key(|piece| plan.piece_bytes(**piece));
            smallest.map(|piece| (holder, *piece))
        });
        let with_piece: Vec<(Contact, Piece)> = with_piece.collect();
        let pieces: Vec<Piece> = with_piece.iter().map(|(_, piece)| *piece).collect();
        match collector.prepare_parity(dossier, source, &pieces, &silent()).await {
            Ok(()) => distributor.show(dossier, source, with_piece).await,
            Err(error) => {
                tracing::warn!(tessera = %dossier.tessera(), %error, "cannot show pieces to holders");
                Vec::new()
            }
        }
    }
}
