//! Images from files and over HTTP, good ones and all the bad ones.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bessemer_image::Error;
use bessemer_image::chunk::Unpacker;
use bessemer_image::digest::Sha256Digest;
use bessemer_image::import::{Import, Limits, Progress, Report, Source, import, scan};
use bessemer_image::store::{ImageStore, StoredImage};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SIZE: u64 = 24 << 20;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A raw disk with a GPT, data here and there, and much nothing. Made once: sgdisk sleeps.
fn raw_disk(path: &Path) {
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    let disk = DISK.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(SIZE).unwrap();
        run("/usr/sbin/sgdisk", &["-n", "1:2048:0", text(&path)]);
        file.write_all_at(&[0xab; 300_000], 3 << 20).unwrap();
        file.write_all_at(&[0xcd; 1], 10 << 20).unwrap();
        file.write_all_at(b"end of the disk", SIZE - 40 * 512)
            .unwrap();
        std::fs::read(&path).unwrap()
    });
    std::fs::write(path, disk).unwrap();
}

fn digest(path: &Path) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(std::fs::read(path).unwrap()).into())
}

fn client() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

struct Bench {
    folder: TempDir,
    store: ImageStore,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, path: &Path) -> Import {
        Import {
            name: "debian-12".into(),
            source: Source::File(path.to_owned()),
            sha256: digest(path),
            limits: Limits::default(),
        }
    }

    async fn import(&self, request: &Import) -> Result<StoredImage, Error> {
        import(&self.store, &client(), request, Arc::new(|_| {})).await
    }

    async fn refused(&self, request: &Import) -> Error {
        let error = self.import(request).await.unwrap_err();
        assert_eq!(self.left(), [""; 0], "after: {error}");
        error
    }

    /// What lies in the store, chunks and images, but for its empty folders.
    fn left(&self) -> Vec<String> {
        let found = Command::new("find")
            .arg(self.path("store"))
            .args(["-mindepth", "1", "-not", "-name", "lock"])
            .args([
                "(",
                "-not",
                "-type",
                "d",
                "-o",
                "-not",
                "-path",
                "*/.chunks*",
                ")",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(found.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    async fn refused_content(&self, content: &[u8]) -> String {
        let path = self.path("source");
        std::fs::write(&path, content).unwrap();
        self.refused(&self.request(&path)).await.to_string()
    }
}

/// The image as its map says it is, put together from its chunks.
fn assemble(image: &StoredImage) -> Vec<u8> {
    let mut disk = vec![0; image.map().virtual_size() as usize];
    let mut unpacker = Unpacker::new().unwrap();
    for (index, chunk) in image.map().chunks().iter().enumerate() {
        let stored = image.read_chunk(index).unwrap();
        assert!(chunk.matches(&stored), "chunk {index}");
        let range = chunk.range().start as usize..chunk.range().end as usize;
        unpacker.unpack(&stored, &mut disk[range]).unwrap();
    }
    disk
}

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
    assert_eq!((again.map(), again.sha256()), (image.map(), digest(&raw)));
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
    assert!(
        bench
            .refused_content(b"\x1f\x8b\x08gzip")
            .await
            .contains("gzip")
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
    assert!(
        matches!(error, Error::Convert(_) | Error::NotADiskImage(_)),
        "{error}"
    );
}

#[tokio::test]
async fn wrong_digests_and_sizes_leave_nothing() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let request = Import {
        sha256: Sha256Digest::new([7; 32]),
        ..bench.request(&raw)
    };
    let error = bench.refused(&request).await;
    let expected = digest(&raw).to_string();
    assert!(matches!(error, Error::WrongDigest { .. }) && error.to_string().contains(&expected));
    let limits = Limits {
        source_size: SIZE - 1,
        ..Limits::default()
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

/// What a small web server does after the request.
#[derive(Clone, Copy)]
enum Answer {
    Whole,
    Chunked,
    CutOff,
    Hang,
    NotFound,
}

/// A web server on loopback that answers one request.
async fn serve(content: Vec<u8>, answer: Answer) -> reqwest::Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/disk.img", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await;
        let length = format!("Content-Length: {}", content.len());
        let (status, framing, body) = match answer {
            Answer::Whole => ("200 OK", length.as_str(), &content[..]),
            Answer::Chunked => ("200 OK", "Transfer-Encoding: chunked", &content[..]),
            Answer::CutOff | Answer::Hang => ("200 OK", &*length, &content[..content.len() / 2]),
            Answer::NotFound => ("404 Not Found", "Content-Length: 0", &[][..]),
        };
        let head = format!("HTTP/1.1 {status}\r\n{framing}\r\nConnection: close\r\n\r\n");
        let _ = socket.write_all(head.as_bytes()).await;
        if let Answer::Chunked = answer {
            let _ = socket
                .write_all(format!("{:x}\r\n", body.len()).as_bytes())
                .await;
        }
        let _ = socket.write_all(body).await;
        if let Answer::Chunked = answer {
            let _ = socket.write_all(b"\r\n0\r\n\r\n").await;
        }
        if let Answer::Hang = answer {
            let _ = socket.read(&mut [0; 1]).await;
        }
    });
    url.parse().unwrap()
}

#[tokio::test]
async fn an_image_comes_over_http_with_progress() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    for (answer, total) in [(Answer::Whole, Some(SIZE)), (Answer::Chunked, None)] {
        let source = Source::Url(serve(content.clone(), answer).await);
        let request = Import {
            source,
            ..bench.request(&raw)
        };
        let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
        let report: Report = {
            let seen = seen.clone();
            Arc::new(move |progress| seen.lock().unwrap().push(progress))
        };
        let image = import(&bench.store, &client(), &request, report)
            .await
            .unwrap();
        assert!(assemble(&image) == content);
        let seen = seen.lock().unwrap();
        assert!(
            seen.contains(&Progress::Fetching { done: SIZE, total }),
            "{seen:?}"
        );
        assert_eq!(
            seen.last(),
            Some(&Progress::Storing {
                done: SIZE,
                total: SIZE
            })
        );
        bench.store.remove("debian-12").unwrap();
    }
}

#[tokio::test]
async fn a_bad_download_leaves_nothing() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    let limits = Limits {
        stall: Duration::from_millis(200),
        ..Limits::default()
    };
    for (answer, what) in [
        (Answer::CutOff, "transfer failed"),
        (Answer::Hang, "nothing arrived"),
        (Answer::NotFound, "404"),
    ] {
        let source = Source::Url(serve(content.clone(), answer).await);
        let request = Import {
            source,
            limits,
            ..bench.request(&raw)
        };
        let error = bench.refused(&request).await.to_string();
        assert!(error.contains(what), "{error}");
    }
    for answer in [Answer::Whole, Answer::Chunked] {
        let limits = Limits {
            source_size: 1 << 20,
            ..limits
        };
        let source = Source::Url(serve(content.clone(), answer).await);
        let error = bench
            .refused(&Import {
                source,
                limits,
                ..bench.request(&raw)
            })
            .await;
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    let source = Source::Url("ftp://127.0.0.1/disk.img".parse().unwrap());
    let error = bench
        .refused(&Import {
            source,
            ..bench.request(&raw)
        })
        .await;
    assert!(error.to_string().contains("ftp"), "{error}");
}

#[tokio::test]
async fn a_dropped_import_leaves_nothing_and_a_killed_one_is_swept() {
    let bench = Bench::new();
    let raw = bench.path("disk.img");
    raw_disk(&raw);
    let source = Source::Url(serve(std::fs::read(&raw).unwrap(), Answer::Hang).await);
    let request = Import {
        source,
        ..bench.request(&raw)
    };
    let dropped = tokio::time::timeout(Duration::from_millis(300), bench.import(&request)).await;
    assert!(dropped.is_err());
    assert_eq!(bench.left(), [""; 0]);

    let left = bench.path("store/.bessemer-abc");
    std::fs::create_dir(&left).unwrap();
    std::fs::write(left.join("disk.raw"), b"half").unwrap();
    let lock = File::create(left.join("lock")).unwrap();
    lock.lock().unwrap();
    ImageStore::open(&bench.path("store")).unwrap();
    assert!(left.exists(), "somebody is at work there");
    drop(lock);
    ImageStore::open(&bench.path("store")).unwrap();
    assert!(!left.exists());
}

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
    let image = import(&bench.store, &client(), &request, report)
        .await
        .unwrap();
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
