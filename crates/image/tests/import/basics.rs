//! Files of every kind that is taken without unpacking, and of none.

use std::fs::File;

use bessemer_image::Error;
use bessemer_image::digest::{Checksum, Sha256Digest, Sha512Digest};
use bessemer_image::import::{ChecksumSource, Import, Limits, Source, scan};
use bessemer_image::store::ImageStore;
use sha2::{Digest, Sha512};

use crate::support::{Bench, SIZE, assemble, checksum, limits, raw_disk, run, text};

#[tokio::test]
async fn a_raw_image_is_its_chunks_and_zeros() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let image = bench.import(&bench.request(&raw)).await.unwrap();
    assert!(assemble(&image) == std::fs::read(&raw).unwrap());
    assert!(
        image.map().data_bytes() < 500_000,
        "{}",
        image.map().data_bytes()
    );
    assert!(
        image
            .map()
            .chunks()
            .iter()
            .any(|c| c.offset == 10 << 20 && c.length == 4096)
    );
    // Again from the disk, as after a restart.
    let again = ImageStore::open(&bench.path("store"))
        .unwrap()
        .image("debian-12")
        .unwrap();
    assert_eq!(
        (again.map(), again.checksum()),
        (image.map(), checksum(&raw))
    );
    assert_eq!(again.format(), "raw");
    let taken = bench.import(&bench.request(&raw)).await.unwrap_err();
    assert!(matches!(taken, Error::AlreadyStored(_)), "{taken}");

    bench.store.remove("debian-12").unwrap();
    bench.store.remove("debian-12").unwrap();
    assert_eq!(bench.left(), [""; 0]);
    assert!(image.read_chunk(0).is_err(), "its chunks are gone");
}

#[tokio::test]
async fn qcow2_gives_the_same_map_as_its_raw_disk() {
    let bench = Bench::new();
    let (raw, qcow2) = (bench.path("disk.img"), bench.path("disk.qcow2"));
    raw_disk(&raw);
    for options in [
        vec!["-c"],
        vec!["-o", "compat=0.10"],
        vec!["-o", "cluster_size=4k"],
    ] {
        let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2"];
        arguments.extend(options);
        arguments.extend([text(&raw), text(&qcow2)]);
        run("qemu-img", &arguments);
        let image = bench.import(&bench.request(&qcow2)).await.unwrap();
        let map = scan(&raw, &|_| Ok(()), |_, _| {}).unwrap();
        assert_eq!(**image.map(), map);
        assert!(assemble(&image) == std::fs::read(&raw).unwrap());
        let names = || std::fs::read_dir(bench.path("store/debian-12")).unwrap();
        assert_eq!(names().count(), 1, "{:?}", names().collect::<Vec<_>>());
        bench.store.remove("debian-12").unwrap();
    }
}

#[tokio::test]
async fn what_is_no_disk_image_is_refused_by_name() {
    let bench = Bench::new();
    assert!(
        bench
            .refused_content(b"")
            .await
            .contains("not a disk image")
    );
    assert!(
        bench
            .refused_content(b"hello\n")
            .await
            .contains("not a disk image: neither")
    );
    let mut mbr = vec![0; 1 << 20];
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert!(bench.refused_content(&mbr).await.contains("GPT"));

    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let whole = std::fs::read(&raw).unwrap();
    let cut = bench.refused_content(&whole[..whole.len() / 2]).await;
    assert!(cut.contains("beyond the end"), "{cut}");
    let mut damaged = whole;
    damaged[512 + 56] ^= 1;
    assert!(bench.refused_content(&damaged).await.contains("checksum"));

    let folder = Import {
        source: Source::File(bench.folder.path().into()),
        ..bench.request(&raw)
    };
    assert!(
        bench
            .refused(&folder)
            .await
            .to_string()
            .contains("not a file")
    );
    let missing = Import {
        source: Source::File(bench.path("nothing")),
        ..bench.request(&raw)
    };
    assert!(matches!(
        bench.refused(&missing).await,
        Error::File { action: "open", .. }
    ));
    for name in ["", "../x", ".hidden", "a/b", "a b"] {
        let request = Import {
            name: name.into(),
            ..bench.request(&raw)
        };
        assert!(
            matches!(bench.refused(&request).await, Error::Refused(_)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn qcow2_that_reaches_outside_of_itself_is_refused() {
    let bench = Bench::new();
    let (raw, qcow2) = (bench.path("disk.img"), bench.path("disk.qcow2"));
    raw_disk(&raw);
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            text(&raw),
            "-F",
            "raw",
            text(&qcow2),
        ],
    );
    let error = bench.refused(&bench.request(&qcow2)).await;
    assert!(error.to_string().contains("backing file"), "{error}");
    let external = format!("data_file={}", text(&bench.path("data.raw")));
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &external,
            text(&qcow2),
            "24M",
        ],
    );
    let error = bench.refused(&bench.request(&qcow2)).await;
    assert!(error.to_string().contains("another file"), "{error}");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", text(&qcow2), "2T"],
    );
    let error = bench.refused(&bench.request(&qcow2)).await;
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", text(&qcow2), "24M"],
    );
    let error = bench.refused(&bench.request(&qcow2)).await;
    assert!(error.to_string().contains("no GPT"), "{error}");

    // Sound in its header only.
    run(
        "qemu-img",
        &[
            "convert",
            "-f",
            "raw",
            "-O",
            "qcow2",
            text(&raw),
            text(&qcow2),
        ],
    );
    let file = File::options().write(true).open(&qcow2).unwrap();
    file.set_len(70_000).unwrap();
    let error = bench.refused(&bench.request(&qcow2)).await;
    assert!(matches!(error, Error::Refused(_)), "{error}");
}

#[tokio::test]
async fn wrong_digests_and_sizes_leave_nothing() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let request = Import {
        checksum: ChecksumSource::Given(Checksum::Sha256(Sha256Digest::new([7; 32]))),
        ..bench.request(&raw)
    };
    let error = bench.refused(&request).await;
    let expected = checksum(&raw).to_string();
    assert!(matches!(error, Error::WrongChecksum { .. }) && error.to_string().contains(&expected));
    let limits = Limits {
        source_size: SIZE - 1,
        ..limits()
    };
    let error = bench
        .refused(&Import {
            limits,
            ..bench.request(&raw)
        })
        .await;
    assert!(
        matches!(error, Error::TooLarge { limit } if limit == SIZE - 1),
        "{error}"
    );
}

#[tokio::test]
async fn a_sha512_is_as_good_and_may_stand_in_a_file_beside_the_image() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let sum = Sha512Digest::new(Sha512::digest(std::fs::read(&raw).unwrap()).into());
    let given = Import {
        checksum: ChecksumSource::Given(Checksum::Sha512(sum)),
        ..bench.request(&raw)
    };
    let image = bench.import(&given).await.unwrap();
    assert_eq!(image.checksum(), Checksum::Sha512(sum));
    bench.store.remove("debian-12").unwrap();

    let beside = Import {
        checksum: ChecksumSource::BesideFile(raw.clone()),
        ..bench.request(&raw)
    };
    let error = bench.refused(&beside).await.to_string();
    assert!(
        error.contains("neither SHA256SUMS nor SHA512SUMS"),
        "{error}"
    );
    let sums = bench.path("SHA512SUMS");
    std::fs::write(&sums, format!("{sum}  other.img\n")).unwrap();
    let error = bench.refused(&beside).await.to_string();
    assert!(error.contains("does not name `disk.img`"), "{error}");
    std::fs::write(&sums, format!("{sum}  disk.img\n")).unwrap();
    assert_eq!(
        bench.import(&beside).await.unwrap().checksum(),
        Checksum::Sha512(sum)
    );
}
