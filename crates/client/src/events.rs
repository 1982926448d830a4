//! Events: those that have happened, and those that happen.

use std::collections::VecDeque;
use std::time::Duration;

use bessemer_wire::event::Event;
use reqwest::header::{ACCEPT, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::value::RawValue;
use tokio::time::timeout;

use crate::sse::Parser;
use crate::transport::{Call, bad_answer, with_query};
use crate::{Client, Document, Error};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The longest silence: the server sends a comment every few seconds while there is no event.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// The longest wait for a stream to begin.
const START_LIMIT: Duration = Duration::from_secs(30);

impl Client {
    /// One page of the events after the one with sequence number `after`, oldest first, at most
    /// `limit` (1 to 1000) of them. An empty page means that there are no more yet.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<Document<Event>>, Error> {
        let (after, limit) = (after.to_string(), limit.to_string());
        let url = with_query(
            self.at(&["events"])?,
            &[("after", &after), ("limit", &limit)],
        );
        let mut events = Vec::new();
        self.page(Call::new(Method::GET, url), &mut events).await?;
        Ok(events)
    }

    /// Events as they happen, beginning with those after the one with sequence number `after`;
    /// without it, with the next one to happen. The stream ends when its connection does: to go on,
    /// ask again with the last number seen.
    ///
    /// # Errors
    /// When the API does not answer with a stream.
    pub async fn events_stream(&self, after: Option<i64>) -> Result<EventStream, Error> {
        let mut url = self.at(&["events"])?;
        let mut call = Call::new(Method::GET, url.clone());
        if let Some(after) = after {
            url = with_query(url, &[("after", &after.to_string())]);
            call.headers.insert(LAST_EVENT_ID, HeaderValue::from(after));
        }
        call.url = url;
        let accept = HeaderValue::from_static("text/event-stream");
        call.headers.insert(ACCEPT, accept);
        let response = match timeout(START_LIMIT, self.send(call, None)).await {
            Ok(response) => response?,
            Err(_) => return Err(self.silent(START_LIMIT)),
        };
        Ok(EventStream {
            client: self.clone(),
            response,
            parser: Parser::default(),
            ready: VecDeque::new(),
        })
    }

    fn silent(&self, limit: Duration) -> Error {
        Error::TimedOut {
            url: self.url().to_owned(),
            limit,
        }
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    response: Response,
    parser: Parser,
    ready: VecDeque<String>,
}

impl EventStream {
    /// The next event; `None` when the server has ended the stream. An event that this client
    /// cannot read is an error, after which the stream goes on. Safe to drop while waiting.
    ///
    /// # Errors
    /// When the connection breaks or falls silent, or what comes is not an event.
    pub async fn next(&mut self) -> Option<Result<Document<Event>, Error>> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Some(self.read(data));
            }
            let chunk = match timeout(SILENCE_LIMIT, self.response.chunk()).await {
                Ok(Ok(chunk)) => chunk?,
                Ok(Err(error)) => return Some(Err(self.client.failure(error, SILENCE_LIMIT))),
                Err(_) => return Some(Err(self.client.silent(SILENCE_LIMIT))),
            };
            match self.parser.push(&chunk) {
                Ok(messages) => self.ready.extend(messages),
                Err(limit) => {
                    let url = self.response.url().to_string();
                    return Some(Err(Error::TooLarge { url, limit }));
                }
            }
        }
    }

    fn read(&self, data: String) -> Result<Document<Event>, Error> {
        RawValue::from_string(data)
            .and_then(Document::read)
            .map_err(|source| bad_answer(self.response.url(), source))
    }
}
