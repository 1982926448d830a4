//! What a switch has counted, by the socket that `ovs-appctl` uses: JSON-RPC, asked often enough here that a
//! program for each question would take most of the time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::vswitch::Vswitch;

/// Frames that a switch has taken in from a port, and let out by it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counter {
    pub(crate) taken: u64,
    pub(crate) let_out: u64,
}

pub(crate) struct Control(RefCell<UnixStream>);

impl Control {
    pub(crate) fn of(switch: &Vswitch) -> Self {
        let stream = UnixStream::connect(switch.socket().with_file_name("vswitchd.ctl")).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        Self(RefCell::new(stream))
    }

    /// What each port has taken in and let out: a frame that was taken in has also gone on, since the
    /// thread that counts is the one that forwards.
    pub(crate) fn counters(&self) -> BTreeMap<String, Counter> {
        let mut counters = BTreeMap::new();
        let mut port = String::new();
        let shown = self.ask("dpctl/show", &["-s"]);
        for line in shown.lines().map(str::trim) {
            let name = line
                .strip_prefix("port ")
                .and_then(|rest| rest.split_once(": "));
            if let Some((_, name)) = name {
                port = name.split(' ').next().unwrap().to_owned();
            }
            let counter: &mut Counter = counters.entry(port.clone()).or_default();
            let packets = |rest: &str| rest.split(' ').next().unwrap().parse().unwrap();
            if let Some(rest) = line.strip_prefix("RX packets:") {
                counter.taken = packets(rest);
            } else if let Some(rest) = line.strip_prefix("TX packets:") {
                counter.let_out = packets(rest);
            }
        }
        counters
    }

    /// Waits until no frame is forwarded by what was cached before the last change: threads of their own
    /// look through the cache, milliseconds after the switch has said that the change is in effect.
    pub(crate) fn wait_for_datapath(&self) {
        self.ask("revalidator/wait", &[]);
    }

    fn ask(&self, method: &str, arguments: &[&str]) -> String {
        let mut stream = self.0.borrow_mut();
        let question = json!({"id": 0, "method": method, "params": arguments});
        stream.write_all(question.to_string().as_bytes()).unwrap();
        let answers = serde_json::Deserializer::from_reader(&*stream).into_iter::<Value>();
        let answer = answers.into_iter().next().unwrap().unwrap();
        answer["result"].as_str().unwrap().to_owned()
    }
}
