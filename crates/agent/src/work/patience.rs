//! Asking the conductor again until it answers: what keeps a command alive while the conductor is
//! started again.

use std::future::Future;
use std::time::{Duration, Instant};

use super::Job;
use crate::console::{causes, say};
use crate::session::backoff;
use crate::{Error, Result};

/// How long one thing is asked for.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Asks until there is an answer, the conductor's refusal is final, the command is to stop, or
/// the limit of 30 minutes is reached.
pub(super) async fn ask<T, E, F>(job: &Job, mut question: impl FnMut() -> F) -> Result<T>
where
    E: Into<Error>,
    F: Future<Output = Result<T, E>>,
{
    let begun = Instant::now();
    let mut failures = 0;
    loop {
        let answer = tokio::select! {
            biased;
            () = job.stop.cancelled() => return Err(Error::Superseded),
            answer = question() => answer,
        };
        let error = match answer {
            Ok(thing) => return Ok(thing),
            Err(error) => error.into(),
        };
        let is_final = match &error {
            Error::Client(error) => error.is_final(),
            _ => true,
        };
        if is_final || begun.elapsed() >= LIMIT {
            return Err(error);
        }
        if failures == 0 {
            say(format_args!("{}: asking again", causes(&error)));
        }
        tokio::select! {
            () = job.stop.cancelled() => return Err(Error::Superseded),
            () = tokio::time::sleep(backoff(failures)) => {}
        }
        failures += 1;
    }
}
