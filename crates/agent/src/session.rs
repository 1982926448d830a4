//! The conversation with the conductor: hello, then report and ask, again and again.
//!
//! One request is under way at a time. While a command runs, the agent reports about once a
//! second; when there is nothing to do, the conductor holds the answer back until there is. A
//! conductor that goes away (it is started again, or its host) disturbs nothing: a running command
//! goes on, and the agent asks, where there are several the next one, until it is answered or its
//! patience is at its end.

use std::time::{Duration, Instant};

use bessemer_core::id::Generation;
use bessemer_core::lifecycle::{IntentKey, Leave};
use bessemer_wire::agent::{AgentStatus, Command, Hello, Poll, PollAnswer, Work};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::ClientError;
use crate::console::{causes, say};
use crate::ledger::Ledger;
use crate::network::watch_departure;
use crate::progress::describe;
use crate::work::Context;

mod contact;
mod running;

use contact::Contact;
pub use contact::backoff;
use running::Running;

/// How often a running command is told of on the console.
const CONSOLE_INTERVAL: Duration = Duration::from_secs(5);

/// How an agent's life ends. Carried out by PID 1 alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Start the loaded kernel.
    StartKernel,
    /// Power the machine off, for this reason.
    PowerOff(String),
}

/// How long the agent bears with things.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without any answer from the conductor while nothing runs; then the machine is powered off.
    pub unanswered: Duration,
    /// Refused hellos before the machine is powered off.
    pub refusals: u32,
    /// Between refused hellos.
    pub after_refusal: Duration,
    /// Between two reports of a running command.
    pub report_interval: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unanswered: Duration::from_secs(30 * 60),
            refusals: 3,
            after_refusal: Duration::from_secs(5),
            report_interval: Duration::from_secs(1),
        }
    }
}

/// Talks to the conductor and does what it says until this agent's life ends.
pub async fn run(context: Context, hello: Hello, patience: Patience) -> Ending {
    let (endings, mut ended) = mpsc::channel(1);
    let session = Session {
        ledger: Ledger::new(hello.identity.clone()),
        contact: Contact::new(patience.unanswered),
        context,
        hello,
        patience,
        endings,
        running: None,
        queued: None,
        report: None,
        hand_over: None,
        armed: None,
        repeats: 0,
        told: Instant::now(),
    };
    tokio::select! {
        biased;
        Some(ending) = ended.recv() => ending,
        ending = session.converse() => ending,
    }
}

struct Session {
    context: Context,
    hello: Hello,
    patience: Patience,
    ledger: Ledger,
    contact: Contact,
    /// Where the armed watcher says that it is time to go.
    endings: mpsc::Sender<Ending>,
    running: Option<Running>,
    /// What is to run as soon as the running command has stopped.
    queued: Option<Command>,
    /// What the conductor has not acknowledged yet.
    report: Option<AgentStatus>,
    /// What to do once the conductor has acknowledged that this command is done.
    hand_over: Option<(IntentKey, Leave, Duration)>,
    /// Waits for the time to go; dropping it disarms.
    armed: Option<DropGuard>,
    /// How often in a row the conductor has asked for something that is over.
    repeats: u32,
    /// When progress was last told on the console.
    told: Instant,
}

impl Session {
    async fn converse(mut self) -> Ending {
        if let Err(ending) = self.introduce().await {
            return ending;
        }
        loop {
            self.collect().await;
            let poll = self.poll();
            let outcome = match self.context.client.poll(&poll).await {
                Ok(answer) => {
                    self.hear(&poll.status, answer);
                    self.pause().await;
                    Ok(())
                }
                Err(error) if error.is_refusal() => {
                    say(format_args!("{}: introducing myself again", causes(&error)));
                    self.introduce().await
                }
                Err(error) => self.bear(&error).await,
            };
            if let Err(ending) = outcome {
                return ending;
            }
        }
    }

    /// Says hello until it is answered. A hello that is refused again and again will not be
    /// accepted later: the token is for one boot.
    async fn introduce(&mut self) -> Result<(), Ending> {
        let mut refusals = 0;
        loop {
            let error = match self.context.client.hello(&self.hello).await {
                Ok(welcome) => {
                    self.contact.made();
                    self.ledger.see(welcome.generation);
                    self.context.clock.agree(welcome.now);
                    let (node, generation) = (welcome.node, welcome.generation);
                    say(format_args!(
                        "conductor: this is node {node}, generation {generation}"
                    ));
                    return Ok(());
                }
                Err(error) => error,
            };
            if !error.is_refusal() && !error.is_final() {
                self.bear(&error).await?;
                continue;
            }
            refusals += 1;
            say(causes(&error));
            if refusals >= self.patience.refusals {
                let why = format!("the conductor does not accept this boot ({error})");
                return Err(Ending::PowerOff(why));
            }
            tokio::time::sleep(self.patience.after_refusal).await;
        }
    }

    /// Waits before the next try, unless the conductor has been away for too long.
    async fn bear(&mut self, error: &ClientError) -> Result<(), Ending> {
        self.contact.lost(error);
        self.context.client.turn_to_next();
        // A running command and a deadline to leave have limits of their own.
        let has_work = self.running.is_some() || self.armed.is_some();
        if self.contact.is_given_up() && !has_work {
            let minutes = self.patience.unanswered.as_secs() / 60;
            let why = format!("no answer from the conductor for {minutes} minutes");
            return Err(Ending::PowerOff(why));
        }
        tokio::time::sleep(self.contact.pause()).await;
        Ok(())
    }

    fn poll(&mut self) -> Poll {
        let now = Instant::now();
        let status = match (&self.report, &self.running) {
            (Some(report), _) => report.clone(),
            (None, Some(running)) => AgentStatus::Running {
                command: running.key().clone(),
                progress: running.progress(now),
            },
            (None, None) => AgentStatus::Idle,
        };
        if let AgentStatus::Running { progress, .. } = &status
            && now.duration_since(self.told) >= CONSOLE_INTERVAL
        {
            self.told = now;
            say(describe(progress));
        }
        Poll {
            hurry: status != AgentStatus::Idle,
            status,
        }
    }

    /// Takes the outcome of a command that is over, and starts the one that waited for it.
    async fn collect(&mut self) {
        let outcome = match &mut self.running {
            Some(running) => running.outcome().await,
            None => None,
        };
        if let Some(outcome) = outcome
            && let Some(running) = self.running.take()
        {
            running.tell(&outcome);
            self.report = Some(self.ledger.record(running.key(), outcome));
        }
        if self.running.is_none()
            && let Some(command) = self.queued.take()
        {
            self.report = None;
            self.start(command);
        }
    }

    /// The conductor has heard `told` and answers.
    fn hear(&mut self, told: &AgentStatus, answer: PollAnswer) {
        self.contact.made();
        let acknowledged = match told {
            AgentStatus::Done { command, .. } | AgentStatus::Failed { command, .. } => {
                Some(command)
            }
            AgentStatus::Idle | AgentStatus::Running { .. } => None,
        };
        if acknowledged.is_some() {
            self.report = None;
        }
        if let AgentStatus::Done { command, .. } = told {
            self.arm_after(command);
        }
        if let Some(generation) = answer.generation {
            self.see(generation);
        }
        match answer.command {
            // It has just been told what came of this one, and may not have thought it over yet.
            Some(command) if Some(&command.id) == acknowledged => {}
            Some(command) => self.take(command),
            None => self.repeats = 0,
        }
    }

    /// This is the newest generation of what is wanted of the node: what runs for an older one is
    /// dropped, and so is leaving for it.
    fn see(&mut self, generation: Generation) {
        if generation <= self.ledger.newest() {
            return;
        }
        self.ledger.see(generation);
        self.disarm();
        self.queued = None;
        if let Some(running) = &self.running {
            say(format_args!(
                "command {} is not wanted any more",
                running.key()
            ));
            running.stop();
        }
    }

    fn take(&mut self, command: Command) {
        let is_known = |key: &IntentKey| *key == command.id;
        if self
            .running
            .as_ref()
            .is_some_and(|running| is_known(running.key()))
            || self
                .queued
                .as_ref()
                .is_some_and(|queued| is_known(&queued.id))
        {
            return;
        }
        match self.ledger.judge(&command) {
            Some(report) => {
                if let AgentStatus::Failed { failure, .. } = &report {
                    say(format_args!("command {}: {}", command.id, failure.message));
                }
                self.repeats += 1;
                self.report = Some(report);
            }
            None => {
                self.repeats = 0;
                self.disarm();
                match &self.running {
                    None => self.start(command),
                    Some(running) => {
                        say(format_args!(
                            "command {} overtakes {}",
                            command.id,
                            running.key()
                        ));
                        running.stop();
                        self.queued = Some(command);
                    }
                }
            }
        }
    }

    fn start(&mut self, command: Command) {
        if let Work::HandOver {
            leave,
            deadline_seconds,
        } = command.work
        {
            let deadline = Duration::from_secs(deadline_seconds);
            self.hand_over = Some((command.id.clone(), leave, deadline));
        }
        self.told = Instant::now();
        self.running = Some(Running::start(self.context.clone(), command));
    }

    /// Waits until there is something to say.
    async fn pause(&mut self) {
        if let Some(running) = &mut self.running {
            running.wait(self.patience.report_interval).await;
        } else if self.repeats > 1 {
            let pause = Duration::from_millis(100) * self.repeats.min(10);
            tokio::time::sleep(pause).await;
        }
    }

    /// If the command whose end was acknowledged is the hand-over, waits from now on for the time
    /// to go.
    fn arm_after(&mut self, acknowledged: &IntentKey) {
        let Some((_, leave, deadline)) = self.hand_over.take_if(|(key, ..)| key == acknowledged)
        else {
            return;
        };
        let stop = CancellationToken::new();
        self.armed = Some(stop.clone().drop_guard());
        let (context, endings) = (self.context.clone(), self.endings.clone());
        match leave {
            Leave::AtOnce => {
                say("handing over at once");
                // Nothing else has been sent: what ends the agent's life is sent once.
                let _ = endings.try_send(Ending::StartKernel);
            }
            Leave::WhenUnreachable => {
                say(format_args!(
                    "ready to hand over once {} is out of reach, within {} s",
                    context.witnesses,
                    deadline.as_secs()
                ));
                tokio::task::spawn_blocking(move || {
                    if let Some(ending) = watch(&context, deadline, &stop) {
                        let _ = endings.try_send(ending);
                    }
                });
            }
        }
    }

    fn disarm(&mut self) {
        if self.armed.take().is_some() {
            say("not leaving: there is a newer command");
        }
        self.hand_over = None;
    }
}

/// Waits until the machine has left the provisioning network; `None` if told to stop waiting.
fn watch(context: &Context, deadline: Duration, stop: &CancellationToken) -> Option<Ending> {
    let witnesses = &context.witnesses;
    let until = Instant::now() + deadline;
    let gone = watch_departure(&context.machine, witnesses, until, || stop.is_cancelled());
    match gone {
        _ if stop.is_cancelled() => None,
        Ok(true) => {
            say(format_args!("{witnesses}: out of reach"));
            Some(Ending::StartKernel)
        }
        Ok(false) => Some(Ending::PowerOff(format!(
            "{witnesses} can still be reached after {} s, so this is still the provisioning network",
            deadline.as_secs()
        ))),
        Err(error) => Some(Ending::PowerOff(causes(&error))),
    }
}
