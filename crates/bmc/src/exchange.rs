//! The latest requests to a BMC and what came of them, kept in memory for people who look for the
//! cause of something.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Exchanges that are kept of each BMC.
const KEPT: usize = 20;

/// The longest text kept of a request or an answer, in characters.
const MAX_TEXT: usize = 200;

/// One request and what came of it. Bodies and credentials are never in here.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When it ended; the last time.
    pub at: Instant,
    /// How often it was asked in a row, with the same answer.
    pub times: u32,
    /// What was asked: method and path, or the command's name.
    pub request: String,
    /// The status that came back, or what went wrong.
    pub answer: String,
    /// How the BMC took it.
    pub end: ExchangeEnd,
}

/// How a BMC took a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// It answered as asked.
    Answered,
    /// It answered that this account may not.
    Denied,
    /// It answered something else, or what makes no sense.
    Refused,
    /// It shows a certificate that is not trusted, so it was asked nothing.
    Distrusted,
    /// Nothing usable came back.
    Silent,
}

/// A bounded list of exchanges, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct ExchangeLog(Mutex<VecDeque<Exchange>>);

impl ExchangeLog {
    pub(crate) fn note(&self, request: &str, answer: String, end: ExchangeEnd) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let exchange = Exchange {
            at: Instant::now(),
            times: 1,
            request: request.chars().take(MAX_TEXT).collect(),
            answer: answer.chars().take(MAX_TEXT).collect(),
            end,
        };
        // A look at the power state every minute would soon be all that is kept.
        if let Some(last) = kept.back_mut()
            && (&last.request, &last.answer, last.end) == (&exchange.request, &exchange.answer, end)
        {
            last.times = last.times.saturating_add(1);
            last.at = exchange.at;
            return;
        }
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(exchange);
    }

    pub(crate) fn all(&self) -> Vec<Exchange> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_cut() {
        let log = ExchangeLog::default();
        for number in 0..KEPT + 5 {
            let request = format!("GET /{number}{}", "x".repeat(1000));
            log.note(&request, "200".into(), ExchangeEnd::Answered);
        }
        let kept = log.all();
        assert_eq!(kept.len(), KEPT);
        assert!(kept[0].request.starts_with("GET /5x"));
        assert_eq!(kept[0].request.len(), MAX_TEXT);
        for _ in 0..3 {
            log.note("GET /same", "200".into(), ExchangeEnd::Answered);
        }
        log.note("GET /same", "503".into(), ExchangeEnd::Refused);
        let kept = log.all();
        let latest = kept[KEPT - 2..].iter();
        let latest: Vec<_> = latest.map(|each| (each.times, &*each.answer)).collect();
        assert_eq!(latest, [(3, "200"), (1, "503")]);
    }
}
