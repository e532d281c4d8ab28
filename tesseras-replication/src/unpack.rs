//! Unpacking a capsule while its pieces arrive: a step at a time, on a blocking thread.

use tesseras_core::ports::TesseraRecord;
use tesseras_core::progress::Meter;
use tesseras_wire::BoxFuture;

use crate::blocking::Blocking;
use crate::pieces::PieceSource;
use crate::ports::{UnpackError, UnpackingCapsule};

/// A capsule that is being made of its pieces. Dropped before it is finished, it leaves nothing
/// behind.
pub(crate) struct Unpack {
    disk: Blocking,
    /// `None` while a step is running, and after one that failed.
    capsule: Option<Box<dyn UnpackingCapsule>>,
    running: Option<BoxFuture<'static, Step>>,
    /// How much of the pack was, or is being, taken, in bytes.
    taken: u64,
}

/// A step that has ended.
type Step = Result<Box<dyn UnpackingCapsule>, UnpackError>;

impl Unpack {
    /// Begins with nothing.
    pub(crate) fn new(disk: Blocking, capsule: Box<dyn UnpackingCapsule>) -> Self {
        Self { disk, capsule: Some(capsule), running: None, taken: 0 }
    }

    /// Whether a step is running.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts a step if no other is running, and if more data fragments without a gap are at hand
    /// than before: so many now.
    pub(crate) fn start(&mut self, source: &PieceSource, fragments: u8) {
        let plan = source.plan();
        let each = plan.coded().map_or(0, |form| form.fragment_bytes);
        let available = (u64::from(fragments) * each).min(plan.pack_bytes());
        if available > self.taken
            && let Some(capsule) = self.capsule.take()
        {
            self.running = Some(self.step(capsule, source.clone(), available, Meter::silent()));
        }
    }

    /// Waits for the running step. Nothing is lost if this is dropped before.
    pub(crate) async fn ended(&mut self) -> Result<(), UnpackError> {
        if let Some(running) = &mut self.running {
            let step = running.await;
            self.running = None;
            self.capsule = Some(step?);
        }
        Ok(())
    }

    /// Takes the rest of the pack, all of which is at hand, and adds the capsule to the library.
    pub(crate) async fn finish(
        mut self,
        source: PieceSource,
        meter: Meter,
    ) -> Result<TesseraRecord, UnpackError> {
        self.ended().await?;
        let capsule = self.capsule.take().expect("no step is running, and none has failed");
        meter.add(self.taken);
        let all = source.plan().pack_bytes();
        let capsule = self.step(capsule, source, all, meter).await?;
        self.disk.run(move || capsule.finish()).await
    }

    fn step(
        &mut self,
        mut capsule: Box<dyn UnpackingCapsule>,
        source: PieceSource,
        available: u64,
        meter: Meter,
    ) -> BoxFuture<'static, Step> {
        let from = std::mem::replace(&mut self.taken, available);
        self.disk.run(move || {
            let pack = source.part_of_pack(from..available)?;
            capsule.advance(&*pack, available, &meter)?;
            Ok(capsule)
        })
    }
}
