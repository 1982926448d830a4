//! An image on a dirty disk is the image, whatever was there before.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bessemer_image::Error;
use bessemer_image::chunk::Packer;
use bessemer_image::digest::Blake3Digest;
use bessemer_image::map::{BlockMap, CHUNK_SIZE, Chunk};
use bessemer_image::write::{Disk, Target, Writer, Zeroing};
use bytes::Bytes;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;

const BLOCK: usize = 4096;

/// A file of `size` bytes, none of which is zero.
fn dirty_disk(path: &Path, size: usize) -> Disk {
    std::fs::write(path, vec![0xaa; size]).unwrap();
    Disk::open(path).unwrap()
}

/// A map of `image` with a chunk for every run of blocks that are not zero.
fn map_of(image: &[u8], chunk_size: u32) -> Arc<BlockMap> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for (index, block) in image.chunks(BLOCK).enumerate() {
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        let offset = (index * BLOCK) as u64;
        let length = block.len() as u32;
        match chunks.last_mut() {
            Some(last) if last.range().end == offset && last.length + length <= chunk_size => {
                last.length += length;
            }
            _ => chunks.push(Chunk {
                offset,
                length,
                stored_length: 1,
                blake3: Blake3Digest::of(b""),
            }),
        }
    }
    for chunk in &mut chunks {
        let packed = Packer::new().unwrap().pack(slice(image, chunk)).unwrap();
        chunk.stored_length = packed.bytes.len() as u32;
        chunk.blake3 = packed.blake3;
    }
    Arc::new(BlockMap::new(image.len() as u64, chunk_size, chunks).unwrap())
}

fn slice<'a>(image: &'a [u8], chunk: &Chunk) -> &'a [u8] {
    &image[chunk.range().start as usize..chunk.range().end as usize]
}

/// A chunk as it is stored.
fn stored(image: &[u8], chunk: &Chunk) -> Bytes {
    let packed = Packer::new().unwrap().pack(slice(image, chunk)).unwrap();
    packed.bytes
}

fn write_all(image: &[u8], map: &Arc<BlockMap>, writer: &Writer<impl Target + 'static>) {
    while let Some(run) = writer.next_missing(1 << 20) {
        for index in run {
            writer
                .accept(index, &stored(image, &map.chunks()[index]))
                .unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_sparse_image_arrives_exactly(
        blocks in prop::collection::vec(prop::option::weighted(0.4, 1u8..=255), 1..80),
        tail in 0usize..8,
        rest in 0usize..40,
        everything in any::<bool>(),
        chunk_blocks in 1u32..6,
        lost in prop::collection::btree_set(0usize..80, 0..20),
        run_bytes in 0u64..1000,
    ) {
        let mut image: Vec<u8> =
            blocks.iter().flat_map(|fill| vec![fill.unwrap_or(0); BLOCK]).collect();
        // Images need not end at a multiple of the alignment, only of a sector.
        image.truncate(image.len() - tail * 512);
        let map = map_of(&image, chunk_blocks * BLOCK as u32);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let disk = dirty_disk(&path, image.len() + rest * 512);
        let zeroing = if everything { Zeroing::HolesAndRest } else { Zeroing::Holes };
        let writer = Writer::start(map.clone(), disk, zeroing).unwrap();
        let mut lost: BTreeSet<usize> = lost;
        while let Some(run) = writer.next_missing(run_bytes) {
            for index in run {
                if lost.remove(&index) {
                    writer.give_back(index);
                } else {
                    writer.accept(index, &stored(&image, &map.chunks()[index])).unwrap();
                }
            }
        }
        for sample in writer.finish().unwrap().samples {
            let range = sample.range.start as usize..sample.range.end as usize;
            prop_assert_eq!(Blake3Digest::of(&image[range]), sample.blake3);
        }

        let written = std::fs::read(&path).unwrap();
        prop_assert!(written[..image.len()] == image[..], "the image differs");
        let beyond = if everything { 0 } else { 0xaa };
        prop_assert!(written[image.len()..].iter().all(|byte| *byte == beyond), "the rest differs");
    }
}

#[test]
fn random_data_on_a_disk_full_of_random_data() {
    let mut random = File::open("/dev/urandom").unwrap();
    let mut image = vec![0; 24 << 20];
    for start in [0, 5 << 20, 11 << 20, 23 << 20] {
        random
            .read_exact(&mut image[start..start + 900_000])
            .unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let mut former = vec![0; 32 << 20];
    random.read_exact(&mut former).unwrap();
    std::fs::write(&path, &former).unwrap();

    let map = map_of(&image, CHUNK_SIZE);
    let writer = Writer::start(map.clone(), Disk::open(&path).unwrap(), Zeroing::Holes).unwrap();
    write_all(&image, &map, &writer);
    let progress = writer.progress();
    assert_eq!(progress.to_write, map.data_bytes());
    assert_eq!(progress.to_write + progress.to_zero, map.virtual_size());
    writer.finish().unwrap();
    let written = std::fs::read(&path).unwrap();
    assert!(written[..image.len()] == image[..]);
    assert!(written[image.len()..] == former[image.len()..]);
}

#[test]
fn a_damaged_chunk_is_refused_named_and_fetched_again() {
    let image = vec![7; 3 * BLOCK];
    let map = map_of(&image, BLOCK as u32);
    let folder = tempfile::tempdir().unwrap();
    let disk = dirty_disk(&folder.path().join("disk"), image.len());
    let writer = Writer::start(map.clone(), disk, Zeroing::Holes).unwrap();
    assert_eq!(writer.next_missing(0), Some(0..1));
    let good = stored(&image, &map.chunks()[0]);
    let mut flipped = good.to_vec();
    flipped[good.len() / 2] ^= 1;
    // What is not compressed has the right content and is still not what the map names.
    for wrong in [&flipped, &good[1..], &[], &[7; BLOCK]] {
        assert!(matches!(
            writer.accept(0, wrong),
            Err(Error::ChunkDamaged(0))
        ));
    }
    assert!(matches!(
        writer.accept(3, &good),
        Err(Error::NoSuchChunk(3))
    ));
    assert_eq!(writer.next_missing(0), Some(0..1));
    writer.give_back(0);
    write_all(&image, &map, &writer);
    // Once more, as after a retry whose first answer was only late.
    writer.accept(0, &good).unwrap();
    let samples = writer.finish().unwrap().samples;
    assert_eq!(samples.len(), 3);
    assert_eq!(std::fs::read(folder.path().join("disk")).unwrap(), image);
}

#[test]
fn a_chunk_that_does_not_unpack_is_an_error_of_its_own() {
    let image = vec![7; BLOCK];
    let garbage = vec![9; 100];
    let chunk = Chunk {
        offset: 0,
        length: BLOCK as u32,
        stored_length: 100,
        blake3: Blake3Digest::of(&garbage),
    };
    let map = Arc::new(BlockMap::new(image.len() as u64, CHUNK_SIZE, vec![chunk]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let disk = dirty_disk(&folder.path().join("disk"), image.len());
    let writer = Writer::start(map, disk, Zeroing::Holes).unwrap();
    assert!(matches!(
        writer.accept(0, &garbage),
        Err(Error::ChunkMalformed(0))
    ));
    drop(writer);
    let written = std::fs::read(folder.path().join("disk")).unwrap();
    assert!(written.iter().all(|byte| *byte == 0xaa));
}

#[test]
fn a_writer_that_is_stopped_writes_no_more() {
    let image = vec![7; 64 * BLOCK];
    let map = map_of(&image, BLOCK as u32);
    let folder = tempfile::tempdir().unwrap();
    let disk = dirty_disk(&folder.path().join("disk"), image.len());
    let writer = Writer::start(map.clone(), disk, Zeroing::Holes).unwrap();
    writer.stop();
    let stopped = (0..64).find_map(|index| {
        let stored = stored(&image, &map.chunks()[index]);
        writer.accept(index, &stored).err()
    });
    assert!(matches!(stopped, Some(Error::WriterStopped)), "{stopped:?}");
    assert!(matches!(writer.finish(), Err(Error::WriterStopped)));
}

#[test]
fn an_unfinished_image_is_no_success() {
    let image = vec![7; 3 * BLOCK];
    let map = map_of(&image, BLOCK as u32);
    let folder = tempfile::tempdir().unwrap();
    let disk = dirty_disk(&folder.path().join("disk"), image.len());
    let writer = Writer::start(map.clone(), disk, Zeroing::Holes).unwrap();
    writer.accept(1, &stored(&image, &map.chunks()[1])).unwrap();
    assert!(matches!(
        writer.finish(),
        Err(Error::Incomplete {
            missing: 2,
            total: 3
        })
    ));
}

#[test]
fn an_image_larger_than_the_disk_touches_nothing() {
    let image = vec![0; 4 * BLOCK];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let disk = dirty_disk(&path, 3 * BLOCK);
    let error = Writer::start(map_of(&image, CHUNK_SIZE), disk, Zeroing::Holes).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLargeForTarget {
                needed: 16384,
                available: 12288
            }
        ),
        "{error}"
    );
    assert!(
        std::fs::read(&path)
            .unwrap()
            .iter()
            .all(|byte| *byte == 0xaa)
    );
}

#[test]
fn a_failing_disk_is_the_reason_that_finish_gives() {
    let image = vec![7; 64 * BLOCK];
    let map = map_of(&image, BLOCK as u32);
    // A disk that the kernel refuses to write to: a sealed file in memory.
    let name = c"disk";
    let memory = memfd_create(name, MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let memory = File::from(memory);
    memory.write_all_at(&vec![0xaa; image.len()], 0).unwrap();
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let disk = Disk::open(Path::new(&path)).unwrap();

    let writer = Writer::start(map.clone(), disk, Zeroing::Holes).unwrap();
    let stopped = std::iter::from_fn(|| writer.next_missing(0)).find_map(|run| {
        let stored = stored(&image, &map.chunks()[run.start]);
        writer.accept(run.start, &stored).err()
    });
    assert!(matches!(stopped, Some(Error::WriterStopped)));
    let error = writer.finish().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Disk {
                action: "write",
                ..
            }
        ),
        "{error}"
    );
}
