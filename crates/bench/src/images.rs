//! Images: taking one in, handing its chunks out over loopback, and writing it, beside what `dd`
//! takes for the same bytes.
//!
//! The service is the server's own code behind a router of one route; the writer is the agent's,
//! writing to a file. All rates are of the image's data as it is on the disk, not of the compressed
//! bytes that travel.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use bessemer_core::id::ImageId;
use bessemer_image::digest::{Checksum, Sha256Digest};
use bessemer_image::import::{ChecksumSource, Import, Limits, Source, import};
use bessemer_image::store::{ImageStore, StoredImage};
use bessemer_image::write::{Disk, Writer, Zeroing};
use bessemer_server::chunk_service;
use bessemer_server::images::ImageLibrary;
use bessemer_server::metrics::Metrics;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::figure::figure;
use crate::figures::progress;

/// Bytes of data in the image.
const DATA: usize = 256 << 20;

/// Bytes of the disk: the data lies in its middle.
const DISK: u64 = 320 << 20;

/// Chunks of one request, as an agent asks.
const RUN: usize = 8;

/// Measures everything about images. `program` is what the image is made of: machine code
/// compresses as an operating system does.
pub(crate) async fn measure(program: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    progress("images: 256 MiB of data");
    let raw = folder.path().join("disk.raw");
    let checksum = make_disk(program, &raw)?;
    let id = ImageId(Uuid::from_u128(1));
    let store = ImageStore::open(&folder.path().join("images"))?;
    let order = Import {
        name: id.to_string(),
        source: Source::File(raw.clone()),
        checksum: ChecksumSource::Given(checksum),
        limits: Limits::default(),
    };
    let begun = Instant::now();
    let image = import(&store, &order, Arc::new(|_| {})).await?;
    let data = image.map().data_bytes();
    tell("image_import", data, begun.elapsed());
    let share = image.map().stored_bytes() as f64 / data as f64;
    figure("image_compressed", share * 100.0, "%");

    let address = serve(folder.path(), id).await?;
    let stored = image.map().stored_bytes();
    let count = image.map().chunks().len();
    let begun = Instant::now();
    let fetched = tokio::task::spawn_blocking(move || fetch_all(address, count)).await??;
    tell("image_service", data, begun.elapsed());
    ensure!(fetched == stored, "{fetched} of {stored} bytes came");

    write(&image, &folder.path().join("target.raw"))?;
    dd(&raw, &folder.path().join("target.raw"))
}

fn tell(name: &str, bytes: u64, took: Duration) {
    figure(name, bytes as f64 / 1e6 / took.as_secs_f64(), "MB/s");
}

/// A disk with a partition table and data, no two chunks of which are the same.
fn make_disk(program: &Path, path: &Path) -> anyhow::Result<Checksum> {
    let code = std::fs::read(program)?;
    let mut disk = vec![0; DISK as usize];
    for (number, block) in disk[16 << 20..][..DATA].chunks_mut(4096).enumerate() {
        let from = number * 4096 % (code.len() - 4096);
        block.copy_from_slice(&code[from..from + 4096]);
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
    }
    std::fs::write(path, &disk)?;
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread", "--no-tell-kernel"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .context("sfdisk (Debian's `fdisk`) is needed")?;
    let mut table = sfdisk.stdin.take().context("sfdisk takes no input")?;
    table.write_all(b"label: gpt\nstart=2048, type=linux\n")?;
    drop(table);
    ensure!(sfdisk.wait()?.success(), "sfdisk made no partition table");
    let digest = Sha256::digest(std::fs::read(path)?);
    Ok(Checksum::Sha256(Sha256Digest::new(digest.into())))
}

/// Serves the image's chunks on loopback until this process ends.
async fn serve(folder: &Path, id: ImageId) -> anyhow::Result<SocketAddr> {
    let library = ImageLibrary::open(&folder.join("images"))?;
    let metrics = Arc::new(Metrics::default());
    let answer = move |UrlPath((first, count)): UrlPath<(usize, usize)>| {
        let (library, metrics) = (library.clone(), metrics.clone());
        async move {
            match chunk_service::answer(&library, &metrics, id, first, count).await {
                Ok(Some(response)) => response,
                Ok(None) => StatusCode::NOT_FOUND.into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/{first}/{count}", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Fetches every chunk; gives the bytes that came, without heads.
fn fetch_all(address: SocketAddr, count: usize) -> anyhow::Result<u64> {
    let mut total = 0;
    let mut answer = Vec::new();
    for first in (0..count).step_by(RUN) {
        let run = RUN.min(count - first);
        let mut connection = TcpStream::connect(address)?;
        let request =
            format!("GET /{first}/{run} HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        answer.clear();
        connection.read_to_end(&mut answer)?;
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        total += (answer.len() - head.context("no answer")? - 4) as u64;
    }
    Ok(total)
}

/// Checks, unpacks and writes, with the chunks in memory already.
fn write(image: &StoredImage, path: &Path) -> anyhow::Result<()> {
    let count = image.map().chunks().len();
    let chunks: Vec<_> = (0..count)
        .map(|index| image.read_chunk(index))
        .collect::<Result<_, _>>()?;
    std::fs::File::create(path)?.set_len(DISK)?;
    let begun = Instant::now();
    let writer = Writer::start(image.map().clone(), Disk::open(path)?, Zeroing::Holes)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let unpack = || -> Result<(), bessemer_image::Error> {
            while let Some(run) = writer.next_missing(0) {
                writer.accept(run.start, &chunks[run.start])?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(unpack)).collect();
        for thread in threads {
            // A thread that panics has said why.
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("unpacking failed"))??;
        }
        anyhow::Ok(())
    })?;
    writer.finish()?;
    tell("image_write", image.map().data_bytes(), begun.elapsed());
    Ok(())
}

/// The floor: the data, unpacked and in the page cache, to the same file.
fn dd(raw: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::File::create(to)?.set_len(DISK)?;
    let (skip, blocks) = (16, DATA >> 20);
    let begun = Instant::now();
    let status = Command::new("dd")
        .arg(format!("if={}", raw.display()))
        .arg(format!("of={}", to.display()))
        .args(["bs=1M", "conv=notrunc,fsync", "status=none"])
        .args([
            format!("skip={skip}"),
            format!("seek={skip}"),
            format!("count={blocks}"),
        ])
        .status()?;
    ensure!(status.success(), "dd failed");
    tell("image_write_dd", DATA as u64, begun.elapsed());
    Ok(())
}
