//! Chunks are there once, as long as an image needs them, and no longer.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use bessemer_image::import::{Import, Progress, Report, import};

use crate::support::{Bench, assemble, raw_disk};

#[tokio::test]
async fn images_share_the_chunks_that_they_have_in_common() {
    let bench = Bench::new();
    let (raw, other) = (bench.path("disk.img"), bench.path("other.img"));
    raw_disk(&raw);
    std::fs::copy(&raw, &other).unwrap();
    let file = File::options().write(true).open(&other).unwrap();
    file.write_all_at(b"something else", 10 << 20).unwrap();
    let first = bench.import(&bench.request(&raw)).await.unwrap();
    let chunks = || {
        let left = bench.left();
        left.iter().filter(|path| path.contains(".chunks/")).count()
    };
    let alone = chunks();
    let request = Import {
        name: "second".into(),
        ..bench.request(&other)
    };
    let second = bench.import(&request).await.unwrap();
    assert_eq!(chunks(), alone + 1, "{:?}", bench.left());

    // What only one of them has goes with it, and nothing else.
    bench.store.remove("debian-12").unwrap();
    assert_eq!(chunks(), alone);
    assert!(assemble(&second) == std::fs::read(&other).unwrap());
    assert!((0..first.map().chunks().len()).any(|index| first.read_chunk(index).is_err()));
    bench.store.remove("second").unwrap();
    assert_eq!(bench.left(), [""; 0]);
}

#[tokio::test]
async fn chunks_are_not_collected_while_an_import_adds_them() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    // In the middle of storing, all chunks so far are garbage by every record there is.
    let (store, seen) = (bench.store.clone(), Arc::new(Mutex::new(Vec::new())));
    let collections = seen.clone();
    let report: Report = Arc::new(move |progress| {
        if let Progress::Storing { .. } = progress {
            let collected = store.collect_garbage().unwrap();
            collections.lock().unwrap().push(collected);
        }
    });
    let request = bench.request(&raw);
    let image = import(&bench.store, &request, report).await.unwrap();
    assert!(!seen.lock().unwrap().is_empty());
    assert!(seen.lock().unwrap().iter().all(Option::is_none));
    assert!(assemble(&image) == std::fs::read(&raw).unwrap());

    // What a killed import leaves has no record: chunks, and files that never became any.
    let orphan = bench.path("store/.chunks/ab");
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join(format!("ab{}", "0".repeat(62))), b"chunk").unwrap();
    std::fs::write(orphan.join(".new-x"), b"half").unwrap();
    let collected = bench.store.collect_garbage().unwrap().unwrap();
    assert_eq!((collected.chunks, collected.bytes), (2, 9));
    assert!(assemble(&image) == std::fs::read(&raw).unwrap());
    // A chunk that a power cut emptied is not taken for the real one.
    let damaged = bench
        .left()
        .into_iter()
        .find(|path| path.contains(".chunks/"));
    std::fs::write(damaged.unwrap(), b"").unwrap();
    let again = Import {
        name: "again".into(),
        ..request
    };
    let again = bench.import(&again).await.unwrap();
    assert!(assemble(&again) == std::fs::read(&raw).unwrap());
}

#[tokio::test]
async fn nothing_is_collected_while_a_record_cannot_be_read() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    bench.import(&bench.request(&raw)).await.unwrap();
    let before = bench.left();
    std::fs::write(bench.path("store/debian-12/image.json"), b"{").unwrap();
    assert!(bench.store.collect_garbage().is_err());
    assert_eq!(bench.left(), before);
}
