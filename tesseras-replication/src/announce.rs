//! Announcing what is held.

use tesseras_core::ids::TesseraHash;

use crate::clock::check_clock;
use crate::holder::Holder;
use crate::ports::Directory;

/// How many tesserae are announced at once.
pub const ANNOUNCE_BATCH: usize = 64;

/// Announces tesserae of which pieces came here. While this node's clock seems wrong they stay
/// unannounced, since others may have refused the records.
pub(crate) async fn announce_new(
    holder: &Holder,
    directory: &dyn Directory,
    tesserae: Vec<TesseraHash>,
) {
    holder.is_to_announce(tesserae.iter().copied());
    directory.announce(tesserae.iter().map(TesseraHash::dht_key).collect()).await;
    if check_clock(directory).await.is_ok() {
        holder.has_announced(&tesserae);
    }
}

/// Announces all tesserae of which pieces came here and that nobody asked to announce since;
/// returns how many.
pub(crate) async fn announce_unannounced(holder: &Holder, directory: &dyn Directory) -> usize {
    let new: Vec<TesseraHash> = holder.unannounced().into_iter().collect();
    for batch in new.chunks(ANNOUNCE_BATCH) {
        announce_new(holder, directory, batch.to_vec()).await;
    }
    new.len()
}
