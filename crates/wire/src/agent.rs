//! The agent protocol: JSON over HTTPS, the agent always being the client.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `POST /agent/v1/hello` | [`Hello`] | [`Welcome`] |
//! | `POST /agent/v1/poll` | [`Poll`] | [`PollAnswer`], after up to [`MAX_POLL_SECONDS`] |
//! | `GET /agent/v1/images/{image}/map` | | the block map, JSON |
//! | `GET /agent/v1/images/{image}/chunks/{first}/{count}` | | so many chunks as they are stored, one after the other |
//! | `GET /agent/v1/report-script` | | the script by which the server being deployed says that it is up |
//! | `GET /agent/v1/network-files` | | the files that the image needs for its network: a list of [`ConfigurationFile`](bessemer_core::network_data::ConfigurationFile), mostly empty |
//! | `GET /agent/v1/config-drive` | | the ISO 9660 image of the server being deployed, with that script for its cloud-init |
//! | `GET /agent/v1/config-drive?report=unit` | | the same without the script, as the agent has placed it |
//!
//! `hello` trades the one-time token of this boot for a session. The agent makes up the session
//! secret itself, so that repeating a `hello` whose answer was lost is harmless, while the same
//! token with another secret is a replay and refused. Every other request carries
//! `Authorization: Bearer <session secret>`.
//!
//! Chunks may also be had without TLS, at the URL that the command gives
//! ([`Work::WriteImage`]), followed by `/{first}/{count}` and without `Authorization`: what they must
//! be is in the block map, which comes over TLS only.
//!
//! A command is an intent of the conductor. The agent keeps a ledger of the commands it has seen:
//! the same id again gives the recorded result again, an older generation is refused.

use bessemer_core::Timestamp;
use bessemer_core::hardware::{DiskIdentity, Inventory, MachineIdentity};
use bessemer_core::id::{BootId, Generation, ImageId};
use bessemer_core::lifecycle::{IntentKey, Leave};
use bessemer_core::net::MacAddress;
use bessemer_core::reason::Failure;
use bessemer_core::report::ReportWay;
use serde::{Deserialize, Serialize};

/// How long the conductor keeps a poll open when there is nothing to say, in seconds.
pub const POLL_SECONDS: u64 = 15;

/// The longest that it keeps one open, in seconds: that of an agent that idles until its node is
/// ordered. Agents wait a little longer than that for an answer.
pub const MAX_POLL_SECONDS: u64 = 240;

/// The largest request body of the agent protocol, in bytes.
pub const MAX_AGENT_BODY: usize = 1 << 20;

/// The agent's first words.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Which boot this is, from the kernel command line.
    pub boot: BootId,
    /// The one-time token of this boot, from the kernel command line.
    pub token: String,
    /// The session secret that the agent has made up: 64 hexadecimal digits (32 random bytes).
    pub session: String,
    /// The machine that the agent finds itself on.
    pub identity: MachineIdentity,
    /// The NIC it came up with.
    pub mac: MacAddress,
    /// The agent's version.
    pub version: String,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hello")
            .field("boot", &self.boot)
            .field("mac", &self.mac)
            .finish_non_exhaustive()
    }
}

/// The answer to a good [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The node's name, for the agent's log.
    pub node: String,
    /// The newest generation: the agent's ledger starts here.
    pub generation: Generation,
    /// What time it is. The clock of the node may be years off.
    pub now: Timestamp,
}

/// What the agent reports; the answer brings the next command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// What the agent is doing.
    pub status: AgentStatus,
    /// Whether to answer at once instead of waiting for news (sent while a command runs, whose
    /// progress the agent reports about once a second).
    pub hurry: bool,
}

/// What an agent is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AgentStatus {
    /// Waiting for a command.
    Idle,
    /// Carrying a command out.
    Running {
        /// The command.
        command: IntentKey,
        /// How far it is.
        progress: Progress,
    },
    /// The command has been carried out and verified.
    Done {
        /// The command.
        command: IntentKey,
        /// What came of it.
        result: CommandResult,
    },
    /// The command has failed or was refused.
    Failed {
        /// The command.
        command: IntentKey,
        /// Why.
        failure: Failure,
    },
}

/// How far a running command is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// What is being done, for people: "writing image".
    pub step: String,
    /// Bytes dealt with.
    pub bytes: u64,
    /// Bytes in all; 0 where there is nothing to count.
    pub total: u64,
    /// Bytes per second of late.
    pub rate: u64,
    /// Seconds to go at that rate, where it can be told.
    pub eta_seconds: Option<u64>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum CommandResult {
    /// Nothing to tell beyond that it is done.
    Nothing,
    /// What the machine is made of.
    Inspected {
        /// The inventory.
        inventory: Box<Inventory>,
    },
    /// The disks are erased.
    Erased {
        /// One entry a disk: its name and how it was erased and verified.
        disks: Vec<ErasedDisk>,
    },
    /// The agent is alive, and where it should be.
    Proven {
        /// The question, back.
        nonce: String,
        /// The machine that the agent finds itself on now.
        identity: MachineIdentity,
    },
    /// The kernel is loaded.
    KernelLoaded {
        /// Its release, such as `6.1.0-25-amd64`.
        release: String,
    },
    /// The config drive is on the disk, and it is settled how the system will say that it is up.
    /// Agents that know one way only answer [`CommandResult::Nothing`]: that of the vendor data.
    ConfigDriveWritten {
        /// How.
        report: ReportWay,
    },
    /// The image is on the disk.
    Written {
        /// Bytes written to the disk (zeros not counted).
        bytes_written: u64,
        /// Kernel name of the disk.
        disk: String,
    },
}

/// How one disk was erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedDisk {
    /// Kernel name at the time; it may be another one at the next boot.
    pub name: String,
    /// Serial number, empty if unknown.
    pub serial: String,
    /// Such as `nvme format`, `write zeroes`.
    pub method: String,
    /// Bytes read back and found zero.
    pub verified_bytes: u64,
}

/// What the conductor answers a poll.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PollAnswer {
    /// The command to carry out (again and again the same one, until its result is recorded).
    pub command: Option<Command>,
    /// The newest generation of what is wanted of the node: what runs for an older one is to be
    /// dropped. Absent from conductors that do not tell.
    #[serde(default)]
    pub generation: Option<Generation>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its name.
    pub id: IntentKey,
    /// The generation it serves; refused if older than the newest the agent has seen.
    pub generation: Generation,
    /// The machine it is meant for; refused on any other.
    pub expects: MachineIdentity,
    /// What to do.
    pub work: Work,
}

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Say that you are alive, and on which machine.
    Prove {
        /// To be sent back.
        nonce: String,
    },
    /// Find out what the machine is made of.
    Inspect,
    /// Erase every disk and read back that it is erased.
    Erase,
    /// Write an image, skipping its zeros.
    WriteImage {
        /// The image.
        image: ImageId,
        /// The disk to write to.
        disk: DiskIdentity,
        /// Where its chunks are to be had without TLS; absent where they come over TLS like
        /// everything else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chunks_in_clear: Option<ChunkUrl>,
    },
    /// Place the network's files, if there are any, and the report unit, if that can be done, in the
    /// image's root file system; fetch the config drive and write it to a new last partition of the disk.
    WriteConfigDrive {
        /// The disk that carries the image.
        disk: DiskIdentity,
    },
    /// Load the kernel and initramfs of the written image by `kexec_file_load`.
    LoadKernel {
        /// The disk that carries the image.
        disk: DiskIdentity,
    },
    /// Arm: start the loaded kernel as `leave` says. The agent reports done first, then goes.
    HandOver {
        /// What tells the agent to go.
        leave: Leave,
        /// If it cannot go within this time, it powers the machine off instead. In seconds.
        deadline_seconds: u64,
    },
}

/// A URL under which the chunks of one image are to be had by one boot. It holds the right to have
/// them, so printing it for debugging does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChunkUrl(pub String);

impl std::fmt::Debug for ChunkUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ChunkUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent over the wire between versions: names are a promise (invariant 7).
    #[test]
    fn wire_names_are_pinned() {
        let command = Command {
            id: IntentKey("3.deploying.1.hand_over.1".into()),
            generation: Generation(3),
            expects: MachineIdentity {
                serial: "S".into(),
                uuid: None,
            },
            work: Work::HandOver {
                leave: Leave::WhenUnreachable,
                deadline_seconds: 600,
            },
        };
        let text = r#"{"id":"3.deploying.1.hand_over.1","generation":3,"expects":{"serial":"S","uuid":null},"work":{"work":"hand_over","leave":"when_unreachable","deadline_seconds":600}}"#;
        assert_eq!(serde_json::to_string(&command).unwrap(), text);
        assert_eq!(serde_json::from_str::<Command>(text).unwrap(), command);
        let prove = Work::Prove { nonce: "n".into() };
        let text = r#"{"work":"prove","nonce":"n"}"#;
        assert_eq!(serde_json::to_string(&prove).unwrap(), text);
        assert_eq!(serde_json::from_str::<Work>(text).unwrap(), prove);
        for (result, text) in [
            (
                CommandResult::Proven {
                    nonce: "n".into(),
                    identity: command.expects.clone(),
                },
                r#"{"result":"proven","nonce":"n","identity":{"serial":"S","uuid":null}}"#,
            ),
            (
                CommandResult::ConfigDriveWritten {
                    report: ReportWay::VendorData { why: "w".into() },
                },
                r#"{"result":"config_drive_written","report":{"way":"vendor_data","why":"w"}}"#,
            ),
            (
                CommandResult::KernelLoaded {
                    release: "6.1".into(),
                },
                r#"{"result":"kernel_loaded","release":"6.1"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&result).unwrap(), text);
            assert_eq!(serde_json::from_str::<CommandResult>(text).unwrap(), result);
        }
        let status = AgentStatus::Done {
            command: IntentKey("1.cleaning.1.erase.1".into()),
            result: CommandResult::Erased {
                disks: vec![ErasedDisk {
                    name: "nvme0n1".into(),
                    serial: "S".into(),
                    method: "nvme format".into(),
                    verified_bytes: 7,
                }],
            },
        };
        let text = r#"{"status":"done","command":"1.cleaning.1.erase.1","result":{"result":"erased","disks":[{"name":"nvme0n1","serial":"S","method":"nvme format","verified_bytes":7}]}}"#;
        assert_eq!(serde_json::to_string(&status).unwrap(), text);
        assert_eq!(serde_json::from_str::<AgentStatus>(text).unwrap(), status);
    }

    #[test]
    fn a_write_names_its_disk_and_maybe_where_its_chunks_are() {
        let image = ImageId(uuid::Uuid::nil());
        let disk = DiskIdentity {
            name: "sda".into(),
            serial: "D".into(),
            size_bytes: 512,
            wwn: Some("naa.1".into()),
        };
        let work = |chunks_in_clear| Work::WriteImage {
            image,
            disk: disk.clone(),
            chunks_in_clear,
        };
        let text = |rest: &str| {
            format!(
                r#"{{"work":"write_image","image":"{image}","disk":{{"name":"sda","serial":"D","size_bytes":512,"wwn":"naa.1"}}{rest}}}"#
            )
        };
        let url = work(Some(ChunkUrl("http://h/planted".into())));
        for (work, text) in [
            (work(None), text("")),
            (
                url.clone(),
                text(r#","chunks_in_clear":"http://h/planted""#),
            ),
        ] {
            assert_eq!(serde_json::to_string(&work).unwrap(), text);
            assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), work);
        }
        assert!(!format!("{url:?}").contains("planted"));
    }

    #[test]
    fn a_hello_does_not_show_its_secrets() {
        let hello = Hello {
            boot: BootId(uuid::Uuid::nil()),
            token: "planted-token".into(),
            session: "planted-session".into(),
            identity: MachineIdentity {
                serial: String::new(),
                uuid: None,
            },
            mac: "52:54:00:00:00:01".parse().unwrap(),
            version: String::new(),
        };
        assert!(!format!("{hello:?}").contains("planted"));
    }
}
