//! Following an import until the image can be used.

use std::time::Instant;

use bessemer_client::{Client, Document};
use bessemer_core::reason::Reason;
use bessemer_wire::agent::Progress;
use bessemer_wire::api::{Image, ImageStatus};

use super::sight::{Look, Sight};
use super::{Subject, follow};
use crate::output::Format;

/// Until it is ready; gives the image as it is then.
pub(crate) async fn until_imported(
    client: &Client,
    image: &Image,
    format: Format,
) -> anyhow::Result<Document<Image>> {
    let id = image.id.to_string();
    let subject = Subject {
        name: format!("image {}", image.name),
        again: format!("bessemer image show {} --wait", image.name),
    };
    let (start, begun) = (image.fetched_bytes, Instant::now());
    follow(subject, format, async || {
        let image = match client.image(&id).await {
            Err(error) if error.is_not_found() => {
                let reason = Reason::new("somebody has deleted it meanwhile");
                return Ok(Look::Failed(reason));
            }
            image => image?,
        };
        Ok(match image.status {
            ImageStatus::Importing => Look::UnderWay(sight(&image, start, begun)),
            ImageStatus::Ready => Look::Done {
                value: image,
                at: None,
            },
            ImageStatus::Failed => {
                let message = image.message.as_deref();
                Look::Failed(Reason::new(message.unwrap_or("the import did not work")))
            }
        })
    })
    .await
}

/// How far the import is; its rate is that since `begun`, when `start` bytes were there.
fn sight(image: &Image, start: u64, begun: Instant) -> Sight {
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let new_bytes = image.fetched_bytes.saturating_sub(start);
    let rate = new_bytes.saturating_mul(1000) / milliseconds.max(1);
    let total = image.source_bytes.unwrap_or(0);
    let left = total.saturating_sub(image.fetched_bytes);
    let label = if total > 0 && left == 0 {
        "checking"
    } else {
        "importing"
    };
    let progress = Progress {
        step: label.to_owned(),
        bytes: image.fetched_bytes,
        total,
        rate,
        eta_seconds: left.checked_div(rate).filter(|_| total > 0),
    };
    Sight {
        since: Some(image.created_at).filter(|_| label == "importing"),
        progress: Some(progress).filter(|_| label == "importing"),
        ..Sight::of(format!("{label} {}", image.name))
    }
}
