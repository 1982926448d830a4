//! The block map: which parts of an image hold data, and what their hashes are.
//!
//! It is what lets a 10 GB image with 600 MB of data cost 600 MB of network and disk, and what lets
//! every piece be verified on its own, fetched in any order, and fetched again after a broken
//! connection. It binds exactly what is written: its hashes are of the chunks as they are sent, and
//! those unpack in one way only. Server and agent exchange it as JSON; a map that would make the writer touch
//! anything outside of the image cannot be built from any input.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::digest::Blake3Digest;
use crate::{Error, Result};

/// Chunks start at multiples of this many bytes, so that they can be written with `O_DIRECT` to
/// every disk (4Kn disks included).
pub const ALIGNMENT: u64 = 4096;

/// The size of chunks made by this crate: large enough that a request and a hash per chunk cost
/// nothing, small enough that one lost to a broken connection costs nothing either.
pub const CHUNK_SIZE: u32 = 1 << 20;

/// The largest chunk accepted from a peer, in bytes: bounds the memory of both ends.
pub const MAX_CHUNK_SIZE: u32 = 16 << 20;

/// The largest image accepted, in bytes (64 TiB).
pub const MAX_VIRTUAL_SIZE: u64 = 64 << 40;

/// A piece of an image that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Where it starts in the image, in bytes; a multiple of [`ALIGNMENT`].
    pub offset: u64,
    /// How long it is, in bytes; a multiple of [`ALIGNMENT`] unless it ends the image.
    pub length: u32,
    /// How many bytes it is stored and sent as: fewer than `length` if it is compressed, as many
    /// if it is as it is (see [`chunk`](crate::chunk)).
    pub stored_length: u32,
    /// The hash of it as it is stored and sent, which is also its name in the store.
    pub blake3: Blake3Digest,
}

impl Chunk {
    /// The bytes of the image that it covers.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.length)
    }

    /// Says whether `stored` is this chunk as it is stored and sent: right length, right hash.
    pub fn matches(&self, stored: &[u8]) -> bool {
        stored.len() == self.stored_length as usize && Blake3Digest::of(stored) == self.blake3
    }
}

/// An image as its size and its non-zero chunks, sorted and apart from each other. Everything that
/// no chunk covers is zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedBlockMap")]
pub struct BlockMap {
    virtual_size: u64,
    chunk_size: u32,
    chunks: Vec<Chunk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UncheckedBlockMap {
    virtual_size: u64,
    chunk_size: u32,
    chunks: Vec<Chunk>,
}

impl TryFrom<UncheckedBlockMap> for BlockMap {
    type Error = Error;

    fn try_from(map: UncheckedBlockMap) -> Result<Self> {
        Self::new(map.virtual_size, map.chunk_size, map.chunks)
    }
}

impl BlockMap {
    /// A map of an image of `virtual_size` bytes (a multiple of 512, at most
    /// [`MAX_VIRTUAL_SIZE`]), whose `chunks` are at most `chunk_size` bytes long (a multiple of
    /// [`ALIGNMENT`], at most [`MAX_CHUNK_SIZE`]), sorted, disjoint and inside of the image.
    pub fn new(virtual_size: u64, chunk_size: u32, chunks: Vec<Chunk>) -> Result<Self> {
        if virtual_size == 0 || !virtual_size.is_multiple_of(512) || virtual_size > MAX_VIRTUAL_SIZE
        {
            return Err(Error::Map(format!(
                "virtual_size {virtual_size} is out of range"
            )));
        }
        if !(ALIGNMENT as u32..=MAX_CHUNK_SIZE).contains(&chunk_size)
            || u64::from(chunk_size) % ALIGNMENT != 0
        {
            return Err(Error::Map(format!(
                "chunk_size {chunk_size} is out of range"
            )));
        }
        let mut end = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            end = Self::check_chunk(virtual_size, chunk_size, chunk, end)
                .map_err(|what| Error::Map(format!("chunk {index} {what}")))?;
        }
        Ok(Self {
            virtual_size,
            chunk_size,
            chunks,
        })
    }

    /// Checks one chunk against the end of the one before it, and gives its own end.
    fn check_chunk(
        virtual_size: u64,
        chunk_size: u32,
        chunk: &Chunk,
        previous_end: u64,
    ) -> Result<u64, &'static str> {
        let end = chunk
            .offset
            .checked_add(u64::from(chunk.length))
            .ok_or("ends nowhere")?;
        if chunk.length == 0 || chunk.length > chunk_size {
            return Err("has a wrong length");
        }
        if chunk.stored_length == 0 || chunk.stored_length > chunk.length {
            return Err("has a wrong stored length");
        }
        if end > virtual_size {
            return Err("lies outside of the image");
        }
        if chunk.offset < previous_end {
            return Err("overlaps or precedes the one before it");
        }
        if !chunk.offset.is_multiple_of(ALIGNMENT) || (end % ALIGNMENT != 0 && end != virtual_size)
        {
            return Err("is not aligned");
        }
        Ok(end)
    }

    /// Bytes of the image, zeros included: what a disk must have at least.
    pub fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    /// The length in bytes that no chunk exceeds.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The chunks, by rising offset. A chunk's index in here is its number on the wire.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Bytes that are sent: the chunks as they are stored.
    pub fn stored_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| u64::from(chunk.stored_length))
            .sum()
    }

    /// Bytes that the chunks hold: what is written.
    pub fn data_bytes(&self) -> u64 {
        self.chunks
            .iter()
            .map(|chunk| u64::from(chunk.length))
            .sum()
    }

    /// The ranges of the image that no chunk covers and that must read as zeros on the target,
    /// by rising offset, never empty. Together with the chunks they are exactly the image.
    pub fn holes(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let starts = std::iter::once(0).chain(self.chunks.iter().map(|chunk| chunk.range().end));
        let ends = self.chunks.iter().map(|chunk| chunk.offset);
        starts
            .zip(ends.chain(std::iter::once(self.virtual_size)))
            .map(|(start, end)| start..end)
            .filter(|hole| !hole.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: u64, length: u32) -> Chunk {
        Chunk {
            offset,
            length,
            stored_length: length.min(100),
            blake3: Blake3Digest::of(b"x"),
        }
    }

    #[test]
    fn chunks_and_holes_are_the_image() {
        let map = BlockMap::new(
            1 << 20,
            CHUNK_SIZE,
            vec![chunk(4096, 4096), chunk(8192, 8192), chunk(1 << 19, 4096)],
        )
        .unwrap();
        let holes: Vec<_> = map.holes().collect();
        assert_eq!(
            holes,
            vec![0..4096, 16384..1 << 19, (1 << 19) + 4096..1 << 20]
        );
        assert_eq!(map.data_bytes(), 16384);
        let empty = BlockMap::new(512, CHUNK_SIZE, vec![]).unwrap();
        assert_eq!(empty.holes().collect::<Vec<_>>(), vec![0..512]);
        let full = BlockMap::new(4608, CHUNK_SIZE, vec![chunk(0, 4608)]).unwrap();
        assert_eq!(full.holes().count(), 0);
    }

    #[test]
    fn wrong_maps_are_refused() {
        let refused = |size, chunk_size, chunks| {
            assert!(matches!(
                BlockMap::new(size, chunk_size, chunks),
                Err(Error::Map(_))
            ));
        };
        refused(0, CHUNK_SIZE, vec![]);
        refused(513, CHUNK_SIZE, vec![]);
        refused(u64::MAX - 511, CHUNK_SIZE, vec![]);
        refused(1 << 20, 0, vec![]);
        refused(1 << 20, 4097, vec![]);
        refused(1 << 20, MAX_CHUNK_SIZE * 2, vec![]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(0, 0)]);
        refused(1 << 20, 4096, vec![chunk(0, 8192)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(1 << 20, 4096)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(u64::MAX - 4095, 4096)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(512, 4096)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(0, 512)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(0, 8192), chunk(4096, 4096)]);
        refused(1 << 20, CHUNK_SIZE, vec![chunk(4096, 4096), chunk(0, 4096)]);
        for stored_length in [0, 4097] {
            let wrong = Chunk {
                stored_length,
                ..chunk(0, 4096)
            };
            refused(1 << 20, CHUNK_SIZE, vec![wrong]);
        }
    }

    #[test]
    fn the_wire_form_is_pinned_and_checked() {
        let map = BlockMap::new(8192, CHUNK_SIZE, vec![chunk(4096, 4096)]).unwrap();
        let text = serde_json::to_string(&map).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"virtual_size":8192,"chunk_size":1048576,"chunks":[{{"offset":4096,"length":4096,"stored_length":100,"blake3":"{}"}}]}}"#,
                Blake3Digest::of(b"x")
            )
        );
        assert_eq!(serde_json::from_str::<BlockMap>(&text).unwrap(), map);
        let outside = text.replace("8192", "4096");
        let error = serde_json::from_str::<BlockMap>(&outside)
            .unwrap_err()
            .to_string();
        assert!(error.contains("outside"), "{error}");
    }
}
