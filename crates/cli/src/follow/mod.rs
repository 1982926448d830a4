//! What `--wait` does: looks again and again at something that is under way, and shows it, until
//! it is done or has failed.
//!
//! Looking (two small requests, twice a second) is preferred to the event stream here: what is
//! shown is then always the present state, whatever was missed, and a server that restarts needs
//! nothing but another look. Nothing depends on the watcher: the order goes on if it goes away.
//!
//! How it is laid out: `sight`: what is seen; `display`: how it is shown; `server`, `node`,
//! `power`, `image`: what is looked at.

mod display;
mod image;
mod node;
mod power;
mod server;
mod sight;

use std::pin::pin;
use std::time::{Duration, Instant};

use bessemer_client::Error;
use tokio::time::sleep;

use crate::failure::Unfinished;
use crate::output::Format;
use display::Display;
use sight::Look;

pub(crate) use image::{import_in_words, until_imported};
pub(crate) use node::{until_forgotten, until_rest};
pub(crate) use power::{request_in_words, until_switched};
pub(crate) use server::{until_active, until_gone};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(400);

/// How long an API that does not answer is asked again: a server restarts in far less.
pub(crate) const OUTAGE_LIMIT: Duration = Duration::from_secs(120);

/// What is followed.
struct Subject {
    /// For people: "server web-1".
    name: String,
    /// The command that follows it again.
    again: String,
}

/// Looks until there is an end.
async fn follow<T>(
    subject: Subject,
    format: Format,
    mut look: impl AsyncFnMut() -> Result<Look<T>, Error>,
) -> anyhow::Result<T> {
    let mut display = Display::new(format);
    let mut outage = Outage::default();
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    loop {
        let seen = tokio::select! {
            seen = look() => seen,
            _ = &mut interrupt => return Err(interrupted(subject, display)),
        };
        match seen {
            Err(error) if error.is_outage() => outage.continues(error, &mut display)?,
            Err(error) => return Err(error.into()),
            Ok(seen) => {
                outage.ends(&mut display)?;
                match seen {
                    Look::UnderWay(sight) => display.show(&sight)?,
                    Look::Done { value, at } => {
                        display.finish(at)?;
                        return Ok(value);
                    }
                    Look::Failed(reason) => {
                        display.fail()?;
                        let (what, reason) = (subject.name, Box::new(reason));
                        return Err(Unfinished::Failed { what, reason }.into());
                    }
                }
            }
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = &mut interrupt => return Err(interrupted(subject, display)),
        }
    }
}

fn interrupted(subject: Subject, display: Display) -> anyhow::Error {
    // Takes the live line off the screen, so that what follows stands alone.
    drop(display);
    let Subject { name: what, again } = subject;
    Unfinished::Interrupted { what, again }.into()
}

/// An API that does not answer for a while.
#[derive(Debug, Default)]
pub(crate) struct Outage(Option<Instant>);

impl Outage {
    /// It does not answer; gives the error back when that has lasted too long.
    fn continues(&mut self, error: Error, display: &mut Display) -> anyhow::Result<()> {
        let begun = self.0.is_none();
        if begun {
            let limit = OUTAGE_LIMIT.as_secs();
            display.notice(&format!("{error}; trying again for {limit} s"))?;
        }
        self.lasts(error).map_err(Into::into)
    }

    fn ends(&mut self, display: &mut Display) -> anyhow::Result<()> {
        if let Some(begun) = self.0.take() {
            let seconds = begun.elapsed().as_secs();
            display.notice(&format!("the API answers again, after {seconds} s"))?;
        }
        Ok(())
    }

    /// Gives the error back when the outage has lasted too long.
    pub(crate) fn lasts(&mut self, error: Error) -> Result<(), Error> {
        let begun = *self.0.get_or_insert_with(Instant::now);
        if begun.elapsed() > OUTAGE_LIMIT {
            return Err(error);
        }
        Ok(())
    }

    /// It answers again.
    pub(crate) fn over(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Whether it is answering.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_none()
    }
}
