//! Unified kernel images: one EFI file with kernel, initramfs and command line, composed per boot.
//!
//! Firmware fetches one file over HTTP and starts it; no boot loader, no second protocol. The file
//! is systemd's EFI stub with the rest attached as sections of a PE image. Kernel and initramfs are
//! tens of megabytes and the same for everybody, so they are laid out once; a boot only costs a
//! header and a command line of its own, and a hundred machines booting at once share one copy in
//! memory.
//!
//! Sources: Microsoft PE Format; the UAPI Group's "Unified Kernel Image" specification.

mod pe;

use bytes::{BufMut, Bytes, BytesMut};

use crate::pieces::Pieces;
use crate::{Error, Result};
use pe::{Section, Stub};

/// Bytes that a command line may have: x86 Linux takes 2047 (COMMAND_LINE_SIZE less its end).
pub const MAX_COMMAND_LINE: usize = 2047;

/// The place kept for it, so that everything behind it stays where it is.
const COMMAND_LINE_SPACE: usize = 4096;

/// Bytes of kernel and of initramfs: far above any real one, far below what PE can address.
const MAX_PART: usize = 512 << 20;

/// `.osrel`: what tools that list boot entries show.
const OS_RELEASE: &[u8] = b"ID=bessemer\nNAME=\"Bessemer agent\"\nPRETTY_NAME=\"Bessemer agent\"\n";

/// The media type by which UEFI firmware knows an EFI file (UEFI Specification 2.10, §24.7).
pub const MEDIA_TYPE: &str = "application/efi";

/// Stub, kernel and initramfs laid out, waiting for a command line. Cheap to clone.
#[derive(Debug, Clone)]
pub struct UkiTemplate {
    stub: Stub,
    /// Ready sections but for the length of the command line.
    sections: Vec<Section>,
    /// What follows the headers, in order, up to the command line.
    before: Vec<Bytes>,
    /// What follows the command line's space.
    after: Vec<Bytes>,
    length: u64,
}

impl UkiTemplate {
    /// Lays out `stub` (systemd's `linuxx64.efi.stub`), `kernel` (a bzImage with EFI stub) and
    /// `initramfs` (cpio, any compression the kernel knows).
    ///
    /// [`Error::BootFile`] if the stub is no x86-64 EFI program or has no room for four more
    /// section headers, if the kernel is no EFI program, or if a part is empty or too large.
    pub fn new(stub: Bytes, kernel: Bytes, initramfs: Bytes) -> Result<Self> {
        check_parts(&kernel, &initramfs)?;
        let stub = Stub::parse(stub)?;
        let mut layout = Layout::after(&stub);
        let os_release = layout.place(*b".osrel\0\0", OS_RELEASE.len(), OS_RELEASE.len());
        let command_line = layout.place(*b".cmdline", 0, COMMAND_LINE_SPACE);
        let linux = layout.place(*b".linux\0\0", kernel.len(), kernel.len());
        let initrd = layout.place(*b".initrd\0", initramfs.len(), initramfs.len());
        let stub_length = stub.data().len();
        let before = vec![
            stub.data(),
            stub.padding_after(stub_length + stub.headers_length()),
            Bytes::from_static(OS_RELEASE),
            stub.padding_after(OS_RELEASE.len()),
        ];
        let after = vec![
            kernel.clone(),
            stub.padding_after(kernel.len()),
            initramfs.clone(),
            stub.padding_after(initramfs.len()),
        ];
        let sections = vec![os_release, command_line, linux, initrd];
        stub.check_room(sections.len())?;
        Ok(Self {
            stub,
            sections,
            before,
            after,
            length: layout.file_end,
        })
    }

    /// Bytes of every boot file of this template.
    pub fn file_length(&self) -> u64 {
        self.length
    }

    /// The boot file with this command line. Copies some kilobytes, whatever the kernel's size.
    ///
    /// [`Error::CommandLineTooLong`] beyond [`MAX_COMMAND_LINE`] bytes; [`Error::BootFile`] if it
    /// has other than printable ASCII characters.
    pub fn compose(&self, command_line: &str) -> Result<Pieces> {
        let found = command_line.len();
        if found > MAX_COMMAND_LINE {
            return Err(Error::CommandLineTooLong {
                found,
                limit: MAX_COMMAND_LINE,
            });
        }
        if !command_line
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        {
            let what = "the kernel command line has characters other than printable ASCII";
            return Err(Error::BootFile(what.into()));
        }
        let mut sections = self.sections.clone();
        for section in &mut sections {
            if &section.name == b".cmdline" {
                section.virtual_size = found as u32;
            }
        }
        let mut space = BytesMut::with_capacity(COMMAND_LINE_SPACE);
        space.extend_from_slice(command_line.as_bytes());
        space.put_bytes(0, COMMAND_LINE_SPACE - found);
        let mut pieces = vec![self.stub.headers_with(&sections)];
        pieces.extend(self.before.iter().cloned());
        pieces.push(space.freeze());
        pieces.extend(self.after.iter().cloned());
        Ok(Pieces::new(pieces))
    }
}

fn check_parts(kernel: &Bytes, initramfs: &Bytes) -> Result<()> {
    for (name, part) in [("kernel", kernel), ("initramfs", initramfs)] {
        if part.is_empty() || part.len() > MAX_PART {
            let what = format!(
                "the {name} has {} bytes, expected 1 to {MAX_PART}",
                part.len()
            );
            return Err(Error::BootFile(what));
        }
    }
    // The stub starts the kernel as the EFI program that it also is.
    if !kernel.starts_with(b"MZ") {
        return Err(Error::BootFile(
            "the kernel is no EFI program (CONFIG_EFI_STUB)".into(),
        ));
    }
    Ok(())
}

/// Where the next section goes, in the file and in memory.
struct Layout {
    file_alignment: u64,
    memory_alignment: u64,
    file_end: u64,
    memory_end: u64,
}

impl Layout {
    fn after(stub: &Stub) -> Self {
        Self {
            file_alignment: u64::from(stub.file_alignment()),
            memory_alignment: u64::from(stub.section_alignment().max(4096)),
            file_end: stub.file_end(),
            memory_end: stub.memory_end(),
        }
    }

    /// A section of `size` bytes that takes `space` bytes in the file.
    fn place(&mut self, name: [u8; 8], size: usize, space: usize) -> Section {
        let raw_size = (space as u64).next_multiple_of(self.file_alignment);
        let address = self.memory_end.next_multiple_of(self.memory_alignment);
        let section = Section {
            name,
            virtual_size: size as u32,
            virtual_address: address as u32,
            raw_size: raw_size as u32,
            raw_offset: self.file_end as u32,
        };
        self.file_end += raw_size;
        self.memory_end = address + raw_size;
        section
    }
}
