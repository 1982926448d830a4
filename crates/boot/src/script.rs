//! What iPXE is told to do.
//!
//! iPXE reads one line after the other; white space separates words, `#` begins a comment, and `${`
//! a setting. All that is put into a script here is checked to have none of that.

use crate::{Error, Result};

/// The media type of scripts; iPXE itself goes by the first line.
pub const MEDIA_TYPE: &str = "text/plain";

/// The name under which iPXE hands the initramfs to the kernel's EFI stub, which asks for it by
/// `initrd=`. A kernel that is started by a BIOS gets it another way and ignores the word.
const INITRAMFS_NAME: &str = "initramfs";

/// A script that starts `kernel` with `initramfs`, both URLs, and this command line.
///
/// [`Error::BootFile`] if a URL or the command line has other than printable ASCII characters, or
/// would mean something to iPXE.
pub fn boot(kernel: &str, initramfs: &str, command_line: &str) -> Result<String> {
    for text in [kernel, initramfs] {
        check("URL", text, false)?;
    }
    check("kernel command line", command_line, true)?;
    Ok(format!(
        "#!ipxe\n\
         imgfree\n\
         kernel {kernel} initrd={INITRAMFS_NAME} {command_line} || goto failed\n\
         initrd --name {INITRAMFS_NAME} {initramfs} || goto failed\n\
         boot || goto failed\n\
         :failed\n\
         echo Bessemer: the agent could not be loaded; starting over in 10 s\n\
         sleep 10\n\
         reboot\n"
    ))
}

/// A script for a machine that is to boot its disk. A BIOS is asked for it directly: many end in an
/// error after iPXE's `exit`. UEFI goes on to the next entry of its boot order only if this one says
/// that it failed: after one that went well, EDK II shows its setup pages and waits for a person
/// (`BootBootOptions` in MdeModulePkg/Universal/BdsDxe/BdsEntry.c).
pub fn boot_disk() -> &'static str {
    "#!ipxe\n\
     echo Bessemer: this machine boots its disk\n\
     iseq ${platform} pcbios && sanboot --no-describe --drive 0x80 || exit 1\n"
}

fn check(what: &str, text: &str, spaces: bool) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_graphic() || (spaces && byte == b' ');
    let words = ["||", "&&", "${", "#"];
    if text.is_empty() || !text.bytes().all(allowed) || words.iter().any(|word| text.contains(word))
    {
        return Err(Error::BootFile(format!(
            "the {what} has characters that iPXE does not take as they are"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_starts_kernel_and_initramfs() {
        let script = boot("http://10.77.0.1/k", "http://10.77.0.1/i", "quiet a=b").unwrap();
        let lines: Vec<_> = script.lines().collect();
        assert_eq!(lines[0], "#!ipxe");
        assert_eq!(
            lines[2],
            "kernel http://10.77.0.1/k initrd=initramfs quiet a=b || goto failed"
        );
        assert_eq!(
            lines[3],
            "initrd --name initramfs http://10.77.0.1/i || goto failed"
        );
    }

    #[test]
    fn uefi_is_told_that_this_entry_failed_or_it_would_not_go_on_to_the_disk() {
        assert!(boot_disk().ends_with(" || exit 1\n"), "{}", boot_disk());
    }

    #[test]
    fn what_ipxe_would_read_otherwise_is_refused() {
        for line in ["", "a\nreboot", "a || reboot", "${net0/mac}", "a # b", "ä"] {
            assert!(boot("http://x/k", "http://x/i", line).is_err(), "{line}");
        }
        assert!(boot("http://x/k y", "http://x/i", "quiet").is_err());
        assert!(boot("http://x/k", "", "quiet").is_err());
    }
}
