//! The agent itself: hello, poll, carry out, report.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bessemer_core::hardware::DiskIdentity;
use bessemer_core::id::ImageId;
use bessemer_core::lifecycle::Leave;
use bessemer_core::reason::Failure;
use bessemer_core::report::ReportWay;
use bessemer_image::gpt;
use bessemer_image::map::BlockMap;
use bessemer_image::write::{Disk, Target, Writer, Zeroing};
use bessemer_wire::agent::{
    AgentStatus, ChunkUrl, Command, CommandResult, ErasedDisk, Hello, Poll, PollAnswer, Progress,
    Welcome, Work,
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use uuid::Uuid;

use super::config_drive::{self, Home};
use super::host::{Host, HostFaults, Inside, Parameters};
use super::ledger::Ledger;
use super::protocol::{Answer, Protocol};
use super::{AgentError, root, zeros};

/// How often a request is repeated while the conductor is away: a restart takes a moment.
const TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(20);

/// After so many repetitions it is no restart, and the pauses are longer.
const QUICK_TRIES: u32 = 200;
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// How often an agent that is held in the middle of its work says that it is still there.
const HELD_REPORT: Duration = Duration::from_millis(200);

/// The same of one that waits for its turn to write: well within the time that a silent agent has.
const WAITING_REPORT: Duration = Duration::from_secs(15);

/// How an agent's life ends.
pub(super) enum Ending {
    /// The tenant's OS is started, which is to say so here.
    OperatingSystem { home: Home },
    /// It is gone without a word.
    Vanished,
}

pub(super) struct Agent {
    host: Arc<Host>,
    protocol: Protocol,
    session: String,
    ledger: Ledger,
    /// What it said last of a command that had ended.
    said: AgentStatus,
}

/// Where chunks come from.
struct Chunks {
    image: ImageId,
    in_clear: Option<ChunkUrl>,
}

/// How a command ended.
enum Outcome {
    Told(AgentStatus),
    Vanished,
}

impl Agent {
    pub(super) async fn connect(host: Arc<Host>, boot: Parameters) -> Result<Self, AgentError> {
        let protocol = Protocol::new(&boot)?;
        let session = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let mut identity = host.identity();
        if HostFaults::strikes(&host.faults.other_identity) {
            identity.serial.push_str("-OTHER");
            identity.uuid = Some(Uuid::new_v4());
        }
        let hello = Hello {
            boot: boot.boot,
            token: boot.token,
            session: session.clone(),
            identity,
            mac: host.mac,
            version: "simulated".into(),
        };
        let mut patience = Patience::default();
        let answer = loop {
            let answer = online(&host, protocol.hello(&hello)).await;
            if let Some(answer) = patience.bear(answer).await? {
                break answer;
            }
        };
        let welcome: Welcome = serde_json::from_slice(&answer)?;
        host.is_let_in_as(&hello.identity);
        host.now_runs(Inside::Agent);
        Ok(Self {
            said: AgentStatus::Idle,
            ledger: Ledger::new(host.identity(), welcome.generation),
            host,
            protocol,
            session,
        })
    }

    /// Works until it is handed over, vanishes, or is told that its boot is over (an error).
    pub(super) async fn run(mut self) -> Result<Ending, AgentError> {
        let mut status = AgentStatus::Idle;
        loop {
            let Some(command) = self.poll(status).await?.command else {
                status = AgentStatus::Idle;
                continue;
            };
            status = match self.ledger.answer(&command) {
                Some(status) => status,
                None => match self.carry_out(&command).await {
                    Outcome::Told(status) => self.ledger.record(&command, status),
                    Outcome::Vanished => return Ok(Ending::Vanished),
                },
            };
            if let Work::HandOver { leave, .. } = command.work
                && let AgentStatus::Done { .. } = status
            {
                self.arm(status, leave).await?;
                return match HostFaults::strikes(&self.host.faults.kexec_hangs) {
                    true => Ok(Ending::Vanished),
                    false => self.start_system(),
                };
            }
        }
    }

    /// Says that it is ready, and waits until the network has vanished if it is to. What a conductor
    /// says that can be reached no more is of no interest.
    async fn arm(&mut self, ready: AgentStatus, leave: Leave) -> Result<(), AgentError> {
        let link = self.host.link().cloned();
        let Some(link) = link.filter(|_| leave == Leave::WhenUnreachable) else {
            return self.poll(ready).await.map(drop);
        };
        self.host.now_runs(Inside::ArmedAgent);
        tokio::select! {
            told = self.poll(ready) => {
                told?;
                link.until_away().await;
            }
            () = link.until_away() => {}
        }
        Ok(())
    }

    async fn carry_out(&mut self, command: &Command) -> Outcome {
        let host = self.host.clone();
        host.note(&command.id.0);
        if let Some(failure) = host.failure_at(&command.id.0) {
            let command = command.id.clone();
            return Outcome::Told(AgentStatus::Failed { command, failure });
        }
        let result = match &command.work {
            Work::Prove { nonce } => Ok(CommandResult::Proven {
                nonce: nonce.clone(),
                identity: host.identity(),
            }),
            Work::Inspect => Ok(CommandResult::Inspected {
                inventory: Box::new(host.inventory.clone()),
            }),
            Work::Erase => match self.erase_slowly(command).await {
                Ok(()) => self.erase(),
                Err(error) => Err(error),
            },
            Work::WriteImage {
                image,
                disk,
                chunks_in_clear,
            } => {
                let chunks = Chunks {
                    image: *image,
                    in_clear: chunks_in_clear.clone(),
                };
                if HostFaults::strikes(&host.faults.vanish_in_write) {
                    self.half_write(command, chunks, disk).await;
                    return Outcome::Vanished;
                }
                if HostFaults::strikes(&host.faults.fail_write) {
                    self.half_write(command, chunks, disk).await;
                    Err(self.disk_error("cannot write 1048576 bytes to the disk"))
                } else {
                    self.write_image(command, chunks, disk).await
                }
            }
            Work::WriteConfigDrive { disk } => self.write_config_drive(disk).await,
            Work::LoadKernel { disk } => self.find_kernel(disk),
            Work::HandOver { .. } => Ok(CommandResult::Nothing),
        };
        let id = command.id.clone();
        Outcome::Told(match result {
            Ok(result) => AgentStatus::Done {
                command: id,
                result,
            },
            Err(error) => AgentStatus::Failed {
                command: id,
                failure: Failure::transient(error.cause(), error.to_string()),
            },
        })
    }

    /// What the agent says of a disk that fails.
    fn disk_error(&self, what: &str) -> AgentError {
        let disk = &self.host.inventory.disks[0];
        let (name, serial) = (&disk.name, &disk.serial);
        std::io::Error::other(format!(
            "disk {name} (serial number {serial}): {what} at offset 0: Input/output error (os \
             error 5)"
        ))
        .into()
    }

    /// Takes the time that the disks take.
    async fn erase_slowly(&mut self, command: &Command) -> Result<(), AgentError> {
        let seconds = self.host.faults.seconds_to_erase.load(Ordering::SeqCst);
        for second in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (done, all) = (u64::from(second) + 1, u64::from(seconds));
            self.say_how_far(command, "erasing", (done, all)).await?;
        }
        Ok(())
    }

    /// Drops everything that is on the disks and reads back that it is gone.
    fn erase(&self) -> Result<CommandResult, AgentError> {
        if HostFaults::strikes(&self.host.faults.fail_erase) {
            return Err(self.disk_error("cannot zero 33554432 bytes of the disk"));
        }
        let mut erased = Vec::new();
        for (disk, path) in self.host.inventory.disks.iter().zip(&self.host.disks) {
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(0)?;
            file.set_len(disk.size_bytes)?;
            if let Some(at) = zeros::first_nonzero(path)? {
                return Err(std::io::Error::other(format!("byte {at} is not zero")).into());
            }
            erased.push(ErasedDisk {
                name: disk.name.clone(),
                serial: disk.serial.clone(),
                method: "simulated".into(),
                verified_bytes: disk.size_bytes,
            });
        }
        Ok(CommandResult::Erased { disks: erased })
    }

    async fn write_image(
        &mut self,
        command: &Command,
        chunks: Chunks,
        disk: &DiskIdentity,
    ) -> Result<CommandResult, AgentError> {
        let _place = self.wait_for_turn(command).await?;
        let writer = self.start_writing(chunks.image, disk).await?;
        while let Some(run) = writer.next_missing(0) {
            let stored = self.chunk(&chunks, run.start).await?;
            writer.accept(run.start, &stored)?;
            self.report(command, &writer).await?;
            self.write_slowly(command, &writer).await?;
            self.stay_while_held(command, &writer).await?;
        }
        let bytes_written = writer.progress().to_write;
        writer.finish()?;
        Ok(CommandResult::Written {
            bytes_written,
            disk: disk.name.clone(),
        })
    }

    /// Waits until this machine may write, where only so many may at the same time, and says every
    /// now and then that it is still there.
    async fn wait_for_turn(
        &mut self,
        command: &Command,
    ) -> Result<Option<OwnedSemaphorePermit>, AgentError> {
        let Some(writers) = self.host.writers().cloned() else {
            return Ok(None);
        };
        loop {
            let turn = timeout(WAITING_REPORT, writers.clone().acquire_owned()).await;
            // Nobody closes it.
            if let Ok(turn) = turn {
                return Ok(turn.ok());
            }
            let progress = Progress {
                step: "waiting to write".into(),
                bytes: 0,
                total: 0,
                rate: 0,
                eta_seconds: None,
            };
            let command = command.id.clone();
            self.poll(AgentStatus::Running { command, progress })
                .await?;
        }
    }

    /// Writes one chunk and is gone.
    async fn half_write(&mut self, command: &Command, chunks: Chunks, disk: &DiskIdentity) {
        let Ok(writer) = self.start_writing(chunks.image, disk).await else {
            return;
        };
        if let Some(run) = writer.next_missing(0)
            && let Ok(stored) = self.chunk(&chunks, run.start).await
        {
            // Whether that worked is of no interest to somebody who is about to vanish.
            let _ = writer.accept(run.start, &stored);
            let _ = self.report(command, &writer).await;
        }
    }

    /// A disk that takes its time; the agent says meanwhile that it is at work.
    async fn write_slowly(
        &mut self,
        command: &Command,
        writer: &Writer<Disk>,
    ) -> Result<(), AgentError> {
        for _ in 0..self.host.faults.seconds_a_chunk.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.report(command, writer).await?;
        }
        Ok(())
    }

    async fn stay_while_held(
        &mut self,
        command: &Command,
        writer: &Writer<Disk>,
    ) -> Result<(), AgentError> {
        let mut held = self.host.faults.hold_in_write.subscribe();
        while *held.borrow_and_update() {
            self.report(command, writer).await?;
            // Both ways out lead to a look at what it is now.
            let _ = timeout(HELD_REPORT, held.changed()).await;
        }
        Ok(())
    }

    async fn start_writing(
        &self,
        image: ImageId,
        disk: &DiskIdentity,
    ) -> Result<Writer<Disk>, AgentError> {
        let path = self.host.find(disk)?;
        let map = self.get(&format!("images/{image}/map")).await?;
        let map: BlockMap = serde_json::from_slice(&map)?;
        let disk = Disk::open(path)?;
        Ok(Writer::start(Arc::new(map), disk, Zeroing::Holes)?)
    }

    async fn chunk(&self, chunks: &Chunks, index: usize) -> Result<Bytes, AgentError> {
        let mut patience = Patience::default();
        // Who has them in the clear may be gone while another conductor is there.
        let mut by_tls = false;
        loop {
            let asked = async {
                match chunks.in_clear.as_ref().filter(|_| !by_tls) {
                    Some(url) => self.protocol.chunks_in_clear(url, index, 1).await,
                    None => {
                        let path = format!("images/{}/chunks/{index}/1", chunks.image);
                        self.protocol.get(&self.session, &path).await
                    }
                }
            };
            let answer = online(&self.host, asked).await;
            by_tls ^= answer.is_err();
            if let Some(answer) = patience.bear(answer).await? {
                return Ok(answer);
            }
        }
    }

    async fn report(&mut self, command: &Command, writer: &Writer<Disk>) -> Result<(), AgentError> {
        let progress = writer.progress();
        let (written, all) = (progress.written, progress.to_write);
        self.say_how_far(command, "writing image", (written, all))
            .await
    }

    async fn say_how_far(
        &mut self,
        command: &Command,
        doing: &str,
        (bytes, total): (u64, u64),
    ) -> Result<(), AgentError> {
        let progress = Progress {
            step: doing.into(),
            bytes,
            total,
            rate: 0,
            eta_seconds: None,
        };
        let command = command.id.clone();
        let status = AgentStatus::Running { command, progress };
        self.poll(status).await.map(drop)
    }

    async fn write_config_drive(&self, meant: &DiskIdentity) -> Result<CommandResult, AgentError> {
        let file = self.host.find(meant)?;
        let (report, path) = match self.host.root_is_writable.load(Ordering::SeqCst) {
            true => {
                let script = self.get("report-script").await?;
                root::place(file, &script)?;
                let partition = format!("{}p1", meant.name);
                (ReportWay::Unit { partition }, "config-drive?report=unit")
            }
            false => {
                let why = "a simulated image has no root file system".to_owned();
                (ReportWay::VendorData { why }, "config-drive")
            }
        };
        let drive = self.get(path).await?;
        let disk = Disk::open(file)?;
        let partition = gpt::add_config_partition(&disk, Uuid::nil())?;
        disk.flush()?;
        let file = OpenOptions::new().write(true).open(file)?;
        file.write_all_at(&drive, partition.offset)?;
        Ok(CommandResult::ConfigDriveWritten { report })
    }

    /// There is no kernel in a simulated image, but there must be an image.
    fn find_kernel(&self, disk: &DiskIdentity) -> Result<CommandResult, AgentError> {
        gpt::check(&Disk::open(self.host.find(disk)?)?)?;
        Ok(CommandResult::KernelLoaded {
            release: "6.1.0-simulated".into(),
        })
    }

    fn start_system(&self) -> Result<Ending, AgentError> {
        let home = system_on(&self.host)?;
        Ok(Ending::OperatingSystem { home })
    }

    async fn poll(&mut self, status: AgentStatus) -> Result<PollAnswer, AgentError> {
        let faults = &self.host.faults;
        if HostFaults::strikes(&faults.replay) {
            self.say(self.said.clone()).await?;
        }
        if HostFaults::strikes(&self.host.faults.duplicate) && status != AgentStatus::Idle {
            self.say(status.clone()).await?;
        }
        if let AgentStatus::Done { .. } | AgentStatus::Failed { .. } = status {
            self.said = status.clone();
        }
        self.say(status).await
    }

    async fn say(&self, status: AgentStatus) -> Result<PollAnswer, AgentError> {
        let hurry = status != AgentStatus::Idle;
        let poll = Poll { status, hurry };
        let mut patience = Patience::default();
        loop {
            let answer = online(&self.host, self.protocol.poll(&self.session, &poll)).await;
            if let Some(answer) = patience.bear(answer).await? {
                return Ok(serde_json::from_slice(&answer)?);
            }
        }
    }

    async fn get(&self, path: &str) -> Result<Bytes, AgentError> {
        let mut patience = Patience::default();
        loop {
            let answer = online(&self.host, self.protocol.get(&self.session, path)).await;
            if let Some(answer) = patience.bear(answer).await? {
                return Ok(answer);
            }
        }
    }
}

/// Starts the tenant's OS, which finds on a disk how it is to say that it is up: as a unit in its root
/// file system, or on its config drive.
pub(super) fn system_on(host: &Host) -> Result<Home, AgentError> {
    let mut looks = host.disks.iter().map(|path| system_on_disk(path));
    let found = looks.find_map(Result::ok);
    found.ok_or_else(|| std::io::Error::other("no disk holds a system").into())
}

fn system_on_disk(path: &Path) -> Result<Home, AgentError> {
    let disk = Disk::open(path)?;
    let partition = gpt::add_config_partition(&disk, Uuid::nil())?;
    let mut drive = vec![0; gpt::CONFIG_PARTITION_SIZE as usize];
    disk.read_at(partition.offset, &mut drive)?;
    let unit = root::script(path)?;
    let home = unit
        .as_deref()
        .and_then(config_drive::of_script)
        .or_else(|| config_drive::home(&drive))
        .ok_or_else(|| std::io::Error::other("nothing on the disk says whom to call"))?;
    Ok(home)
}

/// The answer to a request, if the network leads to the conductor until it has come.
async fn online(
    host: &Host,
    request: impl Future<Output = Result<Answer, AgentError>>,
) -> Result<Answer, AgentError> {
    if host.faults.cut_off.load(Ordering::SeqCst) {
        return Err(AgentError::NoNetwork);
    }
    match host.link() {
        None => request.await,
        Some(link) if !link.reaches_conductor() => Err(AgentError::NoNetwork),
        Some(link) => tokio::select! {
            answer = request => answer,
            () = link.until_away() => Err(AgentError::NoNetwork),
        },
    }
}

/// How a request is repeated while the conductor is away or cannot answer now.
#[derive(Default)]
struct Patience {
    tries: u32,
}

impl Patience {
    /// The body, if this is an answer; `None`, after a pause, if it is to be asked for again.
    async fn bear(
        &mut self,
        answer: Result<Answer, AgentError>,
    ) -> Result<Option<Bytes>, AgentError> {
        self.tries += 1;
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => return Ok(Some(answer.body)),
            Ok(answer) if answer.status != 503 || self.tries >= TRIES => {
                return Err(AgentError::Refused(answer.status));
            }
            Err(error) if self.tries >= TRIES => return Err(error),
            Ok(_) | Err(_) if self.tries > QUICK_TRIES => tokio::time::sleep(LONG_PAUSE).await,
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
        Ok(None)
    }
}
