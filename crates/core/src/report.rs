//! How a server's operating system says that it is up: one shell script, and the unit that starts
//! it.
//!
//! The script posts to one URL after the other, if there are any, and writes a marker to the serial console. It comes
//! into the system in one of two ways ([`ReportWay`]):
//!
//! * The agent puts it, with a systemd unit, into the root file system of the image that it has
//!   just written. That needs nothing of the image but systemd: no cloud-init, no network from
//!   it, no user data that leaves it alone. The unit starts it once `multi-user.target` is
//!   reached, which is when logins are possible; it removes script and unit when it is done.
//! * Where the agent cannot (no systemd, a root file system that it cannot read or must not
//!   change), cloud-init runs the same script as vendor data.
//!
//! Everything lies in `/etc`: it is on the root file system, whatever partitions there are beside
//! it, can be written by the running system that is to remove it, and is readable for a service
//! under SELinux. The unit is asked for by a drop-in of `multi-user.target` and not by a link in
//! `multi-user.target.wants`, because systemd's presets, applied at a first boot, remove links of
//! units that no preset enables.

use serde::{Deserialize, Serialize};

/// Where the script lies in the image; for root only, as it holds what reports are known by.
pub const SCRIPT_PATH: &str = "/etc/bessemer-report";

/// Where the unit lies.
pub const UNIT_PATH: &str = "/etc/systemd/system/bessemer-report.service";

/// Where it is asked for: a drop-in of `multi-user.target`.
pub const DROP_IN_PATH: &str = "/etc/systemd/system/multi-user.target.d/bessemer-report.conf";

/// The unit (systemd.service(5)). Nothing of cloud-init is named in it: what that makes of the system
/// before `multi-user.target` is waited for, what it may do after that is not.
pub const UNIT: &str = "\
[Unit]
Description=Tell Bessemer, once, that this server is up
After=multi-user.target
ConditionPathExists=/etc/bessemer-report

[Service]
Environment=BESSEMER_SERVICE=1
ExecStart=/bin/sh /etc/bessemer-report
";

/// The drop-in (systemd.unit(5)).
pub const DROP_IN: &str = "\
[Unit]
Wants=bessemer-report.service
";

/// The largest script, in bytes.
pub const MAX_SCRIPT: usize = 16 << 10;

/// By which way a deployment's system comes to say that it is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "snake_case")]
pub enum ReportWay {
    /// By a unit in its root file system.
    Unit {
        /// Kernel name of the partition with that file system.
        partition: String,
    },
    /// By its cloud-init, which runs the vendor data.
    VendorData {
        /// Why there is no unit.
        why: String,
    },
}

/// The script: POST to `urls`, if there are any, and `marker` on the serial console, until one of the former
/// has worked, for half an hour at most.
///
/// It uses whichever HTTP client the image has. The marker goes to the serial consoles that the
/// kernel uses, or to the first two serial ports (at 115200 bit/s, the speed of nearly every BMC) if
/// it uses none; a dozen times with growing pauses.
///
/// `urls` and `marker` must have no quotes, backslashes or white space; the configuration sees to that.
pub fn script(urls: &[String], marker: &str) -> String {
    let folder = DROP_IN_PATH
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    include_str!("report/script.sh")
        .replace("@SCRIPT@", SCRIPT_PATH)
        .replace("@UNIT@", UNIT_PATH)
        .replace("@DROP_IN@", DROP_IN_PATH)
        .replace("@DROP_IN_FOLDER@", folder)
        .replace("@URLS@", &urls.join(" "))
        .replace("@MARKER@", marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_knows_urls_and_marker_and_what_to_remove() {
        let two = "http://192.0.2.1/x http://192.0.2.2/x";
        for urls in [two, "http://192.0.2.1/x", ""] {
            let line = format!("\nurls='{urls}'\n");
            let urls: Vec<_> = urls.split_whitespace().map(str::to_owned).collect();
            let script = script(&urls, "bessemer-up-0123");
            assert!(script.starts_with("#!/bin/sh\n"));
            assert!(script.contains(&line), "{script}");
            assert!(script.contains("\nmarker='bessemer-up-0123'\n"), "{script}");
            assert!(!script.contains('@'), "{script}");
            let removed = format!("rm -f {SCRIPT_PATH} {UNIT_PATH} {DROP_IN_PATH}\n");
            assert!(script.contains(&removed), "{script}");
            assert!(script.len() < MAX_SCRIPT);
        }
    }

    /// Sent by agents (invariant 7).
    #[test]
    fn names_are_pinned() {
        for (way, text) in [
            (
                ReportWay::Unit {
                    partition: "vda1".into(),
                },
                r#"{"way":"unit","partition":"vda1"}"#,
            ),
            (
                ReportWay::VendorData { why: "w".into() },
                r#"{"way":"vendor_data","why":"w"}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&way).unwrap(), text);
            assert_eq!(serde_json::from_str::<ReportWay>(text).unwrap(), way);
        }
    }

    #[test]
    fn the_unit_starts_what_the_agent_places() {
        assert!(UNIT.contains(&format!("ExecStart=/bin/sh {SCRIPT_PATH}\n")));
        assert!(UNIT.contains(&format!("ConditionPathExists={SCRIPT_PATH}\n")));
        let (_, unit) = UNIT_PATH.rsplit_once('/').unwrap();
        assert!(DROP_IN.contains(&format!("Wants={unit}\n")));
    }
}
