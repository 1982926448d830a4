//! Everything that is unpacked or converted, made by the programs that people make it with, and
//! what is made by people who mean harm.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bessemer_image::Error;
use bessemer_image::import::{Import, Limits};

use crate::support::{Bench, SIZE, assemble, limits, raw_disk, run, text};

/// What `program` writes to its standard output.
fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

fn convert(raw: &Path, to: &Path, options: &[&str]) {
    let arguments = [&["convert", "-f", "raw"], options, &[text(raw), text(to)]].concat();
    run("qemu-img", &arguments);
}

/// An OVA whose disk is `file` under the name `name`; `-C` keeps the folder out of the names.
fn ova(bench: &Bench, name: &str, description: &str) -> PathBuf {
    let ova = bench.path("appliance.ova");
    std::fs::write(bench.path("appliance.ovf"), description).unwrap();
    let folder = bench.folder.path();
    run(
        "tar",
        &["-C", text(folder), "-cf", text(&ova), "appliance.ovf", name],
    );
    ova
}

fn description(name: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="{name}" ovf:size="1"/></References>
  <DiskSection><Info>Disks</Info>
    <Disk ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:capacity="24" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
</Envelope>"#
    )
}

#[tokio::test]
async fn whatever_it_is_packed_in_the_disk_is_the_same() {
    let bench = Bench::new();
    let raw = bench.path("disk.raw");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    let made = |name: &str, options: &[&str]| {
        let path = bench.path(name);
        convert(&raw, &path, options);
        path
    };
    let packed = |program: &str, arguments: &[&str], of: &Path, name: &str| {
        let path = bench.path(name);
        let arguments = [arguments, &[text(of)]].concat();
        std::fs::write(&path, output(program, &arguments)).unwrap();
        path
    };
    let sparse = made("sparse.vmdk", &["-O", "vmdk"]);
    let stream = made(
        "stream.vmdk",
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    );
    let qcow2 = made("disk.qcow2", &["-O", "qcow2"]);
    let zstd_clusters = made(
        "zstd.qcow2",
        &["-c", "-O", "qcow2", "-o", "compression_type=zstd"],
    );
    let extended = made("extended.qcow2", &["-O", "qcow2", "-o", "extended_l2=on"]);
    let tar = packed(
        "tar",
        &["-C", text(bench.folder.path()), "-c"],
        Path::new("disk.raw"),
        "disk.tar",
    );
    for (path, format) in [
        (packed("gzip", &["-c"], &raw, "disk.raw.gz"), "raw in gzip"),
        (packed("xz", &["-c0"], &raw, "disk.raw.xz"), "raw in xz"),
        (packed("zstd", &["-c"], &raw, "disk.raw.zst"), "raw in zstd"),
        (
            packed("zstd", &["-c", "--long"], &raw, "long.zst"),
            "raw in zstd",
        ),
        (packed("gzip", &["-c"], &qcow2, "qcow2.gz"), "qcow2 in gzip"),
        (packed("xz", &["-c0"], &stream, "vmdk.xz"), "vmdk in xz"),
        (
            packed("xz", &["-c0"], &tar, "disk.tar.xz"),
            "raw in tar in xz",
        ),
        (tar, "raw in tar"),
        (sparse, "vmdk"),
        (
            ova(&bench, "stream.vmdk", &description("stream.vmdk")),
            "vmdk in tar",
        ),
        (stream, "vmdk"),
        (zstd_clusters, "qcow2"),
        (extended, "qcow2"),
    ] {
        let image = bench.import(&bench.request(&path)).await;
        let image = image.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(image.format(), format);
        assert!(assemble(&image) == content, "{}", path.display());
        bench.store.remove("debian-12").unwrap();
    }
    assert_eq!(bench.left(), [""; 0]);
}

#[tokio::test]
async fn several_streams_in_one_file_are_one_image() {
    let bench = Bench::new();
    let raw = bench.path("disk.raw");
    raw_disk(&raw);
    let content = std::fs::read(&raw).unwrap();
    let half = bench.path("half");
    for (program, arguments) in [("gzip", "-c"), ("xz", "-c0"), ("zstd", "-c")] {
        let path = bench.path("disk.packed");
        let mut file = File::create(&path).unwrap();
        for part in content.chunks(content.len() / 2) {
            std::fs::write(&half, part).unwrap();
            file.write_all(&output(program, &[arguments, text(&half)]))
                .unwrap();
        }
        let image = bench.import(&bench.request(&path)).await.unwrap();
        assert!(assemble(&image) == content, "{program}");
        bench.store.remove("debian-12").unwrap();
    }
}

#[tokio::test]
async fn little_that_becomes_much_is_refused() {
    let bench = Bench::new();
    let small = Limits {
        virtual_size: 64 << 20,
        ..limits()
    };
    // 1 GiB of zeros is 1 MB of gzip, and almost nothing of zstd.
    for (program, arguments) in [("gzip", ["-c1"]), ("xz", ["-c0"]), ("zstd", ["-c1"])] {
        let zeros = File::open("/dev/zero").unwrap();
        let mut head = Command::new("head")
            .args(["-c", "256M"])
            .stdin(zeros)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let packed = Command::new(program)
            .args(arguments)
            .stdin(head.stdout.take().unwrap())
            .output()
            .unwrap();
        head.wait().unwrap();
        let path = bench.path("bomb");
        std::fs::write(&path, packed.stdout).unwrap();
        let request = Import {
            limits: small,
            ..bench.request(&path)
        };
        let error = bench.refused(&request).await;
        assert!(
            matches!(error, Error::TooLarge { limit } if limit == 64 << 20),
            "{program}: {error}"
        );
    }

    // The same byte again and again is no zero, and is counted.
    let path = bench.path("bomb.zst");
    let raw = bench.path("disk.raw");
    raw_disk(&raw);
    let mut content = std::fs::read(&raw).unwrap();
    content[4 << 20..20 << 20].fill(7);
    std::fs::write(&raw, &content).unwrap();
    std::fs::write(&path, output("zstd", &["-c", text(&raw)])).unwrap();
    let request = Import {
        limits: Limits {
            data_size: 8 << 20,
            ..limits()
        },
        ..bench.request(&path)
    };
    let error = bench.refused(&request).await;
    assert!(
        matches!(error, Error::TooLarge { limit } if limit == 8 << 20),
        "{error}"
    );
    let request = Import {
        limits: Limits {
            reserve: u64::MAX,
            ..limits()
        },
        ..bench.request(&path)
    };
    let error = bench.refused(&request).await;
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");

    // Layer upon layer.
    for _ in 0..4 {
        let next = output("zstd", &["-c", text(&path)]);
        std::fs::write(&path, next).unwrap();
    }
    let error = bench.refused(&bench.request(&path)).await;
    assert!(error.to_string().contains("again and again"), "{error}");
}

#[tokio::test]
async fn what_is_compressed_and_cut_off_or_damaged_is_named() {
    let bench = Bench::new();
    let raw = bench.path("disk.raw");
    raw_disk(&raw);
    for (program, arguments) in [("gzip", "-c"), ("xz", "-c0"), ("zstd", "-c")] {
        let packed = output(program, &[arguments, text(&raw)]);
        let cut = bench.refused_content(&packed[..packed.len() / 2]).await;
        assert!(cut.contains(program) && cut.contains("cut off"), "{cut}");
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0x55);
        let error = bench.refused_content(&damaged).await;
        assert!(error.contains(program), "{error}");
    }
}

#[tokio::test]
async fn archives_lead_nowhere_but_into_themselves() {
    let bench = Bench::new();
    let raw = bench.path("disk.raw");
    raw_disk(&raw);
    let vmdk = bench.path("disk.vmdk");
    convert(
        &raw,
        &vmdk,
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    );
    let disk = std::fs::read(&raw).unwrap();

    let outside = bench.path("outside");
    for name in ["../outside", "/etc/outside", "a/../../outside"] {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(disk.len() as u64);
        header.set_mode(0o644);
        // As a hostile program writes it: the crate itself would refuse.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, disk.as_slice()).unwrap();
        let error = bench.refused_content(&archive.into_inner().unwrap()).await;
        assert!(error.contains("leads out of its folder"), "{name}: {error}");
    }
    assert!(!outside.exists() && !Path::new("/etc/outside").exists());

    let mut archive = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive
        .append_link(&mut link, "disk.raw", "/etc/passwd")
        .unwrap();
    let error = bench.refused_content(&archive.into_inner().unwrap()).await;
    assert!(error.contains("link or a device"), "{error}");

    for (name, what) in [
        ("../disk.vmdk", "not in the OVA"),
        ("/etc/passwd", "not in the OVA"),
        ("other.vmdk", "not in the OVA"),
    ] {
        let ova = ova(&bench, "disk.vmdk", &description(name));
        let error = bench.refused(&bench.request(&ova)).await.to_string();
        assert!(error.contains(what), "{name}: {error}");
    }
    let several = description("disk.vmdk").replace(
        "</DiskSection>",
        r#"<Disk ovf:diskId="b" ovf:fileRef="file1"/></DiskSection>"#,
    );
    for (text, what) in [
        (several.as_str(), "several disks"),
        ("<Envelope/>", "names no disk"),
        ("not XML", "is not XML"),
    ] {
        let ova = ova(&bench, "disk.vmdk", text);
        let error = bench.refused(&bench.request(&ova)).await.to_string();
        assert!(error.contains(what), "{error}");
    }
    let two = bench.path("two.tar");
    let folder = text(bench.folder.path());
    run(
        "tar",
        &["-C", folder, "-cf", text(&two), "disk.raw", "disk.vmdk"],
    );
    let error = bench.refused(&bench.request(&two)).await.to_string();
    assert!(error.contains("holds 2 files"), "{error}");
}

#[tokio::test]
async fn a_vmdk_must_be_complete_in_itself() {
    let bench = Bench::new();
    let (raw, vmdk) = (bench.path("disk.raw"), bench.path("disk.vmdk"));
    raw_disk(&raw);
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse"] {
        convert(
            &raw,
            &vmdk,
            &["-O", "vmdk", "-o", &format!("subformat={kind}")],
        );
        let error = bench.refused(&bench.request(&vmdk)).await.to_string();
        assert!(error.contains("data is in other files"), "{kind}: {error}");
    }
    convert(&raw, &vmdk, &["-O", "vmdk"]);
    let whole = std::fs::read(&vmdk).unwrap();
    let descriptor = whole
        .windows(10)
        .position(|text| text == b"createType")
        .unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut content = whole.clone();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    };
    let hint = b"parentFileNameHint=\"/etc/passwd\"\n";
    for (content, what) in [
        // QEMU would open what the descriptor names.
        (changed(12, &[0; 8]), "no capacity"),
        (changed(12, &[0xff; 8]), "larger than the limit"),
        (changed(descriptor, hint), "snapshot"),
        (
            changed(descriptor, b"createType=\"vmfs\"   \n"),
            "of kind `vmfs`",
        ),
        (changed(28, &[0; 8]), "descriptor of its own"),
        (changed(28, &[0xff; 8]), "far off"),
        (changed(4, &[9, 0, 0, 0]), "version"),
        (whole[..100].to_vec(), "kind ``"),
    ] {
        let error = bench.refused_content(&content).await;
        assert!(error.contains(what), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_qcow2_whose_tables_loop_is_refused() {
    let bench = Bench::new();
    let (raw, qcow2) = (bench.path("disk.raw"), bench.path("disk.qcow2"));
    raw_disk(&raw);
    let number = |file: &File, at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
    // Which entry is changed, given where the tables are, and to what.
    type Change = fn(u64, u64) -> (u64, u64);
    let changes: [(Change, &str); 5] = [
        (|l1, _| (l1, l1), "more than once"),
        (|l1, _| (l1, 0), "no GPT"),
        (|_, l2| (l2, l2), "more than once"),
        (|l1, l2| (l2 + 8, l1), "more than once"),
        (|_, l2| (l2 + 16, 1 << 45), "beyond the end"),
    ];
    for (change, what) in changes {
        convert(&raw, &qcow2, &["-O", "qcow2"]);
        let file = File::options().read(true).write(true).open(&qcow2).unwrap();
        let l1 = number(&file, 40);
        let l2 = number(&file, l1) & OFFSET;
        let (at, value) = change(l1, l2);
        file.write_all_at(&value.to_be_bytes(), at).unwrap();
        let error = bench.refused(&bench.request(&qcow2)).await.to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    // Every place of the disk is the same cluster: what is small becomes all of a large disk.
    convert(&raw, &qcow2, &["-O", "qcow2"]);
    let file = File::options().read(true).write(true).open(&qcow2).unwrap();
    let l2 = number(&file, number(&file, 40)) & OFFSET;
    let cluster = number(&file, l2);
    for entry in 0..SIZE >> 16 {
        file.write_all_at(&cluster.to_be_bytes(), l2 + entry * 8)
            .unwrap();
    }
    let error = bench.refused(&bench.request(&qcow2)).await.to_string();
    assert!(error.contains("much of little"), "{error}");
}
