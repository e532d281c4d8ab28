//! The bare operations on one machine: two digests, a copy, a code.

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use sha2::Digest as _;
use tesseras_core::buffer::PageBuffer;
use tesseras_core::code::Shape;
use tesseras_replication::erasure::WINDOW;

use crate::failure::Result;
use crate::scene::Noise;

const BUFFER: usize = 256 * 1024;

/// The files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Reads every file of a folder, one after another.
fn read_all(folder: &Path, mut sink: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = PageBuffer::new(BUFFER);
    for path in files(folder)? {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => sink(&buffer[..n]),
            }
        }
    }
    Ok(())
}

/// BLAKE3 of everything on one thread, SHA-256 on another, each with its own reads.
pub fn digest(folder: &Path) -> Result<()> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut sha256 = sha2::Sha256::new();
            read_all(folder, |bytes| sha256.update(bytes))?;
            black_box(sha256.finalize());
            Ok(())
        });
        let mut blake3 = blake3::Hasher::new();
        read_all(folder, |bytes| {
            blake3.update(bytes);
        })?;
        black_box(blake3.finalize());
        other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Copies every file, and syncs each and the folder.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut buffer = PageBuffer::new(BUFFER);
    for path in files(from)? {
        let mut source = File::open(&path)?;
        let mut copy = File::create(to.join(path.file_name().ok_or("a file has a name")?))?;
        loop {
            match source.read(&mut buffer)? {
                0 => break,
                n => copy.write_all(&buffer[..n])?,
            }
        }
        copy.sync_all()?;
    }
    Ok(File::open(to)?.sync_all()?)
}

/// How many windows code `bytes` bytes.
fn windows(shape: Shape, bytes: u64) -> u64 {
    bytes.div_ceil(u64::from(shape.k) * WINDOW as u64)
}

fn columns(count: u8) -> Vec<Vec<u8>> {
    let mut noise = Noise::new(7);
    (0..count).map(|_| noise.take(WINDOW)).collect()
}

/// Computes parity of as many windows in memory as `bytes` bytes have.
pub fn encode(shape: Shape, bytes: u64) -> Result<()> {
    let data = columns(shape.k);
    let mut encoder = ReedSolomonEncoder::new(shape.k.into(), shape.m.into(), WINDOW)?;
    for _ in 0..windows(shape, bytes) {
        for column in &data {
            encoder.add_original_shard(column)?;
        }
        black_box(encoder.encode()?.recovery_iter().last());
    }
    Ok(())
}

/// Restores the first m data columns from the other data and all parity, as many windows in
/// memory as `bytes` bytes have.
pub fn rebuild(shape: Shape, bytes: u64) -> Result<()> {
    let (k, m) = (usize::from(shape.k), usize::from(shape.m));
    let data = columns(shape.k);
    let parity = reed_solomon_simd::encode(k, m, &data)?;
    let mut decoder = ReedSolomonDecoder::new(k, m, WINDOW)?;
    for _ in 0..windows(shape, bytes) {
        for (index, column) in data.iter().enumerate().skip(m) {
            decoder.add_original_shard(index, column)?;
        }
        for (index, column) in parity.iter().enumerate() {
            decoder.add_recovery_shard(index, column)?;
        }
        black_box(decoder.decode()?.restored_original_iter().last());
    }
    Ok(())
}
