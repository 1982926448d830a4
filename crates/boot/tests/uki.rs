//! Boot files as binutils, which we did not write, reads them.

use std::path::Path;
use std::process::Command;

use bessemer_boot::Error;
use bessemer_boot::pieces::Pieces;
use bessemer_boot::uki::{MAX_COMMAND_LINE, UkiTemplate};
use bytes::Bytes;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} (binutils) is needed for this test: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A small EFI program as a linker makes it, with `sections` data sections.
fn linked_stub(folder: &Path, sections: usize) -> Bytes {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (source, object, program) = (path("stub.s"), path("stub.o"), path("stub.efi"));
    let mut text = String::from(".text\n.globl efi_main\nefi_main: ret\n");
    for number in 0..sections {
        text.push_str(&format!(
            ".section .d{number},\"aw\"\n.ascii \"{number:x}\"\n"
        ));
    }
    std::fs::write(&source, text).unwrap();
    run("as", &["--64", "-o", &object, &source]);
    let link = [
        "-m",
        "i386pep",
        "--subsystem",
        "10",
        "-e",
        "efi_main",
        "-o",
        &program,
        &object,
    ];
    run("ld", &link);
    std::fs::read(program).unwrap().into()
}

fn kernel() -> Bytes {
    Bytes::from([b"MZ".as_slice(), &[7; 70_001]].concat())
}

fn initramfs() -> Bytes {
    Bytes::from(vec![9; 300_003])
}

fn whole(uki: &Pieces) -> Vec<u8> {
    uki.pieces().concat()
}

#[test]
fn every_section_is_found_with_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let stub = linked_stub(folder.path(), 2);
    let template = UkiTemplate::new(stub, kernel(), initramfs()).unwrap();
    let file = folder.path().join("out.efi");
    let (file, extract) = (file.to_str().unwrap(), folder.path().join("section"));
    for line in ["a=1 quiet", &"x".repeat(MAX_COMMAND_LINE)] {
        let uki = template.compose(line).unwrap();
        std::fs::write(file, whole(&uki)).unwrap();
        let listing = run("objdump", &["-h", file]);
        assert!(listing.contains("pei-x86-64"), "{listing}");
        for (name, content) in [
            (".cmdline", line.as_bytes()),
            (".linux", &kernel()),
            (".initrd", &initramfs()),
        ] {
            let only = format!("--only-section={name}");
            run(
                "objcopy",
                &["-O", "binary", &only, file, extract.to_str().unwrap()],
            );
            assert!(
                std::fs::read(&extract).unwrap() == content,
                "{name} of {} bytes",
                line.len()
            );
        }
        // What was there before still is.
        assert!(
            listing.contains(".text") && listing.contains(".d1"),
            "{listing}"
        );
        assert!(listing.contains(".osrel"), "{listing}");
    }
}

#[test]
fn sections_neither_overlap_nor_leave_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let template = UkiTemplate::new(linked_stub(folder.path(), 1), kernel(), initramfs()).unwrap();
    let file = folder.path().join("out.efi");
    std::fs::write(&file, whole(&template.compose("x").unwrap())).unwrap();
    let listing = run("objdump", &["-h", "-p", file.to_str().unwrap()]);
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let field = |name: &str| {
        let line = listing.lines().find(|line| line.starts_with(name)).unwrap();
        number(line.split_whitespace().last().unwrap())
    };
    let base = field("ImageBase");
    let mut sections: Vec<(u64, u64)> = listing
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            let is_section = words.len() == 7 && words[0].parse::<u32>().is_ok();
            is_section.then(|| (number(words[3]) - base, number(words[2])))
        })
        .collect();
    sections.sort_unstable();
    assert!(sections.len() >= 6, "{listing}");
    for pair in sections.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{listing}");
    }
    let (last, size) = sections[sections.len() - 1];
    assert!(last + size <= field("SizeOfImage"), "{listing}");
    assert_eq!(field("SizeOfImage") % field("SectionAlignment"), 0);
}

#[test]
fn every_boot_has_the_same_length_and_shares_the_large_parts() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel();
    let template =
        UkiTemplate::new(linked_stub(folder.path(), 1), kernel.clone(), initramfs()).unwrap();
    let (one, two) = (
        template.compose("a").unwrap(),
        template.compose("b=2 c").unwrap(),
    );
    assert_eq!(one.len(), two.len());
    assert_eq!(one.len(), whole(&one).len() as u64);
    for uki in [&one, &two] {
        assert!(
            uki.pieces()
                .iter()
                .any(|piece| piece.as_ptr() == kernel.as_ptr())
        );
    }
    let secret = template.compose("bessemer.token=s3cr3t").unwrap();
    assert!(!format!("{secret:?}").contains("s3cr3t"));
}

#[test]
fn ranges_are_the_file_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let template = UkiTemplate::new(linked_stub(folder.path(), 1), kernel(), initramfs()).unwrap();
    let uki = template.compose("console=ttyS0").unwrap();
    let file = whole(&uki);
    let length = uki.len();
    let step = 7_919;
    let parts = (0..length)
        .step_by(step)
        .map(|start| start..start + step as u64);
    assert!(
        parts
            .flat_map(|part| uki.range(part))
            .collect::<Vec<_>>()
            .concat()
            == file
    );
    assert!(uki.range(0..length).concat() == file);
    assert_eq!(
        uki.range(length - 1..u64::MAX).concat(),
        file[file.len() - 1..]
    );
    assert!(uki.range(length..length + 1).is_empty());
    assert!(uki.range(5..5).is_empty());
}

#[test]
fn what_cannot_boot_is_refused_when_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let stub = linked_stub(folder.path(), 1);
    let refused = |stub: &Bytes, kernel: Bytes, initramfs: Bytes, what: &str| {
        let error = UkiTemplate::new(stub.clone(), kernel, initramfs).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(&stub, Bytes::new(), initramfs(), "kernel has 0 bytes");
    refused(&stub, kernel(), Bytes::new(), "initramfs has 0 bytes");
    refused(&stub, initramfs(), initramfs(), "no EFI program");
    refused(&Bytes::from_static(b"MZ"), kernel(), initramfs(), "stub");
    refused(&kernel(), kernel(), initramfs(), "stub");
    // A linker leaves room up to the next multiple of 512 bytes: fill it.
    let full = (1..30).map(|sections| linked_stub(folder.path(), sections));
    let errors = full.filter_map(|stub| UkiTemplate::new(stub, kernel(), initramfs()).err());
    let mut texts = errors.map(|error| error.to_string());
    assert!(texts.any(|text| text.contains("no room for more section headers")));

    let template = UkiTemplate::new(stub, kernel(), initramfs()).unwrap();
    let long = template.compose(&"x".repeat(MAX_COMMAND_LINE + 1));
    assert!(matches!(
        long,
        Err(Error::CommandLineTooLong {
            found: 2048,
            limit: 2047
        })
    ));
    assert!(matches!(template.compose("a\nb"), Err(Error::BootFile(_))));
}

#[test]
fn no_damaged_stub_panics() {
    let folder = tempfile::tempdir().unwrap();
    let stub = linked_stub(folder.path(), 2);
    for at in 0..1024.min(stub.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = stub.to_vec();
            damaged[at] = value;
            if let Ok(template) = UkiTemplate::new(damaged.into(), kernel(), initramfs()) {
                assert_eq!(
                    template.compose("x").unwrap().pieces().concat().len() as u64,
                    template.compose("y").unwrap().len()
                );
            }
        }
    }
    for length in 0..stub.len() {
        let _ = UkiTemplate::new(stub.slice(..length), kernel(), initramfs());
    }
}
