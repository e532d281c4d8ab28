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
    /// How much of the pack was at hand when the last step started, in bytes.
    offered: u64,
    /// How much of it was taken when the last step ended, in bytes; at most what was offered.
    taken: u64,
}

/// A step that has ended: the capsule, and how much of its pack was taken.
type Step = Result<(Box<dyn UnpackingCapsule>, u64), UnpackError>;

impl Unpack {
    /// Begins with nothing.
    pub(crate) fn new(disk: Blocking, capsule: Box<dyn UnpackingCapsule>) -> Self {
        Self { disk, capsule: Some(capsule), running: None, offered: 0, taken: 0 }
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
        if available > self.offered {
            self.begin(source.clone(), available, Meter::silent());
        }
    }

    /// Waits for the running step. Nothing is lost if this is dropped before.
    pub(crate) async fn ended(&mut self) -> Result<(), UnpackError> {
        if let Some(running) = &mut self.running {
            let step = running.await;
            self.running = None;
            let (capsule, taken) = step?;
            (self.capsule, self.taken) = (Some(capsule), taken);
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
        meter.add(self.taken);
        let all = source.plan().pack_bytes();
        self.begin(source, all, meter);
        self.ended().await?;
        let capsule = self.capsule.take().expect("no step is running, and none has failed");
        self.disk.run(move || capsule.finish()).await
    }

    /// Starts a step unless one is running.
    fn begin(&mut self, source: PieceSource, available: u64, meter: Meter) {
        let Some(mut capsule) = self.capsule.take() else { return };
        let from = self.taken;
        self.offered = available;
        self.running = Some(self.disk.run(move || {
            let pack = source.part_of_pack(from..available)?;
            let taken = capsule.advance(&*pack, available, &meter)?;
            Ok((capsule, taken))
        }));
    }
}

impl Drop for Unpack {
    fn drop(&mut self) {
        // It removes what it has staged, which may be thousands of files. After a step that has ended
        // unseen, the capsule is still in its result.
        let (capsule, running) = (self.capsule.take(), self.running.take());
        if capsule.is_some() || running.is_some() {
            drop(self.disk.run(move || drop((capsule, running))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tesseras_core::ports::BlobReader;

    use super::*;
    use crate::blocking::BlockingPool;

    thread_local! {
        static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
    }

    /// Works at once, and is known as a place where work may block.
    struct Here;

    impl BlockingPool for Here {
        fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
            MAY_BLOCK.set(true);
            work();
            MAY_BLOCK.set(false);
            Box::pin(std::future::ready(()))
        }
    }

    /// Notes whether it was dropped where it may block.
    struct Staged(Arc<AtomicBool>);

    impl Drop for Staged {
        fn drop(&mut self) {
            self.0.store(MAY_BLOCK.get(), Ordering::Relaxed);
        }
    }

    impl UnpackingCapsule for Staged {
        fn advance(&mut self, _: &dyn BlobReader, _: u64, _: &Meter) -> Result<u64, UnpackError> {
            unreachable!("nothing arrives")
        }

        fn finish(self: Box<Self>) -> Result<TesseraRecord, UnpackError> {
            unreachable!("it is given up")
        }
    }

    #[test]
    fn what_a_finished_step_left_is_removed_where_work_may_block() {
        let on_disk = Arc::new(AtomicBool::new(false));
        let disk = Blocking::on(Arc::new(Here));
        let mut unpack = Unpack::new(disk.clone(), Box::new(Staged(on_disk.clone())));
        let capsule = unpack.capsule.take().unwrap();
        unpack.running = Some(disk.run(move || Ok((capsule, 0))));
        drop(unpack);
        assert!(on_disk.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_given_up_is_removed_where_work_may_block() {
        let on_disk = Arc::new(AtomicBool::new(false));
        let unpack = Unpack::new(Blocking::on(Arc::new(Here)), Box::new(Staged(on_disk.clone())));
        drop(unpack);
        assert!(on_disk.load(Ordering::Relaxed));
    }
}
