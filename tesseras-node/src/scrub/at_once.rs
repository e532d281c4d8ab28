//! The scrub that somebody asks for: everything, now.

use tesseras_core::progress::{OnProgress, Progress, Unit};
use tesseras_rpc::messages::ScrubReply;
use tesseras_storage::{Scrubbed, Store};

use super::reply::reply;
use super::{ScrubError, Scrubber};

/// How much is read before progress is told, in bytes.
const STEP: u64 = 4 * 1024 * 1024;

impl Scrubber {
    /// Reads every stored object, and mends what is damaged.
    pub(crate) async fn all(&self, on_progress: &OnProgress) -> Result<ScrubReply, ScrubError> {
        let total = self.read(Store::object_counts).await?.bytes;
        let mut walk = self.store.scrub(None);
        let mut done = Scrubbed::default();
        while !walk.is_done() {
            on_progress(Progress {
                stage: "reading what is stored".into(),
                done: done.bytes.min(total),
                total,
                unit: Unit::Bytes,
            });
            let (further, read) = self.step(walk, STEP).await?;
            walk = further;
            done.add(read);
        }
        let mut notes = Vec::new();
        if done.corrupt > 0 {
            notes = self.mend(Some(on_progress)).await?;
        }
        self.read(move |store| reply(store, done, notes)).await
    }
}
