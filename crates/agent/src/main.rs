//! `bessemer-agent`: `/init` of the RAM disk.
//!
//! It refuses to run as anything but PID 1: on a machine that is somebody's, it would erase what
//! it finds when told so.

use std::process::ExitCode;

use bessemer_agent::clock::Clock;
use bessemer_agent::console::say;
use bessemer_agent::drivers::Drivers;
use bessemer_agent::machine::Machine;
use bessemer_agent::network::{self, Address, Witnesses, lldp::Neighbors};
use bessemer_agent::session::{self, Ending, Patience};
use bessemer_agent::work::Context;
use bessemer_agent::{client::Client, initial, inventory, random};
use bessemer_boot::parameters::Parameters;
use bessemer_tls::Fingerprint;
use bessemer_wire::agent::Hello;
use nix::sys::utsname::uname;

/// Threads that wait for the network. What computes and what blocks has threads of its own.
const MOST_NETWORK_THREADS: usize = 4;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        say("this is /init of Bessemer's RAM disk; it does not run on a machine that is in use");
        return ExitCode::from(2);
    }
    initial::power_off_on_panic();
    let machine = Machine::this();
    match live(&machine) {
        Ok(Ending::StartKernel) => initial::start_kernel(&machine),
        Ok(Ending::PowerOff(why)) => initial::power_off(&why),
        Err(error) => initial::power_off(&format!("{error:#}")),
    }
}

/// From the first mount to the agent's end.
fn live(machine: &Machine) -> anyhow::Result<Ending> {
    initial::prepare()?;
    let command_line = std::fs::read_to_string("/proc/cmdline")?;
    let parameters = Parameters::parse(&command_line)?;
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    say(format_args!(
        "Bessemer agent {}, boot {}, kernel {}",
        env!("CARGO_PKG_VERSION"),
        parameters.boot,
        release.unwrap_or_default()
    ));
    let drivers = Drivers::start(machine)?;
    let address = Address {
        mac: parameters.mac,
        address: parameters.address,
        prefix: parameters.prefix,
        gateway: parameters.gateway,
    };
    let interface = network::configure(machine, &drivers, &address)?;
    let session = random::session_secret()?;
    let hello = Hello {
        boot: parameters.boot,
        token: parameters.token.reveal().to_owned(),
        session: session.clone(),
        identity: inventory::identity(machine),
        mac: parameters.mac,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let context = Context {
        client: Client::new(
            &parameters.conductors,
            fingerprint(&parameters.pin)?,
            session,
        )?,
        witnesses: Witnesses {
            interface,
            mac: parameters.mac,
            own: parameters.address,
            addresses: network::next_hops(&parameters.conductors, &address)?,
        },
        lldp: Neighbors::listen(machine),
        clock: Clock::of(machine),
        machine: machine.clone(),
        drivers,
    };
    say(format_args!("machine: {}", hello.identity));
    say(format_args!(
        "conductor: {}",
        parameters.conductors.join(", or ")
    ));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(MOST_NETWORK_THREADS))
        .enable_all()
        .build()?;
    let ending = runtime.block_on(session::run(context, hello, Patience::default()));
    // What still runs is of no use to anybody, and must not hold up the end.
    runtime.shutdown_background();
    Ok(ending)
}

fn fingerprint(pin: &[u8; 32]) -> anyhow::Result<Fingerprint> {
    let digits: String = pin.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.parse()?)
}
