//! The boot file: what firmware loads over plain HTTP, with the one-time token in it.

use std::net::IpAddr;

use bessemer_boot::parameters;
use bessemer_sim::agent::{Parameters, Protocol};
use bessemer_tls::{Trust, client_config};
use bessemer_wire::agent::Hello;
use reqwest::{Client, Response};

use crate::harness::Site;
use crate::harness::firmware::make_ramdisk;
use crate::harness::image::{run, text};

/// A machine's firmware at this address.
pub(crate) fn firmware(address: IpAddr) -> Client {
    let tls = client_config(&Trust::InsecureNoVerification).unwrap();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .local_address(address)
        .no_proxy()
        .build()
        .unwrap()
}

async fn fetch(address: IpAddr, url: &str) -> Response {
    firmware(address).get(url).send().await.unwrap()
}

/// The `.cmdline` section of a boot file, as binutils reads it.
fn command_line(site: &Site, file: &[u8]) -> String {
    let (path, section) = (site.path("agent.efi"), site.path("cmdline"));
    std::fs::write(&path, file).unwrap();
    let only = ["-O", "binary", "--only-section=.cmdline"];
    run(
        "objcopy",
        &[&only[..], &[text(&path), text(&section)]].concat(),
    );
    let line = std::fs::read_to_string(section).unwrap();
    line.trim_end_matches('\0').to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_file_is_for_one_boot_of_one_machine() {
    let site = Site::start().await;
    make_ramdisk(&site.path("ramdisk")).unwrap();
    let node = site.machine().await;
    node.machine.set_stuck_in_firmware(true);
    site.api.create_node(&node.request()).await.unwrap();
    let boot = site.boot_of(&node).await.boot;
    let server = site.server();
    let leased = server.site.store.boot(boot).await.unwrap().unwrap().address;
    let files = format!("http://{}/boot", server.boot_address.unwrap());
    let secret = server.site.keyring.boot_url_secret(boot);
    let url = format!("{files}/{boot}/{secret}/agent.efi");

    let (own, foreign) = (IpAddr::V4(leased), IpAddr::V4(site.address));
    assert_eq!(fetch(foreign, &url).await.status(), 404, "another machine");
    let unknown = format!("{files}/{}/{secret}/agent.efi", uuid::Uuid::nil());
    assert_eq!(fetch(own, &unknown).await.status(), 404, "another boot");
    let size = firmware(own).head(&url).send().await.unwrap();
    let size = size.headers()["content-length"]
        .to_str()
        .unwrap()
        .to_owned();
    let file = fetch(own, &url).await.bytes().await.unwrap();
    let explained = site.api.explain_node(&node.name).await.unwrap();
    let seen: Vec<_> = explained.boot.iter().map(|each| &each.what).collect();
    assert!(
        format!("{seen:?}").contains("fetches the boot file (GET)"),
        "{seen:?}"
    );
    assert_eq!(file.len().to_string(), size);

    let guessed = format!("{files}/{boot}/{}/agent.efi", "0".repeat(32));
    assert_eq!(fetch(own, &guessed).await.status(), 404, "another secret");
    let part = firmware(own).get(&url).header("Range", "bytes=512-1023");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    let expected = format!("bytes 512-1023/{}", file.len());
    assert_eq!(part.headers()["content-range"], expected.as_str());
    assert_eq!(part.bytes().await.unwrap(), file[512..1024]);
    let beyond = firmware(own).get(&url).header("Range", "bytes=99999999-");
    assert_eq!(beyond.send().await.unwrap().status(), 416);
    ipxe_gets_the_same_in_parts(&format!("{files}/{boot}/{secret}"), own, foreign, &file).await;

    // What the file says opens the door to the agent that it starts.
    let told = parameters::Parameters::parse(&command_line(&site, &file)).unwrap();
    assert_eq!(
        (told.boot, told.mac, told.address),
        (boot, node.host.mac, leased)
    );
    let pin: String = told.pin.iter().map(|byte| format!("{byte:02x}")).collect();
    let parameters = Parameters {
        conductors: told.conductors,
        pin: pin.parse().unwrap(),
        boot: told.boot,
        token: told.token.reveal().to_owned(),
        address: told.address,
    };
    let hello = Hello {
        boot,
        token: parameters.token.clone(),
        session: "a".repeat(64),
        identity: node.host.identity(),
        mac: told.mac,
        version: "played".into(),
    };
    let answer = Protocol::new(&parameters).unwrap().hello(&hello).await;
    assert_eq!(answer.unwrap().status, 200);
    assert_eq!(fetch(own, &url).await.status(), 404, "its agent has called");
    let script = format!("{files}/{boot}/{secret}/agent.ipxe");
    assert_eq!(
        fetch(own, &script).await.status(),
        404,
        "its agent has called"
    );
}

/// iPXE's script, and the parts that it names.
async fn ipxe_gets_the_same_in_parts(base: &str, own: IpAddr, foreign: IpAddr, uki: &[u8]) {
    let script = format!("{base}/agent.ipxe");
    assert_eq!(fetch(foreign, &script).await.status(), 404);
    let script = fetch(own, &script).await.text().await.unwrap();
    assert!(script.starts_with("#!ipxe\n"), "{script}");
    let url = |command: &str| {
        let line = script.lines().find(|line| line.starts_with(command));
        let mut words = line.unwrap().split(' ');
        words
            .find(|word| word.starts_with("http"))
            .unwrap()
            .to_owned()
    };
    for command in ["kernel", "initrd"] {
        let part = fetch(own, &url(command)).await.bytes().await.unwrap();
        assert!(part.len() >= 70_000, "{command}");
        let is_in_uki = uki.windows(part.len()).any(|window| window == part);
        assert!(is_in_uki, "{command}");
        assert_eq!(fetch(foreign, &url(command)).await.status(), 404);
    }
    let line = script.lines().find(|line| line.starts_with("kernel"));
    parameters::Parameters::parse(line.unwrap()).unwrap();
}

/// A node that has become active is somebody's: whatever it asks for, the agent is not given, and
/// iPXE that comes back for the script it was once given is told to boot the disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_is_over_leads_to_the_disk() {
    let site = Site::start().await;
    let server = site.server();
    let files = format!("http://{}/boot", server.boot_address.unwrap());
    let over = bessemer_core::id::BootId(uuid::Uuid::nil());
    let secret = server.site.keyring.boot_url_secret(over);
    let own = IpAddr::V4(site.address);
    for url in [
        format!("{files}/disk.ipxe"),
        format!("{files}/disk.ipxe?mac=52:54:00:00:00:01"),
        format!("{files}/{over}/{secret}/agent.ipxe"),
    ] {
        let script = fetch(own, &url).await.text().await.unwrap();
        assert!(
            script.contains("sanboot") && script.contains("exit"),
            "{script}"
        );
        assert!(!script.contains("kernel"), "{script}");
    }
    for file in ["agent.efi", "vmlinuz", "initramfs", "agent.iso"] {
        let url = format!("{files}/{over}/{secret}/{file}");
        assert_eq!(fetch(own, &url).await.status(), 404, "{file}");
    }
}
