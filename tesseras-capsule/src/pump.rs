//! Copies bytes from a source to a sink and computes their SHA-256 on a second thread, so that two
//! cores share the two digests of everything that is kept.
//!
//! Memory: at most [`BUFFERS`] buffers of [`BUFFER_BYTES`], whatever the length.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tesseras_core::buffer::PageBuffer;
use tesseras_core::ids::Sha256Digest;
use tesseras_crypto::Sha256;

/// The length of one buffer.
const BUFFER_BYTES: usize = 256 * 1024;
/// Buffers queued for the second thread.
const WAITING: usize = 2;
/// All buffers: the queued ones, one being hashed, one being filled.
const BUFFERS: usize = WAITING + 2;

const _: () = assert!(BUFFERS * BUFFER_BYTES <= 1024 * 1024, "a pump takes at most 1 MiB");

enum Job {
    Bytes(Arc<PageBuffer>),
    /// Return the digest of the bytes since the last digest.
    Finish,
}

struct Worker {
    jobs: Option<SyncSender<Job>>,
    digests: Receiver<Sha256Digest>,
    thread: Option<JoinHandle<()>>,
}

/// Computes digests of one stream after another. A stream may come in several parts.
pub(crate) struct Pump {
    /// Used buffers, oldest first; the second thread may still be reading the newest of them.
    used: VecDeque<Arc<PageBuffer>>,
    /// Started by the first stream that does not fit into one buffer; `None` also if the system
    /// refuses the thread: then everything is hashed here.
    worker: Option<Worker>,
    /// The digest of the current stream, if it is computed here.
    here: Option<Sha256>,
    /// Whether the current stream is hashed by the second thread.
    shared: bool,
}

impl Pump {
    pub fn new() -> Self {
        Self { used: VecDeque::new(), worker: None, here: None, shared: false }
    }

    /// Reads until `read` returns 0 bytes, passes everything to `sink`, and returns the length and
    /// the SHA-256. The first error of either ends it.
    pub fn run<E>(
        &mut self,
        read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(u64, Sha256Digest), E> {
        let outcome = self.take(read, sink);
        // Requested in every case, so that nothing of a failed stream is left for the next one.
        let sha256 = self.finish();
        Ok((outcome?, sha256))
    }

    /// Like [`Pump::run`], for a part of a stream: more may follow before [`Pump::finish`].
    pub fn take<E>(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut bytes = 0;
        loop {
            let mut buffer = self.buffer();
            let ended = fill(&mut buffer, &mut read)?;
            bytes += buffer.len() as u64;
            let buffer = Arc::new(buffer);
            if !buffer.is_empty() {
                self.hash(&buffer, ended);
                sink(&buffer)?;
            }
            self.used.push_back(buffer);
            if ended {
                return Ok(bytes);
            }
        }
    }

    /// The SHA-256 of everything since the last call; a new stream begins.
    pub fn finish(&mut self) -> Sha256Digest {
        if !std::mem::take(&mut self.shared) {
            return self.here.take().unwrap_or_default().finish();
        }
        let digest = self.worker.as_ref().and_then(|worker| {
            worker.jobs.as_ref()?.send(Job::Finish).ok()?;
            worker.digests.recv().ok()
        });
        digest.expect("the worker ends only when its queue is closed")
    }

    /// Hashes on the second thread what does not fit into one buffer.
    fn hash(&mut self, buffer: &Arc<PageBuffer>, is_last: bool) {
        if !self.shared && self.here.is_none() && !is_last {
            self.shared = self.start();
        }
        match self.worker.as_ref().and_then(|worker| worker.jobs.as_ref()) {
            Some(jobs) if self.shared => {
                // Fails only if the worker is gone, which `finish` notices by the missing digest.
                let _ = jobs.send(Job::Bytes(Arc::clone(buffer)));
            }
            _ => self.here.get_or_insert_default().update(buffer),
        }
    }

    /// The oldest buffer if the second thread has released it, else a new one. The queue is short
    /// enough that there are never more than [`BUFFERS`].
    fn buffer(&mut self) -> PageBuffer {
        match self.used.front() {
            Some(oldest) if Arc::strong_count(oldest) == 1 => {
                self.used.pop_front().and_then(Arc::into_inner)
            }
            _ => None,
        }
        .unwrap_or_else(|| PageBuffer::new(BUFFER_BYTES))
    }

    fn start(&mut self) -> bool {
        if self.worker.is_none() {
            let (jobs, queue) = sync_channel(WAITING);
            let (answers, digests) = sync_channel(1);
            let thread = std::thread::Builder::new().name("sha256".to_owned()).spawn(move || {
                let mut sha256 = Sha256::default();
                for job in queue {
                    match job {
                        Job::Bytes(bytes) => sha256.update(&bytes),
                        Job::Finish => {
                            if answers.send(std::mem::take(&mut sha256).finish()).is_err() {
                                break;
                            }
                        }
                    }
                }
            });
            self.worker = thread.ok().map(|thread| Worker {
                jobs: Some(jobs),
                digests,
                thread: Some(thread),
            });
        }
        self.worker.is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The missing digest has already shown a panic there.
            let _ = thread.join();
        }
    }
}

/// Fills a buffer as far as the source allows; `true` at the end of the source.
fn fill<E>(
    buffer: &mut PageBuffer,
    read: &mut impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<bool, E> {
    buffer.restore();
    let mut filled = 0;
    while filled < BUFFER_BYTES {
        let n = read(&mut buffer[filled..])?;
        if n == 0 {
            buffer.truncate(filled);
            return Ok(true);
        }
        filled += n;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Gives bytes from `at` to `end`, at most `step` at a time.
    fn given<'a>(
        data: &'a [u8],
        at: &'a mut usize,
        end: usize,
        step: usize,
    ) -> impl FnMut(&mut [u8]) -> Result<usize, Infallible> {
        move |buffer| {
            let n = buffer.len().min(step).min(end - *at);
            buffer[..n].copy_from_slice(&data[*at..*at + n]);
            *at += n;
            Ok(n)
        }
    }

    fn into(out: &mut Vec<u8>) -> impl FnMut(&[u8]) -> Result<(), Infallible> {
        |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn pumped(pump: &mut Pump, data: &[u8], step: usize) -> (u64, Sha256Digest, Vec<u8>) {
        let (mut at, mut out) = (0, Vec::new());
        let ran = pump.run(given(data, &mut at, data.len(), step), into(&mut out));
        let (bytes, sha256) = ran.expect("infallible");
        (bytes, sha256, out)
    }

    #[test]
    fn lengths_around_the_buffers_hash_as_a_whole_one_after_another() {
        let mut pump = Pump::new();
        let data: Vec<u8> = (0..BUFFER_BYTES * 7 + 5).map(|i| (i * i / 255) as u8).collect();
        for length in [0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, data.len(), 3] {
            for step in [777, usize::MAX] {
                let (bytes, sha256, out) = pumped(&mut pump, &data[..length], step);
                assert_eq!(bytes, length as u64);
                assert_eq!(sha256, tesseras_crypto::sha256(&data[..length]));
                assert!(out == data[..length]);
            }
        }
    }

    #[test]
    fn a_stream_in_parts_hashes_as_a_whole() {
        let mut pump = Pump::new();
        let data: Vec<u8> = (0..BUFFER_BYTES * 5).map(|i| (i * i / 255) as u8).collect();
        for cuts in [[0, 1, 2], [7, BUFFER_BYTES + 9, 3 * BUFFER_BYTES], [BUFFER_BYTES; 3]] {
            let (mut at, mut out) = (0, Vec::new());
            for end in cuts.into_iter().chain([data.len()]) {
                let part = given(&data, &mut at, end, usize::MAX);
                pump.take(part, into(&mut out)).expect("infallible");
            }
            assert_eq!(pump.finish(), tesseras_crypto::sha256(&data), "{cuts:?}");
            assert!(out == data);
        }
    }

    #[test]
    fn a_failed_stream_leaves_nothing_for_the_next() {
        let mut pump = Pump::new();
        let mut given = 0;
        let failed = pump.run(
            |buffer| {
                given += 1;
                if given > 3 { Err("no more") } else { Ok(buffer.len()) }
            },
            |_| Ok(()),
        );
        assert_eq!(failed, Err("no more"));
        let data = vec![7; BUFFER_BYTES * 2];
        assert_eq!(pumped(&mut pump, &data, 4096).1, tesseras_crypto::sha256(&data));
        assert!(pump.used.len() <= BUFFERS);
    }
}
