//! The lab's management controller by IPMI, as `ipmitool` and `ipmiconsole` (FreeIPMI) meet it, which
//! we did not write, and as our own client does.

mod client;
mod support;
mod tools;
