//! The erasure code: from a pack to parity, and from any k pieces back to the missing ones.
//!
//! It works column by column over windows, so that memory is (k + m) windows whatever the size. The
//! code itself is described in `docs/FORMAT.md`.

use std::sync::Arc;

use reed_solomon_simd::{DecoderResult, EncoderResult, ReedSolomonDecoder, ReedSolomonEncoder};
use tesseras_core::buffer::PageBuffer;
use tesseras_core::code::{CodedForm, Shape, WIDE};
use tesseras_core::ids::ContentHash;
use tesseras_core::ports::{BlobReader, BlobStore, BlobWriter, StoreError};
use tesseras_core::progress::Meter;
use tesseras_crypto::Blake3;
use thiserror::Error;

use crate::staged::Staged;

/// How much of each piece is processed at once, in bytes.
pub const WINDOW: usize = 64 * 1024;

const _: () = assert!(WINDOW.is_multiple_of(64), "the code works on 64-byte columns");
const _: () = assert!((WIDE.k as usize + WIDE.m as usize) * WINDOW <= 8 << 20, "bounded memory");

/// Why encoding a pack or rebuilding pieces failed.
#[derive(Debug, Error)]
pub enum ErasureError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Fewer than k different pieces were given.
    #[error("only {found} of the {needed} different pieces needed are available")]
    TooFew {
        /// How many were given.
        found: usize,
        /// k.
        needed: usize,
    },
    /// The codec refused its input: a piece of the wrong length or with an invalid index.
    #[error("the pieces are not valid for the code: {0}")]
    Codec(#[from] reed_solomon_simd::Error),
}

/// The result of encoding a pack.
pub struct Encoded {
    /// BLAKE3 of the pack.
    pub pack_hash: ContentHash,
    /// BLAKE3 of all n fragments, in order; empty if the pack has no coded form.
    pub checksums: Vec<ContentHash>,
    /// The m parity fragments, staged, in order.
    pub parity: Vec<Staged>,
}

/// Reads a data fragment of a pack as if it were stored: a range of the pack, then zeros.
pub struct DataFragment {
    pack: Arc<dyn BlobReader>,
    start: u64,
    bytes: u64,
}

impl DataFragment {
    /// Fragment `index` of `pack`, cut as `form` says.
    pub fn new(pack: Arc<dyn BlobReader>, form: CodedForm, index: u8) -> Self {
        Self { pack, start: u64::from(index) * form.fragment_bytes, bytes: form.fragment_bytes }
    }

    /// How many of `len` bytes from `offset` on are bytes of the pack; the rest is padding.
    fn of_pack(&self, offset: u64, len: usize) -> usize {
        self.pack.bytes().saturating_sub(self.start + offset).min(len as u64) as usize
    }
}

impl BlobReader for DataFragment {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn is_verified(&self) -> bool {
        self.pack.is_verified()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let end = offset.saturating_add(buffer.len() as u64);
        if end > self.bytes {
            return Err(StoreError::OutOfRange { offset, end, bytes: self.bytes });
        }
        let (data, padding) = buffer.split_at_mut(self.of_pack(offset, buffer.len()));
        padding.fill(0);
        if data.is_empty() { Ok(()) } else { self.pack.read_at(self.start + offset, data) }
    }
}

/// Hashes a pack and, where it has a coded form, computes its parity and all checksums.
pub fn encode(
    pack: &Arc<dyn BlobReader>,
    blobs: &Arc<dyn BlobStore>,
    meter: &Meter,
) -> Result<Encoded, ErasureError> {
    let Some(form) = CodedForm::of_pack(pack.bytes()) else {
        let pack_hash = hash_all(pack.as_ref(), meter)?;
        return Ok(Encoded { pack_hash, checksums: Vec::new(), parity: Vec::new() });
    };
    let data: Vec<DataFragment> =
        (0..form.shape.k).map(|i| DataFragment::new(pack.clone(), form, i)).collect();
    // Hashing needs the bytes in order, the code needs them in columns: one core each.
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash_in_order(&data));
        let coded = encode_columns(&data, form, blobs, meter);
        let hashed = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (parity, (pack_hash, mut checksums)) = (coded?, hashed?);
        checksums.extend(parity.iter().map(|staged| staged.hash));
        Ok(Encoded { pack_hash, checksums, parity })
    })
}

/// Hashes a pack, and each of its data fragments.
fn hash_in_order(data: &[DataFragment]) -> Result<(ContentHash, Vec<ContentHash>), ErasureError> {
    let mut pack = Blake3::default();
    let mut checksums = Vec::with_capacity(data.len());
    let mut buffer = PageBuffer::new(4 * WINDOW);
    for fragment in data {
        let mut hasher = Blake3::default();
        for window in windows(fragment.bytes, buffer.len()) {
            let buffer = &mut buffer[..window.len];
            fragment.read_at(window.offset, buffer)?;
            hasher.update(buffer);
            pack.update(&buffer[..fragment.of_pack(window.offset, window.len)]);
        }
        checksums.push(hasher.finish());
    }
    Ok((pack.finish(), checksums))
}

fn hash_all(pack: &dyn BlobReader, meter: &Meter) -> Result<ContentHash, ErasureError> {
    let mut hasher = Blake3::default();
    let mut buffer = PageBuffer::new(4 * WINDOW);
    for window in windows(pack.bytes(), buffer.len()) {
        let buffer = &mut buffer[..window.len];
        pack.read_at(window.offset, buffer)?;
        hasher.update(buffer);
        meter.add(window.len as u64);
    }
    Ok(hasher.finish())
}

fn encode_columns(
    data: &[DataFragment],
    form: CodedForm,
    blobs: &Arc<dyn BlobStore>,
    meter: &Meter,
) -> Result<Vec<Staged>, ErasureError> {
    let Shape { k, m } = form.shape;
    let mut sinks = Sinks::stage(blobs, usize::from(m))?;
    let mut encoder = ReedSolomonEncoder::new(k.into(), m.into(), WINDOW)?;
    let mut buffer = PageBuffer::new(WINDOW);
    for window in windows(form.fragment_bytes, WINDOW) {
        encoder.reset(k.into(), m.into(), window.len)?;
        for fragment in data {
            let buffer = &mut buffer[..window.len];
            fragment.read_at(window.offset, buffer)?;
            encoder.add_original_shard(buffer)?;
        }
        let result = encoder.encode()?;
        for (sink, column) in sinks.writers.iter_mut().zip(result.recovery_iter()) {
            sink.write(column)?;
        }
        meter.add(window.len as u64 * u64::from(k));
    }
    Ok(sinks.finish()?)
}

/// Rebuilds the pieces `wanted` from at least k others, in the order of `wanted`, staged. They are
/// unverified until their hashes are compared with the plan.
pub fn rebuild(
    pieces: &[(u8, Arc<dyn BlobReader>)],
    form: CodedForm,
    wanted: &[u8],
    blobs: &Arc<dyn BlobStore>,
    meter: &Meter,
) -> Result<Vec<Staged>, ErasureError> {
    let Shape { k, m } = form.shape;
    let mut sources = pieces.to_vec();
    // Data first: fragments that are not missing need not be computed.
    sources.sort_by_key(|(index, _)| *index);
    sources.dedup_by_key(|(index, _)| *index);
    sources.truncate(k.into());
    if sources.len() < usize::from(k) {
        return Err(ErasureError::TooFew { found: sources.len(), needed: k.into() });
    }
    let mut sinks = Sinks::stage(blobs, wanted.len())?;
    let mut columns = Columns::new(sources, form)?;
    let parity_wanted = wanted.iter().any(|index| *index >= k);
    let mut encoder = ReedSolomonEncoder::new(k.into(), m.into(), WINDOW)?;
    for window in windows(form.fragment_bytes, WINDOW) {
        let data = columns.read(window)?;
        let coded = match parity_wanted {
            true => Some(data.encode(&mut encoder)?),
            false => None,
        };
        for (sink, index) in sinks.writers.iter_mut().zip(wanted) {
            sink.write(match &coded {
                Some(coded) if *index >= k => parity(coded, form.shape, *index)?,
                _ => data.column(*index),
            })?;
        }
        meter.add(window.len as u64 * u64::from(k));
    }
    Ok(sinks.finish()?)
}

/// A window of one parity fragment.
fn parity<'a>(
    coded: &'a EncoderResult<'_>,
    Shape { k, m }: Shape,
    index: u8,
) -> Result<&'a [u8], ErasureError> {
    let index = usize::from(index - k);
    Ok(coded.recovery(index).ok_or(reed_solomon_simd::Error::InvalidRecoveryShardIndex {
        recovery_count: m.into(),
        index,
    })?)
}

/// Windows of the k pieces at hand, and the decoder for the missing data.
struct Columns {
    sources: Vec<(u8, Arc<dyn BlobReader>)>,
    shape: Shape,
    /// Whether all data is among the sources, so that nothing has to be decoded.
    all_data_given: bool,
    decoder: ReedSolomonDecoder,
    buffers: Vec<PageBuffer>,
}

/// One window of all data.
struct Data<'a> {
    columns: &'a [PageBuffer],
    given: &'a [(u8, Arc<dyn BlobReader>)],
    shape: Shape,
    len: usize,
    restored: Option<DecoderResult<'a>>,
}

impl Columns {
    fn new(sources: Vec<(u8, Arc<dyn BlobReader>)>, form: CodedForm) -> Result<Self, ErasureError> {
        let Shape { k, m } = form.shape;
        let all_data_given = sources.iter().all(|(index, _)| *index < k);
        Ok(Self {
            sources,
            shape: form.shape,
            all_data_given,
            decoder: ReedSolomonDecoder::new(k.into(), m.into(), WINDOW)?,
            buffers: (0..k).map(|_| PageBuffer::new(WINDOW)).collect(),
        })
    }

    /// Reads one window of every piece, and restores the missing data.
    fn read(&mut self, window: Window) -> Result<Data<'_>, ErasureError> {
        let Shape { k, m } = self.shape;
        self.decoder.reset(k.into(), m.into(), window.len)?;
        for ((index, source), column) in self.sources.iter().zip(&mut self.buffers) {
            let column = &mut column[..window.len];
            source.read_at(window.offset, column)?;
            if self.all_data_given {
                continue;
            }
            if *index < k {
                self.decoder.add_original_shard(usize::from(*index), column)?;
            } else {
                self.decoder.add_recovery_shard(usize::from(*index - k), column)?;
            }
        }
        let restored = if self.all_data_given { None } else { Some(self.decoder.decode()?) };
        Ok(Data {
            columns: &self.buffers,
            given: &self.sources,
            shape: self.shape,
            len: window.len,
            restored,
        })
    }
}

impl Data<'_> {
    /// The window of one data fragment.
    fn column(&self, index: u8) -> &[u8] {
        let given = self.given.iter().position(|(given, _)| *given == index);
        let restored = || self.restored.as_ref()?.restored_original(usize::from(index));
        given
            .map(|at| &self.columns[at][..self.len])
            .or_else(restored)
            .expect("every data fragment is given or was restored")
    }

    /// The window of all parity.
    fn encode<'e>(
        &self,
        encoder: &'e mut ReedSolomonEncoder,
    ) -> Result<EncoderResult<'e>, ErasureError> {
        let Shape { k, m } = self.shape;
        encoder.reset(k.into(), m.into(), self.len)?;
        for index in 0..k {
            encoder.add_original_shard(self.column(index))?;
        }
        Ok(encoder.encode()?)
    }
}

/// Several blobs that are written in parallel; all or none of them are kept.
struct Sinks<'a> {
    blobs: &'a Arc<dyn BlobStore>,
    writers: Vec<Box<dyn BlobWriter>>,
}

impl<'a> Sinks<'a> {
    fn stage(blobs: &'a Arc<dyn BlobStore>, count: usize) -> Result<Self, StoreError> {
        let writers = (0..count).map(|_| blobs.stage()).collect::<Result<_, _>>()?;
        Ok(Self { blobs, writers })
    }

    fn finish(self) -> Result<Vec<Staged>, StoreError> {
        let Self { blobs, writers } = self;
        writers.into_iter().map(|writer| Ok(Staged::new(blobs, writer.finish()?))).collect()
    }
}

#[derive(Clone, Copy)]
struct Window {
    offset: u64,
    len: usize,
}

fn windows(bytes: u64, size: usize) -> impl Iterator<Item = Window> {
    (0..bytes.div_ceil(size as u64)).map(move |n| {
        let offset = n * size as u64;
        Window { offset, len: (bytes - offset).min(size as u64) as usize }
    })
}
