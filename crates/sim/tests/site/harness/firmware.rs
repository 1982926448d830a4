//! What a simulated machine's firmware finds, from the server in the same process. The benchmark
//! uses this file too.

use std::io;
use std::path::Path;
use std::process::Command;

use bessemer_core::net::MacAddress;
use bessemer_server::site::Site;
use bessemer_sim::agent::Parameters;
use bessemer_tls::Fingerprint;

/// What DHCP and the boot file would tell a machine now, if anything. Agents find conductors by the
/// certificate `pin`.
pub(crate) async fn offered(site: &Site, pin: Fingerprint, mac: MacAddress) -> Option<Parameters> {
    let boot = site.store.boot_by_mac(mac).await.ok().flatten()?;
    (!boot.used).then(|| Parameters {
        conductors: site.peers.agent_urls(),
        pin,
        boot: boot.boot,
        token: site.keyring.boot_token(boot.boot),
        address: boot.address,
    })
}

/// Makes the folder with kernel, initramfs and stub, which nobody is going to start here: an EFI
/// program as a linker makes it is enough.
pub(crate) fn make_ramdisk(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = |name: &str| folder.join(name);
    std::fs::write(path("vmlinuz"), [b"MZ".as_slice(), &[7; 70_000]].concat())?;
    std::fs::write(path("initramfs.zst"), [9; 300_000])?;
    std::fs::write(path("stub.s"), ".text\n.globl efi_main\nefi_main: ret\n")?;
    let mut assemble = Command::new("as");
    assemble.args(["--64", "-o", "stub.o", "stub.s"]);
    let mut link = Command::new("ld");
    link.args(["-m", "i386pep", "--subsystem", "10", "-e", "efi_main"]);
    link.args(["-o", "linuxx64.efi.stub", "stub.o"]);
    for mut command in [assemble, link] {
        let output = command.current_dir(folder).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(io::Error::other(format!("binutils: {said}")));
        }
    }
    Ok(())
}
