//! Unpacking what is compressed by gzip, xz or Zstandard.
//!
//! A few kilobytes can unpack to anything, so the output is bounded in size, in data and by the
//! room on the disk, and the memory of the decoders is bounded too.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::sparse::{Bounds, SparseFile};
use super::{Stop, at};
use crate::{Error, Result};

/// How something is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    /// RFC 1952.
    Gzip,
    /// The .xz file format, version 1.2.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// Memory of the xz decoder, in bytes: enough for `xz -9`, which needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// The largest window of a Zstandard frame, as a power of two: what `zstd -T0 --ultra -22` makes
/// without `--long`, and `--long` by its default, 128 MiB.
const ZSTD_WINDOW: u32 = 27;

const BUFFER: usize = 1 << 20;

/// Unpacks `from` into a new file `to`. `report` gets the bytes of `from` that were read, and all.
pub(super) fn unpack(
    from: &Path,
    compression: Compression,
    to: &Path,
    bounds: Bounds,
    stop: &Stop,
    report: &dyn Fn(u64, u64),
) -> Result<()> {
    let file = File::open(from).map_err(at("open", from))?;
    let total = file.metadata().map_err(at("read", from))?.len();
    let source = Counted {
        file,
        done: 0,
        total,
        stop,
        report,
    };
    let mut output = SparseFile::create(to, bounds)?;
    let mut decoder = decoder(compression, BufReader::with_capacity(BUFFER, source))
        .map_err(at("unpack", from))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = decoder
            .read(&mut buffer)
            .map_err(|error| broken(compression, &error, stop))?;
        if count == 0 {
            return output.finish().map(drop);
        }
        output.append(&buffer[..count])?;
    }
}

/// What unpacks `source`, within the bounds of memory.
pub(super) fn decoder<'a>(
    compression: Compression,
    source: impl BufRead + 'a,
) -> std::io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
        Compression::Xz => {
            let concatenated = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, concatenated)
                .map_err(std::io::Error::other)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}

fn broken(compression: Compression, error: &std::io::Error, stop: &Stop) -> Error {
    if let Err(stopped) = stop.check() {
        return stopped;
    }
    let name = match compression {
        Compression::Gzip => "gzip",
        Compression::Xz => "xz",
        Compression::Zstd => "zstd",
    };
    Error::NotADiskImage(format!(
        "its {name} compression is damaged, cut off, or needs more memory than is allowed ({error})"
    ))
}

/// Counts what is read, and stops when it is no longer wanted.
struct Counted<'a> {
    file: File,
    done: u64,
    total: u64,
    stop: &'a Stop,
    report: &'a dyn Fn(u64, u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stop.check().map_err(std::io::Error::other)?;
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        (self.report)(self.done, self.total);
        Ok(count)
    }
}
