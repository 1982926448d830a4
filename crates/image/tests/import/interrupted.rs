//! Imports and uploads that end in the middle, and go on.

use std::sync::Arc;
use std::time::Duration;

use bessemer_image::Error;
use bessemer_image::import::{Import, Report, Source, import};
use bessemer_image::store::ImageStore;

use crate::support::{Bench, assemble, raw_disk};
use crate::web::{Answer, offered};

#[tokio::test]
async fn an_import_goes_on_after_the_last_byte_that_arrived() {
    let bench = Bench::new();
    let answers = [Answer::Hang(5 << 20), Answer::Good];
    let (server, request) = offered(&bench, &answers).await;
    let (arrived, mut arrivals) = tokio::sync::watch::channel(false);
    let report: Report = Arc::new(move |progress| {
        if let bessemer_image::import::Progress::Fetching { done, .. } = progress {
            arrived.send_replace(done == 5 << 20);
        }
    });
    tokio::select! {
        ended = import(&bench.store, &request, report) => panic!("{ended:?}"),
        _ = arrivals.wait_for(|arrived| *arrived) => {}
    }
    // As after a kill: another process, which is told what goes on.
    let store = ImageStore::open(&bench.path("store")).unwrap();
    store.sweep(|name| name == "debian-12").unwrap();
    let image = loop {
        // A thread of the first one may still be at work.
        match import(&store, &request, Arc::new(|_| {})).await {
            Err(Error::Busy) => tokio::task::yield_now().await,
            image => break image.unwrap(),
        }
    };
    assert!(assemble(&image) == *server.content.lock().unwrap());
    let second = &server.requests()[1];
    assert!(second.contains("range: bytes="), "{second}");
    assert!(!second.contains("range: bytes=0-"), "{second}");
}

#[tokio::test]
async fn what_no_import_goes_on_with_is_swept_away() {
    let bench = Bench::new();
    let (_server, request) = offered(&bench, &[Answer::Hang(5 << 20)]).await;
    for _ in 0..2 {
        let import = bench.import(&request);
        assert!(
            tokio::time::timeout(Duration::from_millis(300), import)
                .await
                .is_err()
        );
    }
    assert!(!bench.left().is_empty());
    bench.store.sweep(|_| true).unwrap();
    assert!(!bench.left().is_empty());
    // A folder that was being made into an image when the power went.
    std::fs::create_dir(bench.path("store/.bessemer-abc")).unwrap();
    bench.store.sweep(|_| false).unwrap();
    assert_eq!(bench.left(), [""; 0]);

    let import = bench.import(&request);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), import)
            .await
            .is_err()
    );
    bench.store.remove("debian-12").unwrap();
    assert_eq!(bench.left(), [""; 0]);
}

#[tokio::test]
async fn an_upload_arrives_in_pieces_and_is_imported_like_any_other() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    let size = content.len() as u64;
    let mut upload = bench.store.upload("debian-12", size, 0).unwrap();
    upload.append(&content[..1000]).unwrap();
    assert!(matches!(
        bench.store.upload("debian-12", size, 1000),
        Err(Error::Busy)
    ));
    drop(upload);
    assert_eq!(bench.store.uploaded("debian-12"), 1000);
    for wrong in [0, 999, 1001, u64::MAX] {
        assert!(matches!(
            bench.store.upload("debian-12", size, wrong),
            Err(Error::WrongOffset { expected: 1000, .. })
        ));
    }
    let mut upload = bench.store.upload("debian-12", size, 1000).unwrap();
    upload.append(&content[1000..]).unwrap();
    assert!(upload.is_complete());
    assert!(matches!(upload.append(b"x"), Err(Error::TooLarge { .. })));
    drop(upload);
    let request = Import {
        source: Source::Uploaded,
        ..bench.request(&raw)
    };
    let image = bench.import(&request).await.unwrap();
    assert!(assemble(&image) == content);
    bench.store.remove("debian-12").unwrap();

    // What arrived damaged is not kept to be added to.
    let mut upload = bench.store.upload("debian-12", size, 0).unwrap();
    upload.append(&vec![7; content.len()]).unwrap();
    drop(upload);
    let error = bench.refused(&request).await;
    assert!(matches!(error, Error::WrongChecksum { .. }), "{error}");
    assert_eq!(bench.store.uploaded("debian-12"), 0);
}
