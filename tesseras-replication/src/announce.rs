//! Announcing the tesserae of which pieces are held.

use tesseras_core::ids::TesseraHash;

use crate::clock::check_clock;
use crate::holder::Holder;
use crate::ports::Directory;

/// How many tesserae are announced at once.
pub const ANNOUNCE_BATCH: usize = 64;

/// Announces a tessera of which pieces were received. One announcement runs at a time: tesserae
/// that arrive in the meantime go out with the next one, many tesserae in few messages.
pub(crate) async fn announce_new(holder: &Holder, directory: &dyn Directory, tessera: TesseraHash) {
    holder.is_to_announce(tessera);
    let _turn = holder.turn_to_announce().await;
    let others = holder.unannounced();
    if !others.contains(&tessera) {
        return;
    }
    let others = others.into_iter().filter(|other| *other != tessera);
    let batch = [tessera].into_iter().chain(others).take(ANNOUNCE_BATCH);
    announce(holder, directory, batch.collect()).await;
}

/// Announces all tesserae of which pieces were received and that were not announced since; returns
/// how many.
pub(crate) async fn announce_unannounced(holder: &Holder, directory: &dyn Directory) -> usize {
    let new: Vec<TesseraHash> = holder.unannounced().into_iter().collect();
    for batch in new.chunks(ANNOUNCE_BATCH) {
        announce(holder, directory, batch.to_vec()).await;
    }
    new.len()
}

/// Announces some. While this node's clock seems wrong they stay unannounced, since other nodes may
/// have refused the records.
async fn announce(holder: &Holder, directory: &dyn Directory, tesserae: Vec<TesseraHash>) {
    // Marked before it is done: the announcement continues even if the caller is gone.
    holder.is_announced(&tesserae);
    directory.announce(tesserae.iter().map(TesseraHash::dht_key).collect()).await;
    if check_clock(directory).await.is_err() {
        tesserae.into_iter().for_each(|tessera| holder.is_to_announce(tessera));
    }
}
