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
use super::resource::{link, parse, short, text};
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
pub(super) enum Standing {
    Running,
    Ended,
    /// With its `TaskState`.
    Failed(String),
    /// What the request itself would have been answered: no.
    Refused,
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
            match standing(answer.status.as_u16(), parse(&answer.body).as_ref()) {
                Standing::Running => {}
                Standing::Ended => return Ok(()),
                Standing::Refused => return Err(self.refusal(request, &answer)),
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
}

/// What a monitor says that answers with `status` and `task`.
pub(super) fn standing(status: u16, task: Option<&Value>) -> Standing {
    let state = task.and_then(|task| text(task, "/TaskState"));
    match (status, state) {
        // The monitor is gone, so the task has ended.
        (404 | 410, _) => Standing::Ended,
        (200..=299, Some(state)) if UNENDED.contains(&state) => Standing::Running,
        (200..=299, Some(state)) if FAILED.contains(&state) || is_critical(task) => {
            Standing::Failed(short(state))
        }
        (202, None) => Standing::Running,
        (200..=299, _) => Standing::Ended,
        _ => Standing::Refused,
    }
}

/// A task may be "Completed" and have failed all the same (`TaskStatus`).
fn is_critical(task: Option<&Value>) -> bool {
    task.and_then(|task| text(task, "/TaskStatus")) == Some("Critical")
}
