//! Telling the holders of a tessera about each other, and that it is published.

use futures_util::StreamExt as _;
use futures_util::stream;
use tesseras_core::contact::Contact;

use tesseras_wire::BoxFuture;

use crate::announce::announce_new;
use crate::dossier::VerifiedDossier;
use crate::holder::Holder;
use crate::peers::Peers;
use crate::ports::Directory;

/// Concurrent rosters.
const TOLD_AT_ONCE: usize = 16;

/// Tells all holders about each other, and that the tessera is published; each announces itself
/// before it answers. Returns whether all others answered.
pub(crate) async fn send_roster(
    peers: &Peers,
    holder: &Holder,
    directory: &dyn Directory,
    dossier: &VerifiedDossier,
    holders: &[Contact],
) -> bool {
    let (tessera, me) = (dossier.tessera(), peers.me());
    if holders.iter().any(|holder| holder.id == me) {
        if let Err(error) = holder.note_confirmed(tessera).await {
            tracing::error!(%tessera, %error, "cannot record that the tessera is published");
        }
        announce_new(holder, directory, tessera).await;
    }
    let tell =
        |other| -> BoxFuture<'_, _> { Box::pin(peers.tell_holders(other, tessera, holders)) };
    let others = holders.iter().filter(|holder| holder.id != me);
    let answers = stream::iter(others.map(tell).collect::<Vec<_>>());
    let all = |all, told: Result<_, _>| std::future::ready(all && told.is_ok());
    answers.buffer_unordered(TOLD_AT_ONCE).fold(true, all).await
}
