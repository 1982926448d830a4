//! `ipmitool` and `ipmiconsole` against the lab's controller, by both cipher suites.

use bessemer_bmc::Bmc;
use bessemer_sim::machine::{BootTarget, Machine, OverrideEnabled, PowerState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

use crate::support::{LIMIT, Lab, PASSWORD};

const SUITES: [&str; 2] = ["3", "17"];

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[tokio::test]
async fn power_is_read_and_switched() {
    let lab = Lab::start().await;
    for suite in SUITES {
        says(&lab.ask(suite, "chassis power status").await, &["is off"]);
        lab.ask(suite, "chassis power on").await;
        assert_eq!(lab.machine.power_state().await, PowerState::On);
        says(&lab.ask(suite, "chassis power status").await, &["is on"]);
        let boots = lab.machine.boot_count();
        lab.ask(suite, "chassis power cycle").await;
        lab.ask(suite, "chassis power reset").await;
        assert_eq!(lab.machine.boot_count(), boots + 2);
        lab.ask(suite, "chassis power off").await;
        assert_eq!(lab.machine.power_state().await, PowerState::Off);
    }
}

#[tokio::test]
async fn the_boot_device_is_set_for_one_boot_and_shown() {
    let lab = Lab::start().await;
    for suite in SUITES {
        lab.ask(suite, "chassis bootdev pxe options=efiboot").await;
        let set = lab.machine.boot_override();
        assert_eq!(set.target, BootTarget::Pxe);
        assert_eq!(set.enabled, OverrideEnabled::Once);
        let shown = lab.ask(suite, "chassis bootparam get 5").await;
        says(&shown, &["Boot Flag Valid", "EFI boot", "Force PXE"]);
        lab.ask(suite, "chassis power on").await;
        assert_eq!(lab.machine.boot_override().target, BootTarget::None);
        let shown = lab.ask(suite, "chassis bootparam get 5").await;
        says(&shown, &["Boot Flag Invalid"]);
        lab.ask(suite, "chassis power off").await;
    }
}

#[tokio::test]
async fn identity_fru_and_sensors_are_shown() {
    let lab = Lab::start().await;
    for suite in SUITES {
        let fru = lab.ask(suite, "fru print 0").await;
        says(&fru, &["Bessemer", "Simulated Server", "SIM00007"]);
        says(&lab.ask(suite, "mc info").await, &["IPMI Version", "2.0"]);
        let guid = lab.ask(suite, "mc guid smbios").await;
        let uuid = lab.machine.inventory().uuid.to_string();
        says(&guid, &[&uuid]);
        let sensors = lab.ask(suite, "sdr list").await;
        says(
            &sensors,
            &["Inlet Temp", "21 degrees C", "CPU Temp", "9 Watts"],
        );
        lab.ask(suite, "chassis power on").await;
        says(
            &lab.ask(suite, "sdr list").await,
            &["44 degrees C", "180 Watts"],
        );
        lab.ask(suite, "chassis power off").await;
    }
    let suites = lab.ask("3", "channel getciphers ipmi").await;
    says(&suites, &["3", "17"]);
}

#[tokio::test]
async fn a_key_beside_the_password_is_needed_where_one_is_set() {
    // ipmitool takes one that begins with a zero byte for none.
    const KEY: &str = "a100b2c3d4e5f60718293a4b5c6d7e8f90a1b200";
    let lab = Lab::start().await;
    let bytes: Vec<u8> = (0..20)
        .map(|at| u8::from_str_radix(&KEY[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    lab.bmc
        .set_ipmi(|settings| settings.key = Some(bytes.clone()));
    for suite in SUITES {
        let words = format!("-y {KEY} chassis power status");
        says(&lab.ask(suite, &words).await, &["is off"]);
        let (succeeded, said) = lab.try_to_ask(suite, "-R 1 chassis power status").await;
        assert!(!succeeded, "{said}");
    }
    let deadline = || tokio::time::Instant::now() + LIMIT;
    let client = lab.client_with_key(PASSWORD, Some(&bytes));
    client.power(deadline()).await.unwrap();
    for key in [None, Some(&bytes[..18])] {
        let error = lab.client_with_key(PASSWORD, key).power(deadline()).await;
        says(&error.unwrap_err().to_string(), &["BMC key (K_g)"]);
    }
}

/// Speaks on the serial line and listens, through a console program on a terminal, and ends the
/// program by its own keys: killed, it may or may not get to closing its session, so that the next
/// one finds the line either free or taken.
async fn converse(lab: &Lab, mut program: Child, ready: &str, quit: &str) {
    let mut keys = program.stdin.take().unwrap();
    let mut screen = program.stdout.take().unwrap();
    let mut typed = lab.machine.serial().typed();
    let port = lab.machine.serial();
    let mut shown = Vec::new();
    let talking = async {
        let mut buffer = [0; 4096];
        let mut asked = false;
        loop {
            let read = screen.read(&mut buffer).await.unwrap();
            assert!(read > 0, "ended: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&shown);
            if text.contains(ready) && !asked {
                asked = true;
                // Nobody listens until the controller has the line.
                while !port.write("\r\nlab login: ") {
                    tokio::task::yield_now().await;
                }
            }
            if text.contains("lab login: ") {
                break;
            }
        }
        keys.write_all(b"root\r").await.unwrap();
        keys.flush().await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains("root\r") {
            heard.extend(typed.recv().await.unwrap());
        }
        keys.write_all(quit.as_bytes()).await.unwrap();
        keys.flush().await.unwrap();
        while screen.read_buf(&mut shown).await.unwrap() > 0 {}
        program.wait().await.unwrap();
    };
    let talked = tokio::time::timeout(LIMIT, talking).await;
    talked.unwrap_or_else(|_| panic!("no login and end: {}", String::from_utf8_lossy(&shown)));
}

#[tokio::test]
async fn ipmitool_has_the_serial_console() {
    let lab = Lab::start().await;
    for suite in SUITES {
        says(&lab.ask(suite, "sol info 1").await, &["115.2", "Enabled"]);
        let program = lab.on_terminal(&lab.ipmitool(suite, "sol activate"));
        converse(&lab, program, "SOL Session operational", "~.").await;
    }
}

#[tokio::test]
async fn ipmiconsole_has_the_serial_console() {
    let lab = Lab::start_on_the_usual_port().await;
    let configuration = lab.freeipmi_configuration();
    for suite in SUITES {
        let address = lab.server.address();
        let line = format!(
            "ipmiconsole --config-file={configuration} -h {} -I {suite} --privilege-level=OPERATOR",
            address.ip()
        );
        let line: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let program = lab.on_terminal(&line);
        converse(&lab, program, "SOL established", "&.").await;
    }
}
