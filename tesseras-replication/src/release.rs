//! Letting go of whole copies once the coded form has taken their place.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tesseras_core::code::Piece;
use tesseras_core::placement::{self, may_let_go};
use tesseras_core::ports::{Fragment, StoreError};

use crate::ask::{AskError, PieceOnItsWay};
use crate::context::Replication;
use crate::dossier::VerifiedDossier;
use crate::pieces::hash_of;
use crate::status::attested;
use crate::survey::Survey;

impl Replication {
    /// Drops this node's whole copy if those who attest keep the target form without it
    /// ([`may_let_go`]), and every byte of the coded form has just been read: from the other nodes,
    /// and from this one's disk. Returns whether it was dropped.
    pub(crate) async fn release_whole(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
    ) -> Result<bool, StoreError> {
        let (tessera, me) = (dossier.tessera(), self.id());
        let held = self.blocking(move |s| s.fragments.list_fragments(&tessera)).await?;
        let Some(whole) = held.iter().find(|f| f.piece == Piece::Whole).copied() else {
            return Ok(false);
        };
        let mut placement = survey.placement(dossier.plan());
        let form = attested(dossier, survey).target();
        if !may_let_go(&placement, &tessera.dht_key(), &me, &form) {
            return Ok(false);
        }
        for pieces in placement.values_mut() {
            pieces.remove(&Piece::Whole);
        }
        placement.retain(|_, pieces| !pieces.is_empty());
        let own = placement.remove(&me).unwrap_or_default();
        let own = held.into_iter().filter(|f| own.contains(&f.piece)).collect();
        if !self.are_sound(own).await? || !self.all_are_readable(dossier, survey, &placement).await
        {
            return Ok(false);
        }
        tracing::info!(%tessera, "the coded form is complete; the whole copy is let go");
        self.blocking(move |stores| stores.fragments.delete_fragment(&whole)).await
    }

    /// Reads every byte of pieces held here from the disk.
    async fn are_sound(&self, held: Vec<Fragment>) -> Result<bool, StoreError> {
        self.blocking(move |stores| {
            for fragment in held {
                let reader = stores.blobs.open(&fragment.checksum)?;
                if hash_of(reader.as_ref())? != fragment.checksum {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }

    /// Reads every byte of every fragment back from its holder.
    async fn all_are_readable(
        &self,
        dossier: &VerifiedDossier,
        survey: &Survey,
        placement: &placement::Placement,
    ) -> bool {
        let mut waiting: Vec<_> = placement
            .iter()
            .flat_map(|(id, pieces)| pieces.iter().map(|piece| (*id, *piece)))
            .collect();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.parts.config.max_transfers {
                let Some((id, piece)) = waiting.pop() else { break };
                running.push(async move {
                    let contact = &survey.live[&id].contact;
                    let read = self.read_back(contact, dossier, piece).await;
                    if let Err(error) = &read {
                        tracing::info!(holder = %id, %piece, %error, "could not be read back");
                    }
                    read.is_ok()
                });
            }
            match running.next().await {
                Some(true) => {}
                Some(false) => return false,
                None => return true,
            }
        }
    }

    /// Reads one piece from its holder and compares it with the plan; keeps nothing.
    async fn read_back(
        &self,
        from: &tesseras_core::contact::Contact,
        dossier: &VerifiedDossier,
        piece: Piece,
    ) -> Result<(), AskError> {
        let PieceOnItsWay { bytes, checksum, body, _permit } =
            self.ask_for_piece(from, dossier, piece).await?;
        Ok(body.check(bytes, checksum).await?)
    }
}
