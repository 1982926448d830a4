//! Following an import until the image can be used.

use std::time::Instant;

use bessemer_client::{Client, Document};
use bessemer_core::reason::Reason;
use bessemer_wire::agent::Progress;
use bessemer_wire::api::{Image, ImageProgress, ImageStatus, ImageStep};

use super::sight::{Look, Sight};
use super::{Subject, follow};
use crate::output::Format;
use crate::words;

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
    let mut pace = Pace::default();
    follow(subject, format, async || {
        let image = match client.image(&id).await {
            Err(error) if error.is_not_found() => {
                let reason = Reason::new("somebody has deleted it meanwhile");
                return Ok(Look::Failed(reason));
            }
            image => image?,
        };
        Ok(match image.status {
            ImageStatus::Uploading | ImageStatus::Importing => {
                Look::UnderWay(sight(&image, &mut pace))
            }
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

/// What is needed to tell how fast a step goes: since when it is looked at, and from where on.
#[derive(Default)]
struct Pace(Option<(ImageStep, u64, Instant)>);

impl Pace {
    /// Bytes per second since the first look at this step.
    fn rate(&mut self, progress: &ImageProgress) -> u64 {
        let now = Instant::now();
        let (step, start, begun) = *self.0.get_or_insert((progress.step, progress.bytes, now));
        if step != progress.step || progress.bytes < start {
            self.0 = Some((progress.step, progress.bytes, now));
            return 0;
        }
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        (progress.bytes - start).saturating_mul(1000) / milliseconds.max(1)
    }
}

fn word(step: ImageStep) -> &'static str {
    match step {
        ImageStep::Uploading => "uploading",
        ImageStep::Waiting => "waiting for other imports",
        ImageStep::Fetching => "fetching",
        ImageStep::Unpacking => "unpacking",
        ImageStep::Converting => "converting",
        ImageStep::Storing => "storing",
    }
}

/// What an import does and how far it is, on one line.
pub(crate) fn import_in_words(progress: ImageProgress) -> String {
    let ImageProgress { step, bytes, total } = progress;
    match (bytes, total) {
        (0, None) => word(step).to_owned(),
        (_, None) => format!("{}, {}", word(step), words::bytes(bytes)),
        (_, Some(total)) => {
            let (done, total) = (words::bytes(bytes), words::bytes(total));
            format!("{}, {done} of {total}", word(step))
        }
    }
}

fn sight(image: &Image, pace: &mut Pace) -> Sight {
    let Some(progress) = image.progress else {
        return Sight::of(format!("importing {}", image.name));
    };
    let rate = pace.rate(&progress);
    let total = progress.total.unwrap_or(0);
    let left = total.saturating_sub(progress.bytes);
    let counted = Progress {
        step: word(progress.step).to_owned(),
        bytes: progress.bytes,
        total,
        rate,
        eta_seconds: left.checked_div(rate).filter(|_| total > 0),
    };
    Sight {
        progress: Some(counted).filter(|counted| counted.bytes > 0),
        ..Sight::of(format!("{} {}", word(progress.step), image.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_words() {
        let told = |step, bytes, total| import_in_words(ImageProgress { step, bytes, total });
        assert_eq!(told(ImageStep::Converting, 0, None), "converting");
        assert_eq!(
            told(ImageStep::Fetching, 3 << 20, Some(6 << 20)),
            "fetching, 3 MiB of 6 MiB"
        );
        assert_eq!(told(ImageStep::Fetching, 3 << 20, None), "fetching, 3 MiB");
    }

    #[test]
    fn a_new_step_has_a_pace_of_its_own() {
        let mut pace = Pace::default();
        let at = |step, bytes| ImageProgress {
            step,
            bytes,
            total: None,
        };
        assert_eq!(pace.rate(&at(ImageStep::Fetching, 500)), 0);
        assert!(pace.rate(&at(ImageStep::Fetching, 500 << 20)) > 0);
        assert_eq!(pace.rate(&at(ImageStep::Storing, 600 << 20)), 0);
    }
}
