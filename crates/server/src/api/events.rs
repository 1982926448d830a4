//! Events: what has happened, as pages, and what happens, as a stream.
//!
//! Both read the same outbox by sequence number, so a reader that was away misses nothing: it
//! says the last number it has seen. A stream holds no events beyond one page; a slow reader is
//! waited for and never makes the server remember more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response, sse};
use axum::{Extension, Json};
use bessemer_wire::api::Page;
use bessemer_wire::event::Event;
use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::extract::{Caller, Query};
use super::page;
use super::problem::{Kind, Refusal};
use crate::site::Site;

/// Streams that may be open at the same time.
const MAX_STREAMS: usize = 256;

/// Events that a stream reads from the store at once.
const BATCH: u32 = 256;

/// How often a stream looks for events although nobody said that there is news: what another server
/// on the same database says may get lost.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How often a stream without events says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) fn routes() -> OpenApiRouter<Site> {
    OpenApiRouter::new().routes(routes!(list))
}

/// How many streams may still be opened.
#[derive(Clone)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Only events after the one with this sequence number. Without it, a page begins with the
    /// first event there is, and a stream with the next one to happen.
    after: Option<i64>,
    /// `next` of the page before; the same as `after`.
    cursor: Option<i64>,
    /// How many events at most on a page: 1 to 1000, 100 unless given. A stream has no end.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// Read events, or follow them.
///
/// With `Accept: text/event-stream` this is a stream of server-sent events: `id` is the sequence
/// number, `event` the kind, `data` the event. A stream that broke goes on where `Last-Event-ID`
/// says. Operators see all events, members those of their project.
#[utoipa::path(get, path = "/v1/events", tag = "events", operation_id = "events",
    params(EventQuery,
        ("Last-Event-ID" = Option<i64>, Header, description = "Where a stream goes on")),
    responses((status = 200, content((Page<Event> = "application/json"),
        (String = "text/event-stream")))))]
async fn list(
    State(site): State<Site>,
    caller: Caller,
    Extension(streams): Extension<Streams>,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.cursor.or(query.after);
    if wants_stream(&headers) {
        let after = last_event_id(&headers)?.or(after);
        return follow(site, caller, &streams, after).await;
    }
    let limit = page::limit(query.limit)?;
    let items = site
        .store
        .events_after(after.unwrap_or(0), caller.scope(), limit)
        .await?;
    Ok(Json(page::numbered(items, limit, |event| event.sequence)).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<i64>, Refusal> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        Refusal::new(
            Kind::InvalidParameter,
            "The Last-Event-ID is no sequence number.",
        )
        .field("Last-Event-ID")
    })
}

async fn follow(
    site: Site,
    caller: Caller,
    streams: &Streams,
    after: Option<i64>,
) -> Result<Response, Refusal> {
    let permit = streams.0.clone().try_acquire_owned().map_err(|_| {
        Refusal::new(
            Kind::TooManyStreams,
            format!("{MAX_STREAMS} event streams are open."),
        )
        .remedy("Try again later, or read pages instead of a stream.")
    })?;
    let after = match after {
        Some(after) => after,
        None => site.store.last_event().await?,
    };
    let news = site.store.news();
    site.metrics.event_streams.inc();
    let follower = Follower {
        site,
        caller,
        after,
        news,
        ready: VecDeque::new(),
        _permit: permit,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(follower.into_stream())
        .keep_alive(keep_alive)
        .into_response())
}

/// One reader of the stream.
struct Follower {
    site: Site,
    caller: Caller,
    after: i64,
    news: watch::Receiver<u64>,
    ready: VecDeque<Event>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut follower| async {
            let event = follower.next().await?;
            Some((Ok(event), follower))
        })
    }

    /// The next event; `None` ends the stream, which its reader can take up again elsewhere.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                let told = sse::Event::default().id(event.sequence.to_string());
                // An event that cannot be written as JSON is not worth the stream.
                if let Ok(told) = told.event(&event.kind).json_data(&event) {
                    return Some(told);
                }
            }
            self.read().await?;
        }
    }

    /// Waits until there is something to tell.
    async fn read(&mut self) -> Option<()> {
        loop {
            self.news.mark_unchanged();
            let (store, scope) = (&self.site.store, self.caller.scope());
            let events = store.events_after(self.after, scope, BATCH).await.ok()?;
            if let Some(last) = events.last() {
                self.after = last.sequence;
                self.ready = events.into();
                // Not a moment longer than the token is valid.
                return self.still_valid().await.then_some(());
            }
            // Either way it is looked again: a wake-up carries nothing. The server's end is not
            // news, but drops the sender.
            if let Ok(Err(_)) = timeout(LOOK_AGAIN, self.news.changed()).await {
                return None;
            }
            if !self.still_valid().await {
                return None;
            }
        }
    }

    async fn still_valid(&self) -> bool {
        let token = self
            .site
            .store
            .token_by_hash(&self.caller.secret_hash)
            .await;
        matches!(token, Ok(Some(_)))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.site.metrics.event_streams.dec();
    }
}
