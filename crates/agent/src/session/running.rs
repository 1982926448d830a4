//! The command that is being carried out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bessemer_core::lifecycle::IntentKey;
use bessemer_wire::agent::{Command, CommandResult, Progress};
use tokio::task::{JoinError, JoinHandle};

use crate::console::{causes, say};
use crate::work::{self, Context, Job};
use crate::{Error, Result};

/// One command in a task of its own, so that the conversation goes on meanwhile.
#[derive(Debug)]
pub(super) struct Running {
    key: IntentKey,
    job: Arc<Job>,
    begun: Instant,
    task: JoinHandle<Result<CommandResult>>,
    outcome: Option<Result<CommandResult>>,
}

impl Running {
    pub(super) fn start(context: Context, command: Command) -> Self {
        let job = Arc::new(Job::new(work::name(&command.work)));
        say(format_args!(
            "command {}: {}",
            command.id,
            work::name(&command.work)
        ));
        let task = tokio::spawn(work::carry_out(context, command.work, job.clone()));
        Self {
            key: command.id,
            job,
            begun: Instant::now(),
            task,
            outcome: None,
        }
    }

    pub(super) fn key(&self) -> &IntentKey {
        &self.key
    }

    pub(super) fn progress(&self, now: Instant) -> Progress {
        self.job.tracker.snapshot(now)
    }

    /// Asks it to stop; it is over when its outcome is there.
    pub(super) fn stop(&self) {
        self.job.stop.cancel();
    }

    /// Waits until it is over, at most `limit`.
    pub(super) async fn wait(&mut self, limit: Duration) {
        if self.outcome.is_none()
            && let Ok(ended) = tokio::time::timeout(limit, &mut self.task).await
        {
            self.outcome = Some(flatten(ended));
        }
    }

    /// What came of it, if it is over.
    pub(super) async fn outcome(&mut self) -> Option<Result<CommandResult>> {
        if self.outcome.is_none() && self.task.is_finished() {
            self.outcome = Some(flatten((&mut self.task).await));
        }
        self.outcome.take()
    }

    /// Tells the console what came of it.
    pub(super) fn tell(&self, outcome: &Result<CommandResult>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        match outcome {
            Ok(_) => say(format_args!("command {}: done in {seconds:.1} s", self.key)),
            Err(error) => say(format_args!("command {}: {}", self.key, causes(error))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn flatten(ended: Result<Result<CommandResult>, JoinError>) -> Result<CommandResult> {
    ended.unwrap_or_else(|error| Err(Error::Bug(error.to_string())))
}
