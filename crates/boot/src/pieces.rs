//! Files that are put together from shared parts, and sent in parts.

use std::ops::Range;

use bytes::Bytes;

/// A file as pieces that stand one after the other. Most of them are shared between files, so that
/// a hundred machines booting at once cost one copy of what is the same for all.
///
/// The pieces may hold a secret: neither they nor their bytes belong into a log.
#[derive(Clone)]
pub struct Pieces {
    pieces: Vec<Bytes>,
    length: u64,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pieces")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Pieces {
    /// These pieces, one after the other.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let pieces: Vec<_> = pieces
            .into_iter()
            .filter(|piece| !piece.is_empty())
            .collect();
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces, length }
    }

    /// Bytes of the whole file: the `Content-Length`.
    #[expect(clippy::len_without_is_empty, reason = "a boot file is never empty")]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// The whole file.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// A part of the file, for HTTP range requests; what lies beyond the end is left out.
    pub fn range(&self, range: Range<u64>) -> Vec<Bytes> {
        let mut start = 0;
        let mut parts = Vec::new();
        for piece in &self.pieces {
            let end = start + piece.len() as u64;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                parts.push(piece.slice((from - start) as usize..(to - start) as usize));
            }
            start = end;
        }
        parts
    }
}
