//! The `bessemer serve` of the demo: its configuration, its first token, its end.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bessemer_sim::rack::{RackDescription, StateDirectory};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// The longest that the server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The longest that the server may take to end what is under way.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The longest that an emulated machine may take to start its operating system, in seconds.
const OS_BOOT_DEADLINE: u32 = 400;

/// What is not the same in every configuration.
pub(crate) struct Settings {
    /// `full` or `proxy`.
    pub(crate) dhcp: &'static str,
    /// Where nodes boot.
    pub(crate) vlan: u16,
    /// `[[provisioning.relayed]]`, if there is such a subnet.
    pub(crate) relayed: String,
    /// `timing.os_boot_deadline_kexec`, in seconds.
    pub(crate) kexec_deadline: u32,
}

impl Settings {
    /// The rack's own, served by us alone.
    pub(crate) fn of(rack: &RackDescription) -> Self {
        Self {
            dhcp: "full",
            vlan: rack.vlans.provisioning,
            relayed: String::new(),
            kexec_deadline: OS_BOOT_DEADLINE,
        }
    }
}

/// A running server.
pub(crate) struct BessemerServer {
    command: Vec<String>,
    log: PathBuf,
    token: String,
    child: Child,
}

impl BessemerServer {
    pub(crate) async fn start(
        bessemer: &Path,
        directory: &StateDirectory,
        rack: &RackDescription,
        ramdisk: &Path,
    ) -> Result<Self> {
        Self::start_on(bessemer, directory, rack, ramdisk, &Settings::of(rack)).await
    }

    /// The same with other settings.
    pub(crate) async fn start_on(
        bessemer: &Path,
        directory: &StateDirectory,
        rack: &RackDescription,
        ramdisk: &Path,
        settings: &Settings,
    ) -> Result<Self> {
        let config = directory.path().join("bessemer.toml");
        fs::write(
            &config,
            configuration(directory, rack, &ramdisk.canonicalize()?, settings),
        )?;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let command = vec![
            "netns".into(),
            "exec".into(),
            rack.namespaces.control.clone(),
            path(&bessemer.canonicalize()?),
            "serve".into(),
            "--config".into(),
            path(&config),
        ];
        let log = directory.logs().join("bessemer.log");
        println!(
            "\x1b[36m$ bessemer serve --config {}\x1b[0m",
            config.display()
        );
        let mut child = spawn(&command, &log)?;
        let token_file = directory.path().join("token");
        let token = match fs::read_to_string(&token_file) {
            Ok(token) => token.trim().to_owned(),
            Err(_) => {
                let token = first_token(&mut child).await?;
                write_secret(&token_file, &token)?;
                token
            }
        };
        let server = Self {
            command,
            log,
            token,
            child,
        };
        server.ready().await?;
        Ok(server)
    }

    pub(crate) fn token(&self) -> String {
        self.token.clone()
    }

    /// Kills the server as a power cut would, and starts it again.
    pub(crate) async fn crash_and_restart(&mut self) -> Result<()> {
        self.child.kill().await?;
        sleep(Duration::from_secs(2)).await;
        self.child = spawn(&self.command, &self.log)?;
        self.ready().await
    }

    /// Asks the server to end, and sees it end cleanly.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("the server has ended by itself")?;
        kill(Pid::from_raw(id.try_into()?), Signal::SIGTERM)?;
        let status = timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("the server does not stop")??;
        ensure!(
            status.success(),
            "the server ended with {status}; its log is {}",
            self.log.display()
        );
        Ok(())
    }

    /// Waits until the API answers.
    async fn ready(&self) -> Result<()> {
        let probe = || async {
            let mut command = Command::new("ip");
            command
                .args(&self.command[..4])
                .args(["node", "list", "-o", "json"])
                .env("BESSEMER_TOKEN", &self.token)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().await.is_ok_and(|status| status.success())
        };
        let answered = timeout(START_LIMIT, async {
            while !probe().await {
                sleep(Duration::from_millis(100)).await;
            }
        });
        if answered.await.is_err() {
            bail!(
                "the server does not answer; its log is {}",
                self.log.display()
            );
        }
        Ok(())
    }
}

fn spawn(command: &[String], log: &Path) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    Command::new("ip")
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start `ip netns exec … bessemer serve`")
}

/// The token that the server shows at its first start only: the one line of hexadecimal digits.
async fn first_token(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().context("the server has no output")?;
    let mut lines = BufReader::new(output).lines();
    let found = timeout(START_LIMIT, async {
        while let Some(line) = lines.next_line().await? {
            let word = line.trim();
            if word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Ok(word.to_owned());
            }
        }
        bail!("the server ended without showing an admin token")
    });
    found
        .await
        .context("the server did not show an admin token")?
}

/// Writes a file that only we can read.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(secret.as_bytes())?;
    Ok(())
}

fn configuration(
    directory: &StateDirectory,
    rack: &RackDescription,
    ramdisk: &Path,
    settings: &Settings,
) -> String {
    let host = |address: &str| address.split('/').next().unwrap_or_default().to_owned();
    format!(
        r#"# Written by `bessemer-lab demo`.
data = "{data}"
parked_vlan = {parked}
# Ports are moved by hand here, to see what machines do elsewhere: nobody is to move them back.
port_check = 0

[provisioning]
interface = "{interface}"
address = "{address}"
subnet = "10.77.0.0/24"
pool_first = "10.77.0.50"
pool_last = "10.77.0.99"
vlan = {vlan}
dhcp = "{dhcp}"
ramdisk = "{ramdisk}"
# An emulated timer that comes late on a busy host is no reason to panic.
kernel_arguments = "console=tty0 console=ttyS0,115200 quiet no_timer_check"
{relayed}
[boot_media]
listen = "{bmc}:8483"

[phone_home]
listen = "{public}:8482"

# Emulated machines: firmware is quick, everything else is slow.
[timing]
agent_boot_deadline = 240
os_boot_deadline = {os_boot_deadline}
os_boot_deadline_kexec = {kexec_deadline}
expected_agent_boot = 12
expected_os_boot = 35
expected_write_rate = 50000000
"#,
        data = directory.path().join("data").display(),
        parked = rack.vlans.parked,
        interface = rack.addresses.provisioning_interface,
        address = host(&rack.addresses.provisioning),
        vlan = settings.vlan,
        dhcp = settings.dhcp,
        relayed = settings.relayed,
        os_boot_deadline = OS_BOOT_DEADLINE,
        kexec_deadline = settings.kexec_deadline,
        bmc = host(&rack.addresses.bmc),
        ramdisk = ramdisk.display(),
        public = host(&rack.addresses.public),
    )
}
