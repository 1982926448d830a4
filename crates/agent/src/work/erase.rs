//! Erasing every disk, so that nothing of a former tenant can be read.
//!
//! Disks are erased at the same time, each in a thread of its own (namespaces of one NVMe controller
//! share one: a Format may concern all of them). A disk that hangs holds its thread inside the
//! kernel, where nobody can end it; so the threads are watched from outside, and a call that takes
//! longer than it may ends the command with an error instead of a wait for ever. What a left thread
//! holds open keeps that disk from being opened again until the machine is started anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use bessemer_core::hardware::Disk as DiskInfo;
use bessemer_wire::agent::{CommandResult, ErasedDisk};
use tokio_util::sync::CancellationToken;

use super::{Job, device};
use crate::inventory::disks;
use crate::machine::Machine;
use crate::{Error, Result};

mod disk;
mod pulse;

use disk::Erasure;
use pulse::Pulse;

/// How often it is looked whether a disk hangs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Erases every disk of the machine and reads back that it is erased.
pub(super) fn erase_all(machine: &Machine, job: &Arc<Job>) -> Result<CommandResult> {
    let disks = disks::all(machine);
    if disks.is_empty() {
        return Err(Error::NoDisks);
    }
    device::be_patient(machine);
    job.tracker
        .begin("erasing", disks.iter().map(|disk| disk.size_bytes).sum());
    let mut groups: BTreeMap<String, Vec<DiskInfo>> = BTreeMap::new();
    for disk in disks {
        let group = disks::controller(machine, &disk);
        groups.entry(group).or_default().push(disk);
    }
    Crew::start(machine, job, groups)?.wait()
}

/// What came of one group of disks.
type Outcome = Result<Vec<ErasedDisk>>;

/// The threads that erase.
struct Crew {
    /// One a group, until it is over.
    watched: BTreeMap<usize, Arc<Pulse>>,
    outcomes: Receiver<(usize, Outcome)>,
    /// Tells all threads to stop: the command was stopped, or a disk has failed.
    stop: CancellationToken,
}

impl Crew {
    fn start(
        machine: &Machine,
        job: &Arc<Job>,
        groups: BTreeMap<String, Vec<DiskInfo>>,
    ) -> Result<Self> {
        let (sender, outcomes) = channel();
        let mut crew = Self {
            watched: BTreeMap::new(),
            outcomes,
            stop: job.stop.child_token(),
        };
        for (number, disks) in groups.into_values().enumerate() {
            let pulse = Arc::new(Pulse::new(&disks[0]));
            let work = Group {
                machine: machine.clone(),
                job: job.clone(),
                stop: crew.stop.clone(),
                pulse: pulse.clone(),
                disks,
            };
            let sender = sender.clone();
            std::thread::Builder::new()
                .name("erase".into())
                .spawn(move || work.run(number, &sender))
                .map_err(|source| Error::File {
                    action: "start a thread for",
                    path: "erase".into(),
                    source,
                })
                // Those that run already must not go on by themselves.
                .inspect_err(|_| crew.stop.cancel())?;
            crew.watched.insert(number, pulse);
        }
        Ok(crew)
    }

    /// Waits until every thread is over or hangs. The first error ends all of them.
    fn wait(mut self) -> Result<CommandResult> {
        let mut disks = Vec::new();
        let mut first_error = None;
        while !self.watched.is_empty() {
            match self.outcomes.recv_timeout(LOOK_INTERVAL) {
                Ok((number, outcome)) => {
                    self.watched.remove(&number);
                    match outcome {
                        Ok(erased) => disks.extend(erased),
                        Err(error) => self.fail(&mut first_error, error),
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    while let Some(error) = self.next_hanging() {
                        self.fail(&mut first_error, error);
                    }
                }
                // Only a thread that panicked goes without a word.
                Err(RecvTimeoutError::Disconnected) => {
                    self.watched.clear();
                    let error = Error::Bug("a thread that erased a disk has panicked".into());
                    self.fail(&mut first_error, error);
                }
            }
        }
        disks.sort_by(|one, other| one.name.cmp(&other.name));
        first_error.map_or(Ok(CommandResult::Erased { disks }), Err)
    }

    /// The others stop because of the first error; that they were stopped is no news.
    fn fail(&self, first: &mut Option<Error>, error: Error) {
        self.stop.cancel();
        first.get_or_insert(error);
    }

    /// Gives up a thread whose call has taken too long.
    fn next_hanging(&mut self) -> Option<Error> {
        let now = Instant::now();
        let (number, error) = self
            .watched
            .iter()
            .find_map(|(number, pulse)| Some((*number, pulse.overdue(now)?)))?;
        self.watched.remove(&number);
        Some(error)
    }
}

/// Disks that one thread erases, one after the other.
struct Group {
    machine: Machine,
    job: Arc<Job>,
    stop: CancellationToken,
    pulse: Arc<Pulse>,
    disks: Vec<DiskInfo>,
}

impl Group {
    fn run(self, number: usize, sender: &Sender<(usize, Outcome)>) {
        let erase = |info| {
            let erasure = Erasure::new(&self.machine, info, &self.job, &self.stop, &self.pulse);
            erasure.run().map_err(|error| error.on(info))
        };
        let outcome = self.disks.iter().map(erase).collect();
        // Nobody listens any more if this thread was given up.
        let _ = sender.send((number, outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::hardware::Transport;

    fn disk(name: &str) -> DiskInfo {
        DiskInfo {
            name: name.into(),
            size_bytes: 1 << 20,
            model: String::new(),
            serial: format!("serial-{name}"),
            wwn: None,
            rotational: false,
            transport: Transport::Other,
        }
    }

    #[test]
    fn a_disk_that_hangs_ends_the_command_and_stops_the_others() {
        let (sender, outcomes) = channel();
        let stop = CancellationToken::new();
        let hanging = Arc::new(Pulse::new(&disk("sda")));
        hanging.begin("zero", 1 << 20, Duration::ZERO);
        let crew = Crew {
            watched: [(0, hanging), (1, Arc::new(Pulse::new(&disk("sdb"))))].into(),
            outcomes,
            stop: stop.clone(),
        };
        let other = std::thread::spawn(move || {
            while !stop.is_cancelled() {
                std::thread::yield_now();
            }
            sender.send((1, Err(Error::Superseded))).unwrap();
            // The thread of the disk that hangs holds its end of the channel too.
            sender
        });
        let error = crew.wait().unwrap_err();
        other.join().unwrap();
        let failure = error.failure();
        assert_eq!(
            failure.class,
            bessemer_core::reason::FailureClass::Transient
        );
        assert!(
            failure.message.contains("sda (serial number serial-sda)")
                && failure.message.contains("zero"),
            "{}",
            failure.message
        );
    }
}
