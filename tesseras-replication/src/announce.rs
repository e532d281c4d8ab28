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
    holder.note_to_announce(tessera);
    let _announcing = holder.lock_announcements().await;
    let others = holder.unannounced();
    if !others.contains(&tessera) {
        return;
    }
    let others = others.into_iter().filter(|other| *other != tessera);
    let batch = [tessera].into_iter().chain(others).take(ANNOUNCE_BATCH);
    announce(holder, directory, batch.collect()).await;
}

/// Announces all tesserae of which pieces were received and that were not announced since, and those
/// whose announcement is not known to have succeeded; returns how many.
pub(crate) async fn announce_unannounced(holder: &Holder, directory: &dyn Directory) -> usize {
    let _announcing = holder.lock_announcements().await;
    let new: Vec<TesseraHash> = holder.not_known_to_be_announced().into_iter().collect();
    for batch in new.chunks(ANNOUNCE_BATCH) {
        announce(holder, directory, batch.to_vec()).await;
    }
    new.len()
}

/// Announces some. They count as announced once that has ended and this node's clock seems right:
/// otherwise other nodes may have refused the records. The announcement continues if the caller is
/// gone, so the next one does not include them; [`announce_unannounced`] does.
async fn announce(holder: &Holder, directory: &dyn Directory, tesserae: Vec<TesseraHash>) {
    holder.note_announcing(&tesserae);
    directory.announce(tesserae.iter().map(TesseraHash::dht_key).collect()).await;
    if check_clock(directory).await.is_ok() {
        holder.note_announced(&tesserae);
    }
}
