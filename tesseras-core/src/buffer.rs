//! Buffers for bytes in transit between a disk and anything else, aligned to page boundaries.
//!
//! An allocator's large blocks start 16 bytes after a page boundary, or anywhere. Many processors
//! copy long blocks with one instruction (`rep movsb`, which Linux uses for files), and that
//! becomes up to ten times slower if the target is a few bytes further into its page than the
//! source. Files start at page boundaries in the page cache; so do these buffers.

use std::ops::{Deref, DerefMut};

/// The page size of common processors, in bytes. Where pages are larger, this alignment still
/// copies fast.
const PAGE: usize = 4096;

/// A buffer that begins at a page boundary.
#[derive(Debug)]
pub struct PageBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let memory = vec![0; len + PAGE - 1];
        let start = memory.as_ptr().align_offset(PAGE);
        // If the alignment of the address is unknown, any start is correct.
        Self { memory, start: start.min(PAGE - 1), len }
    }

    /// Restores the original length; the content is unspecified.
    pub fn restore(&mut self) {
        self.len = self.memory.len() + 1 - PAGE;
    }

    /// Keeps at most the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_any_length_begin_at_a_page() {
        for len in [0, 1, 4095, 4096, 65_536, 300_000, 5 << 20] {
            let mut buffer = PageBuffer::new(len);
            assert_eq!(buffer.as_ptr() as usize % PAGE, 0);
            assert!(*buffer == vec![0; len]);
            buffer.fill(7);
            let moved = buffer;
            assert_eq!(moved.as_ptr() as usize % PAGE, 0, "also when it has moved");
            assert!(*moved == vec![7; len]);
        }
    }

    #[test]
    fn a_shortened_buffer_keeps_its_beginning() {
        let mut buffer = PageBuffer::new(10);
        buffer.copy_from_slice(b"0123456789");
        buffer.truncate(20);
        assert_eq!(&*buffer, b"0123456789");
        buffer.truncate(3);
        assert_eq!(buffer.as_ref(), b"012");
        buffer.restore();
        assert_eq!(buffer.as_ref(), b"0123456789");
    }
}
