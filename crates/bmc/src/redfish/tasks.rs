//! Tasks: requests that a BMC accepts and carries out later.
//!
//! DSP0266, section 12.1: "202 Accepted" names a task monitor in `Location`. Reading that gives
//! "202" with the task (DSP0268, Task) while it runs, and then what the request itself would have
//! been answered. Some BMCs name the task instead of its monitor, which answers "200" all along;
//! some name nothing; some forget the monitor as soon as it is done.
//!
//! A task is seen through because it alone says *why* something failed. Whether it came about is
//! judged by looking at the machine, so a task that cannot be followed is no failure.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::client::Client;
use super::resource::{link, parse, text};
use super::transport::{Answer, Request};
use crate::Error;

/// How long a task is followed; what it brings about is looked for even if it goes on for ever.
const PATIENCE: Duration = Duration::from_secs(60);

/// `TaskState`s of a task that has not ended.
const UNENDED: [&str; 9] = [
    "New",
    "Starting",
    "Running",
    "Suspended",
    "Interrupted",
    "Pending",
    "Stopping",
    "Service",
    "Cancelling",
];

/// `TaskState`s of a task that has ended otherwise than well.
const FAILED: [&str; 3] = ["Killed", "Exception", "Cancelled"];

/// How a task stands.
enum Standing {
    Running,
    Ended,
    /// With its `TaskState`.
    Failed(String),
}

impl Client {
    /// Follows the task that `request` was answered with, until it ends or `PATIENCE` does.
    pub(super) async fn see_through(
        &self,
        request: &Request<'_>,
        accepted: &Answer,
        deadline: Instant,
    ) -> Result<(), Error> {
        let task = parse(&accepted.body);
        let named = task.as_ref().and_then(link).map(str::to_owned);
        let Some(monitor) = accepted.location.clone().or(named) else {
            return Ok(());
        };
        let end = deadline.min(Instant::now() + PATIENCE);
        let mut pause = self.limits().retry_pause;
        let mut wait = self.limits().wait(accepted.retry_after, pause);
        while Instant::now() + wait < end {
            tokio::time::sleep(wait).await;
            let answer = match self.ask(&Request::get(&monitor), end).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(bmc = self.bmc(), %error, "task cannot be followed");
                    return Ok(());
                }
            };
            match self.standing(request, &answer)? {
                Standing::Running => {}
                Standing::Ended => return Ok(()),
                Standing::Failed(state) => {
                    return Err(Error::TaskFailed {
                        bmc: self.bmc().to_owned(),
                        request: request.name(),
                        state,
                        messages: parse(&answer.body)
                            .map(|task| self.messages(&task))
                            .unwrap_or_default(),
                    });
                }
            }
            pause *= 2;
            wait = self.limits().wait(answer.retry_after, pause);
        }
        Ok(())
    }

    fn standing(&self, request: &Request<'_>, answer: &Answer) -> Result<Standing, Error> {
        let task = parse(&answer.body);
        let state = task.as_ref().and_then(|task| text(task, "/TaskState"));
        Ok(match (answer.status.as_u16(), state) {
            // The monitor is gone, so the task has ended.
            (404 | 410, _) => Standing::Ended,
            (200..=299, Some(state)) if UNENDED.contains(&state) => Standing::Running,
            (200..=299, Some(state)) if FAILED.contains(&state) || is_critical(task.as_ref()) => {
                Standing::Failed(state.to_owned())
            }
            (202, None) => Standing::Running,
            (200..=299, _) => Standing::Ended,
            // What the request itself would have been answered.
            _ => return Err(self.refusal(request, answer)),
        })
    }
}

/// A task may be "Completed" and have failed all the same (`TaskStatus`).
fn is_critical(task: Option<&Value>) -> bool {
    task.and_then(|task| text(task, "/TaskStatus")) == Some("Critical")
}
