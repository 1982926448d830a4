//! Bringing the rack up and taking it down.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::Uid;

use super::cleanup::{HostLock, note_owner, refuse_other_rack, remove_rack, wait_for_burial};
use super::command::require_programs;
use super::description::RackDescription;
use super::directory::{StateDirectory, remove};
use super::layout::{FIRMWARE_CODE, FIRMWARE_VARIABLES, NS_SWITCH, Shape};
use super::{accelerator, bmc, namespace, node, switch};
use crate::Error;

/// BMCs listen within tenths of a second.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at BMCs that do not answer yet.
const READY_INTERVAL: Duration = Duration::from_millis(50);
/// As many last lines of a log as an error message repeats.
const LOG_LINES: usize = 5;

/// The rack to bring up.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// How many racks, 1 or 2. With two there is a second switch, and the first node of each rack has
    /// two NICs.
    pub racks: u16,
    /// How many nodes in all, 1 to [`super::NODE_LIMIT`].
    pub nodes: u16,
    /// Memory of each, in MiB.
    pub memory_mib: u32,
}

/// Brings the rack up and waits until every BMC answers. A rack that is up and well is left as it
/// is; remains of one that is not are removed first.
///
/// `program` is `bessemer-lab`, started again as the daemon.
///
/// # Errors
/// Without root or a needed program, when another rack is up, or when a part does not start; then
/// nothing is left behind.
pub async fn up(
    directory: &StateDirectory,
    options: &UpOptions,
    program: &Path,
) -> Result<RackDescription, Error> {
    require_root()?;
    require_programs()?;
    require_firmware()?;
    let _lock = HostLock::take()?;
    refuse_other_rack(directory).await?;
    if let Some(rack) = running(directory).await? {
        return unless_different(rack, options);
    }
    remove_rack(directory).await?;
    directory.create()?;
    let built = build(directory, options, program).await;
    if built.is_err() {
        // The first error is the one to report.
        if let Err(error) = remove_rack(directory).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot clean up");
        }
    }
    built
}

/// Ends and removes everything `up` made except what the folder keeps. Fine without a rack.
///
/// # Errors
/// Without root, when the rack is another folder's, or when something cannot be removed.
pub async fn down(directory: &StateDirectory) -> Result<(), Error> {
    require_root()?;
    let _lock = HostLock::take()?;
    refuse_other_rack(directory).await?;
    let ended = remove_rack(directory).await?;
    wait_for_burial(&ended).await;
    Ok(())
}

/// Forgets every node's disk and firmware variables; certificates and passwords stay.
///
/// # Errors
/// When the rack is up or a file cannot be removed.
pub async fn reset(directory: &StateDirectory) -> Result<(), Error> {
    require_root()?;
    let _lock = HostLock::take()?;
    if RackDescription::load(directory)?.is_some() {
        return Err(Error::Up);
    }
    let nodes = directory.nodes();
    let entries = match fs::read_dir(&nodes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("list", nodes)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(Error::file("list", &nodes))?;
        node::forget(directory, &entry.file_name().to_string_lossy())?;
    }
    Ok(())
}

/// Forgets all of a rack that is down but its certificates and passwords, with what a server in its folder
/// knew of it: a story that begins anew would stumble over that.
///
/// # Errors
/// As for [`reset`].
pub async fn forget(directory: &StateDirectory) -> Result<(), Error> {
    reset(directory).await?;
    for name in ["data", "token"] {
        remove(&directory.path().join(name))?;
    }
    Ok(())
}

fn require_root() -> Result<(), Error> {
    if Uid::effective().is_root() {
        Ok(())
    } else {
        Err(Error::NotRoot)
    }
}

fn require_firmware() -> Result<(), Error> {
    for path in [FIRMWARE_CODE, FIRMWARE_VARIABLES] {
        if !Path::new(path).is_file() {
            return Err(Error::FileMissing {
                path: path.into(),
                package: "ovmf",
            });
        }
    }
    Ok(())
}

/// The rack of this folder, if all of it works.
async fn running(directory: &StateDirectory) -> Result<Option<RackDescription>, Error> {
    let Ok(Some(rack)) = RackDescription::load(directory) else {
        return Ok(None);
    };
    let racks = u16::try_from(rack.switches.len()).unwrap_or(u16::MAX);
    if !namespace::all_exist(racks) {
        return Ok(None);
    }
    for switch in &rack.switches {
        let nics = rack.nodes.iter().flat_map(|node| &node.nics);
        let nics = nics.filter(|nic| nic.switch == switch.name);
        let ports: Vec<_> = nics.map(|nic| nic.switch_port.as_str()).collect();
        if !switch::works(switch, &ports).await {
            return Ok(None);
        }
    }
    let answers = bmc::ask_all(rack.nodes.clone()).await?;
    let well = answers.iter().all(Result::is_ok);
    Ok(well.then_some(rack))
}

fn unless_different(rack: RackDescription, options: &UpOptions) -> Result<RackDescription, Error> {
    let shown = |racks: usize, nodes: usize, memory: u32| match racks {
        1 => format!("{nodes} nodes of {memory} MiB"),
        _ => format!("{nodes} nodes of {memory} MiB in {racks} racks"),
    };
    let running = shown(rack.switches.len(), rack.nodes.len(), rack.memory_mib);
    let wanted = shown(
        options.racks.into(),
        options.nodes.into(),
        options.memory_mib,
    );
    if running == wanted {
        Ok(rack)
    } else {
        Err(Error::UpDifferently { running, wanted })
    }
}

async fn build(
    directory: &StateDirectory,
    options: &UpOptions,
    program: &Path,
) -> Result<RackDescription, Error> {
    note_owner(directory)?;
    let shape = Shape {
        racks: options.racks,
        nodes: options.nodes,
    };
    let network = async {
        namespace::create_all(shape).await?;
        for rack in 1..=shape.racks {
            switch::start(directory, shape, rack).await?;
            if shape.racks > 1 {
                namespace::set_tunnel_address(rack).await?;
            }
        }
        Ok(())
    };
    // The probe for KVM may take seconds, so let it run beside.
    let (accelerator, ()) = tokio::try_join!(accelerator::best(directory), network)?;
    let nodes = (1..=options.nodes).map(|number| node::prepare(directory, shape, number));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let rack = RackDescription::new(directory, accelerator, options.memory_mib, shape, nodes);
    rack.save(directory)?;
    let mut daemon = start_daemon(directory, program)?;
    wait_until_ready(directory, &rack, &mut daemon).await?;
    Ok(rack)
}

fn start_daemon(directory: &StateDirectory, program: &Path) -> Result<Child, Error> {
    let path = directory.daemon_log();
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(Error::file("open", &path))?;
    let log_again = log.try_clone().map_err(Error::file("open", &path))?;
    Command::new("ip")
        .args(["netns", "exec", NS_SWITCH])
        .arg(program)
        .arg("--dir")
        .arg(directory.path())
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_again)
        .spawn()
        .map_err(Error::file("run", "ip"))
}

/// Waits until every BMC answers on the wire.
async fn wait_until_ready(
    directory: &StateDirectory,
    rack: &RackDescription,
    daemon: &mut Child,
) -> Result<(), Error> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let answers = bmc::ask_all(rack.nodes.clone()).await?;
        let Some(error) = answers.into_iter().find_map(Result::err) else {
            return Ok(());
        };
        if let Ok(Some(status)) = daemon.try_wait() {
            return Err(Error::CommandFailed {
                command: "bessemer-lab daemon".to_owned(),
                status: status.to_string(),
                output: last_lines(&directory.daemon_log()),
            });
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut {
                what: format!("the answer of every BMC ({error})"),
                limit: READY_LIMIT,
                remedy: format!("see {}", directory.daemon_log().display()),
            });
        }
        tokio::time::sleep(READY_INTERVAL).await;
    }
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
