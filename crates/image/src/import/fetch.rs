//! Downloads: over HTTP, in as many pieces as the connection breaks into.
//!
//! A transfer that breaks is taken up where it ended, by a range request (RFC 9110, 14), as long
//! as tries get somewhere; a server that knows no ranges sends everything again. Whether the
//! pieces belong together is for the checksum to say.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE,
};
use reqwest::{Response, StatusCode};
use tokio::sync::mpsc;

use super::landing::Landing;
use super::{Limits, Progress, Report, Stop, Web, blocking};
use crate::{Error, Result};

/// Pieces that may wait for the disk.
const QUEUE_LENGTH: usize = 32;

/// Where one request of a download got.
enum Attempt {
    /// Everything is here.
    Complete,
    /// The connection broke, or the server asks for patience: another request may help.
    Broken(Error),
}

/// Downloads until everything is in `landing`, and gives it back.
pub(super) async fn download(
    web: &Web,
    mut landing: Landing,
    limits: &Limits,
    report: &Report,
) -> Result<Landing> {
    let mut validator = None;
    let mut failures = 0;
    loop {
        let before = landing.written();
        let (attempt, back) = attempt(web, landing, &mut validator, limits, report).await?;
        landing = back;
        let error = match attempt {
            Attempt::Complete => return Ok(landing),
            Attempt::Broken(error) => error,
        };
        // A connection that breaks every gigabyte still gets there.
        failures = if landing.written() > before {
            1
        } else {
            failures + 1
        };
        if failures > limits.retries {
            return Err(error);
        }
        tokio::time::sleep(limits.retry_pause * failures).await;
    }
}

async fn attempt(
    web: &Web,
    mut landing: Landing,
    validator: &mut Option<HeaderValue>,
    limits: &Limits,
    report: &Report,
) -> Result<(Attempt, Landing)> {
    let from = landing.written();
    let mut request = web.get()?;
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
        if let Some(validator) = validator {
            request = request.header(IF_RANGE, validator.clone());
        }
    }
    let response = match tokio::time::timeout(limits.stall, request.send()).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) if is_final(&error) => return Err(failed(error)),
        Ok(Err(error)) => return Ok((Attempt::Broken(failed(error)), landing)),
        Err(_) => return Ok((Attempt::Broken(stalled(limits)), landing)),
    };
    let total = match check(&response, from)? {
        Beginning::Here { total } => total,
        Beginning::Wrong => {
            landing.start_over()?;
            return Ok((
                Attempt::Broken(Error::Download(
                    "the server does not go on where it ended".into(),
                    None,
                )),
                landing,
            ));
        }
        Beginning::Later(error) => return Ok((Attempt::Broken(error), landing)),
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => landing.goes_on(),
        _ => landing.start_over()?,
    }
    *validator = validator_of(response.headers());
    if total.is_some_and(|total| total > limits.source_size) {
        return Err(Error::TooLarge {
            limit: limits.source_size,
        });
    }
    receive(response, landing, total, limits, report).await
}

/// How an answer begins.
enum Beginning {
    /// Where it should, or at the very start. `total` bytes are the whole source.
    Here { total: Option<u64> },
    /// Elsewhere.
    Wrong,
    /// Not now.
    Later(Error),
}

fn check(response: &Response, from: u64) -> Result<Beginning> {
    let status = response.status();
    let answered =
        |advice: &str| Error::Download(format!("the server answered {status}: {advice}"), None);
    match status {
        StatusCode::PARTIAL_CONTENT => Ok(match content_range(response.headers()) {
            Some((start, total)) if start == from => Beginning::Here { total },
            _ => Beginning::Wrong,
        }),
        _ if status.is_success() => Ok(Beginning::Here {
            total: response.content_length(),
        }),
        StatusCode::RANGE_NOT_SATISFIABLE => Ok(Beginning::Wrong),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(answered("check the user name and password"))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Ok(Beginning::Later(answered("try again later")))
        }
        _ if status.is_server_error() => Ok(Beginning::Later(answered("try again later"))),
        _ => Err(answered("check the URL")),
    }
}

/// `bytes 100-199/500` or `bytes 100-199/*`: where it begins, and the whole.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// What makes sure that a later piece is of the same file: a strong entity tag, or a date.
fn validator_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = |value: &&HeaderValue| !value.as_bytes().starts_with(b"W/");
    let tag = headers.get(ETAG).filter(strong);
    tag.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Moves the body into the landing, which a thread of its own writes and hashes.
async fn receive(
    mut response: Response,
    mut landing: Landing,
    total: Option<u64>,
    limits: &Limits,
    report: &Report,
) -> Result<(Attempt, Landing)> {
    let mut done = landing.written();
    let (queue, mut pieces) = mpsc::channel::<Bytes>(QUEUE_LENGTH);
    let writing = tokio::spawn(blocking(move || {
        while let Some(piece) = pieces.blocking_recv() {
            landing.append(&piece)?;
        }
        Ok(landing)
    }));
    let mut result = Ok(Attempt::Complete);
    loop {
        let next = match tokio::time::timeout(limits.stall, response.chunk()).await {
            Ok(next) => next.map_err(failed),
            Err(_) => Err(stalled(limits)),
        };
        let piece = match next {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                result = Ok(Attempt::Broken(error));
                break;
            }
        };
        done += piece.len() as u64;
        if done > limits.source_size {
            result = Err(Error::TooLarge {
                limit: limits.source_size,
            });
            break;
        }
        report(Progress::Fetching { done, total });
        // If nobody takes it, the disk failed, and the landing says how.
        if queue.send(piece).await.is_err() {
            break;
        }
    }
    drop(queue);
    let landing = match writing.await {
        Ok(landing) => landing?,
        // The runtime ends before it has begun it, and with that whoever waits here.
        Err(error) if error.is_cancelled() => std::future::pending().await,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    match (result?, total) {
        (Attempt::Complete, Some(total)) if landing.written() < total => {
            let missing = total - landing.written();
            let error = Error::Download(format!("it ended {missing} bytes too early"), None);
            Ok((Attempt::Broken(error), landing))
        }
        (attempt, _) => Ok((attempt, landing)),
    }
}

/// Errors that come again however often one asks: redirects that lead nowhere.
fn is_final(error: &reqwest::Error) -> bool {
    error.is_redirect() || error.is_builder()
}

pub(super) fn failed(error: reqwest::Error) -> Error {
    // The URL may hold a password.
    Error::Download(
        "the transfer failed".into(),
        Some(error.without_url().into()),
    )
}

pub(super) fn stalled(limits: &Limits) -> Error {
    Error::Download(
        format!("nothing arrived for {} s", limits.stall.as_secs()),
        None,
    )
}

/// Copies a file of this host into `landing`, and gives it back.
pub(super) fn copy(
    path: &std::path::Path,
    mut landing: Landing,
    limits: &Limits,
    stop: &Stop,
    report: &Report,
) -> Result<Landing> {
    use std::io::Read;
    let mut file = std::fs::File::open(path).map_err(super::at("open", path))?;
    let metadata = file.metadata().map_err(super::at("read", path))?;
    if !metadata.is_file() {
        return Err(Error::NotADiskImage(format!(
            "{} is not a file",
            path.display()
        )));
    }
    let too_large = Error::TooLarge {
        limit: limits.source_size,
    };
    if metadata.len() > limits.source_size {
        return Err(too_large);
    }
    // Copying again is quicker than finding out whether the file is still the same.
    landing.start_over()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        stop.check()?;
        let count = file.read(&mut buffer).map_err(super::at("read", path))?;
        if count == 0 {
            return Ok(landing);
        }
        landing.append(&buffer[..count])?;
        if landing.written() > limits.source_size {
            return Err(too_large);
        }
        report(Progress::Fetching {
            done: landing.written(),
            total: Some(metadata.len()),
        });
    }
}

/// Downloads something small.
pub(super) async fn small(web: &Web, limits: &Limits, most: usize) -> Result<Option<Vec<u8>>> {
    let fetching = async {
        let mut response = web.get()?.send().await.map_err(failed)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !response.status().is_success() {
            let status = response.status();
            return Err(Error::Download(
                format!("the server answered {status}"),
                None,
            ));
        }
        let mut text = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if text.len() + piece.len() > most {
                return Err(Error::TooLarge { limit: most as u64 });
            }
            text.extend_from_slice(&piece);
        }
        Ok(Some(text))
    };
    let deadline: Duration = limits.stall;
    tokio::time::timeout(deadline, fetching)
        .await
        .map_err(|_| stalled(limits))?
}
