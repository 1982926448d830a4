//! An image with a partition table, data and holes, and its block map.

use bessemer_image::chunk::Packer;
use bessemer_image::digest::Blake3Digest;
use bessemer_image::map::{BlockMap, Chunk};
use bytes::Bytes;

/// Bytes of the image.
pub(crate) const SIZE: usize = 8 << 20;

/// Bytes of a chunk.
const CHUNK: usize = 256 << 10;

/// The image: a GPT with one partition, and data in about every second chunk.
pub(crate) fn bytes() -> Vec<u8> {
    let mut image = vec![0; SIZE];
    for (number, chunk) in image.chunks_mut(CHUNK).enumerate().skip(1).step_by(2) {
        for (at, byte) in chunk.iter_mut().enumerate() {
            *byte = (at * 31 + number) as u8;
        }
    }
    write_partition_table(&mut image);
    image
}

/// A chunk as it is stored and sent.
pub(crate) fn pack(data: &[u8]) -> Bytes {
    Packer::new().unwrap().pack(data).unwrap().bytes
}

/// The map of an image: every chunk that is not all zero.
pub(crate) fn map(image: &[u8]) -> BlockMap {
    let chunks = image
        .chunks(CHUNK)
        .enumerate()
        .filter(|(_, data)| data.iter().any(|byte| *byte != 0))
        .map(|(number, data)| {
            let stored = pack(data);
            Chunk {
                offset: (number * CHUNK) as u64,
                length: data.len() as u32,
                stored_length: stored.len() as u32,
                blake3: Blake3Digest::of(&stored),
            }
        })
        .collect();
    BlockMap::new(image.len() as u64, CHUNK as u32, chunks).unwrap()
}

/// UEFI Specification 2.10, 5.3: protective MBR, primary header, 128 entries; the backup at the
/// end of the image.
fn write_partition_table(image: &mut [u8]) {
    const ENTRIES: usize = 128 * 128;
    let blocks = (image.len() / 512) as u64;
    image[446..462].copy_from_slice(&[
        0, 0, 2, 0, 0xee, 255, 255, 255, 1, 0, 0, 0, 255, 255, 255, 255,
    ]);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut entries = vec![0; ENTRIES];
    let linux = uuid::Uuid::from_u128(0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4);
    entries[..16].copy_from_slice(&linux.to_bytes_le());
    entries[16] = 7;
    entries[32..40].copy_from_slice(&2048_u64.to_le_bytes());
    entries[40..48].copy_from_slice(&(blocks - 2049).to_le_bytes());
    image[1024..1024 + ENTRIES].copy_from_slice(&entries);
    let backup = image.len() - 512 - ENTRIES;
    image[backup..backup + ENTRIES].copy_from_slice(&entries);
    for (own, other, first_entry) in [(1, blocks - 1, 2), (blocks - 1, 1, blocks - 33)] {
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12] = 92;
        header[24..32].copy_from_slice(&own.to_le_bytes());
        header[32..40].copy_from_slice(&other.to_le_bytes());
        header[40..48].copy_from_slice(&34_u64.to_le_bytes());
        header[48..56].copy_from_slice(&(blocks - 34).to_le_bytes());
        header[56] = 9;
        header[72..80].copy_from_slice(&u64::to_le_bytes(first_entry));
        header[80..84].copy_from_slice(&128_u32.to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let checksum = crc32fast::hash(&header).to_le_bytes();
        header[16..20].copy_from_slice(&checksum);
        let at = own as usize * 512;
        image[at..at + 92].copy_from_slice(&header);
    }
}

/// What the agent takes for a config drive: an ISO 9660 volume descriptor, and some text.
pub(crate) fn config_drive() -> Vec<u8> {
    let mut iso = vec![0; 400 << 10];
    iso[32769..32774].copy_from_slice(b"CD001");
    iso[100_000..100_010].copy_from_slice(b"user data!");
    iso
}
