//! How a long piece of work tells somebody where it is.

/// Hears how far a piece of work is. Called on the working thread, so it should return at once.
pub trait Progress {
    /// The work begins: so many bytes of so many files are ahead. Bytes may turn out to be fewer
    /// (a file is skipped) or more (a file grew).
    fn begin(&mut self, bytes: u64, files: usize) {
        let _ = (bytes, files);
    }

    /// A file's turn has come.
    fn file(&mut self, path: &str) {
        let _ = path;
    }

    /// So many more bytes are done.
    fn advance(&mut self, bytes: u64);
}

/// Hears and says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&mut self, _bytes: u64) {}
}
