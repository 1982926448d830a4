//! What a new server finds on its config drive: OpenStack's metadata documents, as cloud-init and
//! every other first-boot tool read them.
//!
//! Formats: OpenStack Nova's config drive, version `latest` (`meta_data.json`,
//! `network_data.json`, `vendor_data.json`); see Nova's user guide, "Metadata service".

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::id::ServerId;
use crate::net::{Ipv4Subnet, MacAddress};

/// One NIC's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The NIC.
    pub mac: MacAddress,
    /// The network's id or name, for people who read the document.
    pub network: String,
    /// Its subnet.
    pub subnet: Ipv4Subnet,
    /// The server's own address.
    pub address: Ipv4Addr,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Maximum transmission unit, in bytes.
    pub mtu: u16,
}

/// `meta_data.json`: who the server is and which keys open it.
pub fn meta_data(server: ServerId, name: &str, keys: &[(String, String)]) -> Value {
    let public_keys: serde_json::Map<String, Value> = keys
        .iter()
        .map(|(name, key)| (name.clone(), Value::String(key.clone())))
        .collect();
    json!({
        "uuid": server,
        "name": name,
        "hostname": name,
        "launch_index": 0,
        "availability_zone": "default",
        "public_keys": public_keys,
        "meta": {},
    })
}

/// `network_data.json`: the one place where a server's network is written down.
pub fn network_data(attachments: &[Attachment]) -> Value {
    let links: Vec<_> = attachments
        .iter()
        .enumerate()
        .map(|(index, attachment)| {
            json!({
                "id": format!("link{index}"),
                "type": "phy",
                "ethernet_mac_address": attachment.mac,
                "mtu": attachment.mtu,
            })
        })
        .collect();
    let networks: Vec<_> = attachments.iter().enumerate().map(network).collect();
    let services: Vec<_> = attachments
        .iter()
        .flat_map(|attachment| &attachment.dns)
        .map(|address| json!({ "type": "dns", "address": address }))
        .collect();
    json!({ "links": links, "networks": networks, "services": services })
}

fn network((index, attachment): (usize, &Attachment)) -> Value {
    let routes: Vec<_> = attachment
        .gateway
        .iter()
        .map(|gateway| json!({ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": gateway }))
        .collect();
    json!({
        "id": format!("network{index}"),
        "network_id": attachment.network,
        "link": format!("link{index}"),
        "type": "ipv4",
        "ip_address": attachment.address,
        "netmask": attachment.subnet.netmask(),
        "routes": routes,
    })
}

/// What a server's operating system writes to its serial console to say that it is up: one line that
/// nobody else's console shows. `token` is derived for the server and its deployment.
pub fn serial_marker(token: &str) -> String {
    format!("bessemer-up-{token}")
}

/// `vendor_data.json`: a script that says that the system is up, in two ways: by an HTTP POST to
/// `url`, if there is one, and by a line with `marker` on its serial console.
///
/// A script rather than cloud-init's `phone_home` module, because the tenant's own user data would
/// override that one: then a good server would never become active. It goes on in the background
/// for half an hour, with whichever HTTP client the image has, so that neither a missing client nor
/// a server of ours that is away for a while holds up the tenant's boot, and in a service of its own
/// where there is systemd, so that what becomes of cloud-init does not matter once it has begun.
///
/// The marker goes to the serial consoles that the kernel uses, or to the first two serial ports
/// (at 115200 bit/s, the speed of nearly every BMC) if it uses none; a dozen times with growing
/// pauses, because we may be listening only from a moment later on, and no more once HTTP worked.
///
/// `url` and `marker` must have no quotes or white space; the configuration sees to that.
pub fn vendor_data(url: Option<&str>, marker: &str) -> Value {
    let url = url.unwrap_or_default();
    let script = format!(
        r#"#!/bin/sh
# Tells Bessemer, once, that this server is up: over HTTP, and on the serial console.
url='{url}'
marker='{marker}'
if [ -z "$BESSEMER_SERVICE" ] && command -v systemd-run && [ -d /run/systemd/system ]; then
  systemd-run --no-block --unit=bessemer-phone-home --setenv=BESSEMER_SERVICE=1 /bin/sh "$0" && exit
fi >/dev/null 2>&1
call() {{
  if command -v curl; then curl -fsS -m 10 -X POST -d '' "$url"
  elif command -v wget; then wget -q -T 10 -t 1 -O - --post-data= "$url"
  else python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], b"", 10)' "$url"
  fi
}}
write() {{ timeout 5 sh -c 'printf "\r\n%s\r\n" "$1" >"/dev/$2"' sh "$marker" "$1"; }}
mark() {{
  found=
  for console in $(cat /sys/class/tty/console/active); do
    case $console in tty[0-9]*) ;; *) found=1; write "$console" ;; esac
  done
  [ -n "$found" ] && return
  for port in ttyS0 ttyS1; do
    timeout 5 stty -F "/dev/$port" 115200 clocal -crtscts && write "$port"
  done
}}
by_serial() {{
  for pause in 2 3 5 10 15 25 60 60 120 300 600 600; do mark; sleep "$pause"; done
}}
by_http() {{
  [ -n "$url" ] || return 1
  tries=0
  until call; do [ $((tries += 1)) -lt 360 ] || return 1; sleep 5; done
}}
tell() {{
  by_serial & serial=$!
  if by_http; then kill "$serial"; else wait "$serial"; fi
}}
if [ -n "$BESSEMER_SERVICE" ]; then tell; else tell & fi </dev/null >/dev/null 2>&1
"#
    );
    json!({ "cloud-init": script })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_data_says_what_was_ordered() {
        let attachment = Attachment {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            network: "tenant".into(),
            subnet: "192.168.100.0/24".parse().unwrap(),
            address: Ipv4Addr::new(192, 168, 100, 10),
            gateway: Some(Ipv4Addr::new(192, 168, 100, 1)),
            dns: vec![Ipv4Addr::new(192, 168, 100, 1)],
            mtu: 1500,
        };
        assert_eq!(
            network_data(&[attachment]),
            json!({
                "links": [{ "id": "link0", "type": "phy",
                    "ethernet_mac_address": "52:54:00:00:00:01", "mtu": 1500 }],
                "networks": [{ "id": "network0", "network_id": "tenant", "link": "link0",
                    "type": "ipv4", "ip_address": "192.168.100.10", "netmask": "255.255.255.0",
                    "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0",
                        "gateway": "192.168.100.1" }] }],
                "services": [{ "type": "dns", "address": "192.168.100.1" }],
            })
        );
    }

    #[test]
    fn vendor_data_is_a_script_that_knows_the_url_and_the_marker() {
        let marker = serial_marker("0123");
        for (url, line) in [
            (Some("http://192.0.2.1/x"), "\nurl='http://192.0.2.1/x'\n"),
            (None, "\nurl=''\n"),
        ] {
            let data = vendor_data(url, &marker);
            let script = data["cloud-init"].as_str().unwrap();
            assert!(script.starts_with("#!/bin/sh\n"));
            assert!(script.contains(line), "{script}");
            assert!(script.contains("\nmarker='bessemer-up-0123'\n"), "{script}");
        }
    }
}
