//! The IPMI client against `ipmi_sim` (OpenIPMI), a BMC that we did not write, over a wire that
//! loses, repeats, delays and invents datagrams.

mod commands;
mod console;
mod flaky;
mod reference;
mod relay;
mod strangers;
