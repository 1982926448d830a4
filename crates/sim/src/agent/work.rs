//! The agent itself: hello, poll, carry out, report.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bessemer_core::id::ImageId;
use bessemer_core::reason::Failure;
use bessemer_image::map::BlockMap;
use bessemer_image::write::{Disk, Target, Writer, Zeroing};
use bessemer_image::{config_drive, gpt};
use bessemer_tls::{Trust, client_config};
use bessemer_wire::agent::{
    AgentStatus, Command, CommandResult, ErasedDisk, Hello, Poll, PollAnswer, Progress, Welcome,
    Work,
};
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::AgentError;
use super::host::{Host, HostFaults, Parameters};

/// How often a request is repeated while the conductor is away: a restart takes a moment.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Agent {
    host: Arc<Host>,
    http: reqwest::Client,
    conductor: String,
    session: String,
    /// What became of each command: asked again, it is told again and not done again.
    ledger: HashMap<String, AgentStatus>,
    phone_home: Option<String>,
}

/// How a command ended.
enum Ended {
    Status(AgentStatus),
    /// The agent is gone without a word.
    Vanished,
}

impl Agent {
    pub(super) async fn connect(host: Arc<Host>, boot: Parameters) -> Result<Self, AgentError> {
        let tls = client_config(&Trust::Pinned(boot.pin))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(60))
            .build()?;
        let session = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let hello = Hello {
            boot: boot.boot,
            token: boot.token,
            session: session.clone(),
            identity: host.identity(),
            mac: host.mac,
            version: "simulated".into(),
        };
        let agent = Self {
            host,
            http,
            conductor: boot.conductor,
            session,
            ledger: HashMap::new(),
            phone_home: None,
        };
        agent
            .json::<Welcome>(Method::POST, "hello", Some(&hello))
            .await?;
        Ok(agent)
    }

    /// Works until it is handed over (then: where the OS calls home) or told that its boot is over.
    pub(super) async fn run(mut self) -> Result<Option<String>, AgentError> {
        let mut status = AgentStatus::Idle;
        loop {
            let poll = Poll {
                hurry: status != AgentStatus::Idle,
                status,
            };
            let answer: PollAnswer = self.json(Method::POST, "poll", Some(&poll)).await?;
            let Some(command) = answer.command else {
                status = AgentStatus::Idle;
                continue;
            };
            let id = command.id.0.clone();
            if !self.ledger.contains_key(&id) {
                match self.carry_out(&command).await {
                    Ended::Status(status) => self.ledger.insert(id.clone(), status),
                    Ended::Vanished => return Ok(None),
                };
            }
            status = self.ledger[&id].clone();
            if matches!(command.work, Work::HandOver { .. }) {
                let poll = Poll {
                    hurry: true,
                    status,
                };
                self.json::<PollAnswer>(Method::POST, "poll", Some(&poll))
                    .await?;
                return Ok(self.phone_home);
            }
        }
    }

    async fn carry_out(&mut self, command: &Command) -> Ended {
        let host = self.host.clone();
        host.note(&command.id.0);
        let result = match &command.work {
            Work::Inspect => Ok(CommandResult::Inspected {
                inventory: host.inventory.clone(),
            }),
            Work::Erase => self.erase(),
            Work::WriteImage { image, .. } => {
                if HostFaults::strikes(&host.faults.vanish_in_write) {
                    self.half_write(command, *image).await;
                    return Ended::Vanished;
                }
                self.write_image(command, *image).await
            }
            Work::WriteConfigDrive { .. } => self.write_config_drive().await,
            Work::LoadKernel { .. } | Work::HandOver { .. } => Ok(CommandResult::Nothing),
        };
        let id = command.id.clone();
        Ended::Status(match result {
            Ok(result) => AgentStatus::Done {
                command: id,
                result,
            },
            Err(error) => AgentStatus::Failed {
                command: id,
                failure: Failure::transient(error.to_string()),
            },
        })
    }

    fn erase(&self) -> Result<CommandResult, AgentError> {
        if HostFaults::strikes(&self.host.faults.fail_erase) {
            return Err(std::io::Error::other("simulated: the disk reports a write error").into());
        }
        let file = OpenOptions::new().write(true).open(&self.host.disk)?;
        let size = file.metadata()?.len();
        file.set_len(0)?;
        file.set_len(size)?;
        let disks = self.host.inventory.disks.iter().map(|disk| ErasedDisk {
            name: disk.name.clone(),
            method: "simulated".into(),
            verified_bytes: size,
        });
        Ok(CommandResult::Erased {
            disks: disks.collect(),
        })
    }

    async fn write_image(
        &self,
        command: &Command,
        image: ImageId,
    ) -> Result<CommandResult, AgentError> {
        let writer = self.start_writing(image).await?;
        while let Some(index) = writer.next_missing() {
            writer.accept(index, self.chunk(image, index).await?)?;
            self.report(
                command,
                writer.progress().written,
                writer.progress().to_write,
            )
            .await?;
        }
        let bytes_written = writer.progress().to_write;
        writer.finish()?;
        let disk = self.host.inventory.disks[0].name.clone();
        Ok(CommandResult::Written {
            bytes_written,
            disk,
        })
    }

    /// Writes one chunk and is gone.
    async fn half_write(&self, command: &Command, image: ImageId) {
        let Ok(writer) = self.start_writing(image).await else {
            return;
        };
        if let Some(index) = writer.next_missing()
            && let Ok(bytes) = self.chunk(image, index).await
        {
            let _ = writer.accept(index, bytes);
        }
        let _ = self.report(command, 1, writer.progress().to_write).await;
    }

    async fn start_writing(&self, image: ImageId) -> Result<Writer<Disk>, AgentError> {
        let map: BlockMap = self
            .json(Method::GET, &format!("images/{image}/map"), None::<&()>)
            .await?;
        let disk = Disk::open(&self.host.disk)?;
        Ok(Writer::start(Arc::new(map), disk, Zeroing::Holes)?)
    }

    async fn chunk(&self, image: ImageId, index: usize) -> Result<Bytes, AgentError> {
        self.bytes(
            Method::GET,
            &format!("images/{image}/chunks/{index}"),
            None::<&()>,
        )
        .await
    }

    async fn report(&self, command: &Command, bytes: u64, total: u64) -> Result<(), AgentError> {
        let progress = Progress {
            step: "writing image".into(),
            bytes,
            total,
            rate: 0,
            eta_seconds: None,
        };
        let status = AgentStatus::Running {
            command: command.id.clone(),
            progress,
        };
        let poll = Poll {
            status,
            hurry: true,
        };
        self.json::<PollAnswer>(Method::POST, "poll", Some(&poll))
            .await
            .map(|_| ())
    }

    async fn write_config_drive(&mut self) -> Result<CommandResult, AgentError> {
        let drive = self.bytes(Method::GET, "config-drive", None::<&()>).await?;
        let disk = Disk::open(&self.host.disk)?;
        let partition = gpt::add_config_partition(&disk, Uuid::nil())?;
        disk.flush()?;
        let file = OpenOptions::new().write(true).open(&self.host.disk)?;
        file.write_all_at(&drive, partition.offset)?;
        debug_assert!(drive.len() <= config_drive::MAX_SIZE);
        self.phone_home = phone_home_url(&drive);
        Ok(CommandResult::Nothing)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, AgentError> {
        let bytes = self.bytes(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| AgentError::Disk(error.into()))
    }

    /// One request, repeated while the conductor is away.
    async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, AgentError> {
        let url = format!("{}/agent/v1/{path}", self.conductor);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self
                .http
                .request(method.clone(), &url)
                .bearer_auth(&self.session);
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = match request.send().await {
                Ok(answer) if answer.status().is_success() => answer.bytes().await,
                Ok(answer)
                    if answer.status() == StatusCode::SERVICE_UNAVAILABLE && tries < TRIES =>
                {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Ok(answer) => return Err(AgentError::Refused(answer.status().as_u16())),
                Err(error) => Err(error),
            };
            match answer {
                Ok(bytes) => return Ok(bytes),
                Err(error) if tries >= TRIES => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

/// The URL that the metadata asks the OS to call.
fn phone_home_url(drive: &[u8]) -> Option<String> {
    let start = drive
        .windows(b"http://".len())
        .position(|window| window == b"http://")?;
    let rest = &drive[start..];
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | b'\n'))?;
    String::from_utf8(rest[..end].to_vec()).ok()
}
