//! Releasing whole copies once the coded form has replaced them.

use futures_util::StreamExt as _;
use futures_util::stream;
use tesseras_core::code::Piece;
use tesseras_core::contact::Contact;
use tesseras_core::ids::NodeId;
use tesseras_core::placement::{Placement, may_let_go};
use tesseras_core::ports::StoreError;

use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::peers::{AskError, For, IncomingPiece, Peers};
use crate::policy::survey::Survey;

/// Drops this node's whole copy if the attested pieces meet the target form without it
/// ([`may_let_go`]), and every byte of the coded form has just been read: from the other nodes, and
/// from this one's disk. Returns whether it was dropped.
pub(crate) async fn release_whole(
    peers: &Peers,
    holder: &Holder,
    dossier: &VerifiedDossier,
    survey: &Survey,
) -> Result<bool, StoreError> {
    let (tessera, me) = (dossier.tessera(), peers.me());
    let held = holder.all_pieces(tessera).await?;
    let Some(whole) = held.iter().find(|f| f.piece == Piece::Whole).copied() else {
        return Ok(false);
    };
    let mut placement = survey.placement(dossier.plan());
    let form = survey.attested(dossier.plan()).target();
    if !may_let_go(&placement, &tessera.dht_key(), &me, &form) {
        return Ok(false);
    }
    for pieces in placement.values_mut() {
        pieces.remove(&Piece::Whole);
    }
    placement.retain(|_, pieces| !pieces.is_empty());
    let own = placement.remove(&me).unwrap_or_default();
    let own = held.into_iter().filter(|f| own.contains(&f.piece)).collect();
    if !holder.verify(tessera, own).await?
        || !all_are_readable(peers, dossier, survey, &placement).await
    {
        return Ok(false);
    }
    tracing::info!(%tessera, "the coded form is complete; the whole copy is released");
    holder.release(whole).await
}

/// Reads every byte of every fragment back from its holder.
async fn all_are_readable(
    peers: &Peers,
    dossier: &VerifiedDossier,
    survey: &Survey,
    placement: &Placement,
) -> bool {
    let all: Vec<(NodeId, Piece)> = placement
        .iter()
        .flat_map(|(id, pieces)| pieces.iter().map(move |piece| (*id, *piece)))
        .collect();
    let reading = stream::iter(all).map(|(id, piece)| async move {
        let read = read_back(peers, &survey.live[&id].contact, dossier, piece).await;
        if let Err(error) = &read {
            tracing::info!(holder = %id, %piece, %error, "could not be read back");
        }
        read.is_ok()
    });
    let mut reading = reading.buffer_unordered(peers.max_transfers());
    while let Some(is_readable) = reading.next().await {
        if !is_readable {
            return false;
        }
    }
    true
}

/// Reads one piece from its holder and compares it with the plan; keeps nothing.
async fn read_back(
    peers: &Peers,
    from: &Contact,
    dossier: &VerifiedDossier,
    piece: Piece,
) -> Result<(), AskError> {
    let IncomingPiece { bytes, checksum, body, _permit } =
        peers.take_piece(from, dossier, piece, (For::Upkeep, None)).await?;
    Ok(body.check(bytes, checksum).await?)
}
