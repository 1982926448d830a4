//! Chunks as they are stored and sent.
//!
//! A chunk is compressed once, when its image is imported, and unpacked once, by the agent that
//! writes it; nobody in between looks into it. It is either one Zstandard frame (RFC 8878) without
//! dictionary, or, where that would not be smaller, its bytes as they are; its length tells which.
//!
//! Its hash is that of the bytes as stored. They are a third of what they unpack to, so hashing
//! them is cheaper, and the decoder sees no byte that was not checked before. A frame unpacks in
//! one way only, so the hash binds the content as well.

use bytes::Bytes;

use crate::digest::Blake3Digest;

/// How hard chunks are compressed: Zstandard's own default. Higher levels cost seconds for every
/// image at its import and gain a few percent; unpacking costs the same.
const LEVEL: i32 = 3;

/// A chunk in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The bytes to store and send; never more than were packed.
    pub bytes: Bytes,
    /// Their hash.
    pub blake3: Blake3Digest,
}

/// Packs chunks. Worth keeping between two.
pub struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    /// A packer.
    ///
    /// # Errors
    /// If there is no memory for one.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(zstd::bulk::Compressor::new(LEVEL)?))
    }

    /// Packs one chunk.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn pack(&mut self, data: &[u8]) -> std::io::Result<Packed> {
        let compressed = self.0.compress(data)?;
        let bytes = match compressed.len() < data.len() {
            true => Bytes::from(compressed),
            false => Bytes::copy_from_slice(data),
        };
        Ok(Packed {
            blake3: Blake3Digest::of(&bytes),
            bytes,
        })
    }
}

/// Unpacks chunks. Worth keeping between two.
pub struct Unpacker(zstd::bulk::Decompressor<'static>);

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Unpacker")
    }
}

impl Unpacker {
    /// An unpacker.
    ///
    /// # Errors
    /// If there is no memory for one.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }

    /// Unpacks `stored`, which has been compared with its hash, so that it fills `data` exactly.
    ///
    /// # Errors
    /// If it is not what [`Packer::pack`] makes of so many bytes.
    pub fn unpack(&mut self, stored: &[u8], data: &mut [u8]) -> std::io::Result<()> {
        if stored.len() == data.len() {
            data.copy_from_slice(stored);
            return Ok(());
        }
        match self.0.decompress_to_buffer(stored, data)? {
            length if length == data.len() => Ok(()),
            _ => Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(data: &[u8]) -> usize {
        let packed = Packer::new().unwrap().pack(data).unwrap();
        assert_eq!(packed.blake3, Blake3Digest::of(&packed.bytes));
        let mut back = vec![0; data.len()];
        let mut unpacker = Unpacker::new().unwrap();
        unpacker.unpack(&packed.bytes, &mut back).unwrap();
        assert_eq!(back, data);
        packed.bytes.len()
    }

    #[test]
    fn chunks_come_back_and_are_never_larger() {
        let text: Vec<u8> = (0..1 << 20).map(|at| (at / 100) as u8).collect();
        assert!(round_trip(&text) < text.len() / 20);
        // A xorshift generator's output does not compress.
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        assert_eq!(round_trip(&noise), noise.len());
    }

    #[test]
    fn what_unpacks_to_another_length_is_refused() {
        let packed = Packer::new().unwrap().pack(&[7; 8192]).unwrap();
        let mut unpacker = Unpacker::new().unwrap();
        for length in [4096, 8191, 8193, 1 << 20] {
            let mut data = vec![0; length];
            assert!(
                unpacker.unpack(&packed.bytes, &mut data).is_err(),
                "{length}"
            );
        }
        assert!(unpacker.unpack(b"not zstd", &mut [0; 4096]).is_err());
        assert!(unpacker.unpack(b"", &mut [0; 4096]).is_err());
    }
}
