//! Memory that `O_DIRECT` can write from, in a bounded number of pieces.

/// Alignment of buffers in memory; the largest logical block size in use.
pub(super) const MEMORY_ALIGNMENT: usize = 4096;

/// Bytes that start at a multiple of [`MEMORY_ALIGNMENT`].
#[derive(Debug)]
pub(super) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// A buffer of `length` zeros.
    pub(super) fn new(length: usize) -> Self {
        let memory = vec![0; length + MEMORY_ALIGNMENT];
        let start = memory.as_ptr().align_offset(MEMORY_ALIGNMENT);
        Self {
            memory,
            start,
            length,
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}
