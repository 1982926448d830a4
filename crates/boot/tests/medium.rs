//! Boot media, as programs that we did not write read them. Needs xorriso, fsck.fat (dosfstools)
//! and mtools.

use std::path::Path;
use std::process::Command;

use bessemer_boot::medium::MediumTemplate;
use bessemer_boot::pieces::Pieces;
use bytes::Bytes;

/// Where the partition begins, in bytes.
const PARTITION: usize = 32 * 2048;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {text}{errors}");
    text + &errors
}

/// A boot file in two pieces, of bytes that tell where they are.
fn file(length: usize) -> Pieces {
    let bytes: Bytes = (0..length).map(|at| (at / 512 + at) as u8).collect();
    Pieces::new([bytes.slice(..length / 2), bytes.slice(length / 2..)])
}

fn whole(pieces: &Pieces) -> Vec<u8> {
    pieces.pieces().concat()
}

#[test]
fn others_read_the_boot_file_from_the_medium() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    // One cluster, an odd size, and more than El Torito's own count could say (32 MiB).
    for length in [1, 3_000_001, 40 << 20] {
        let file = file(length);
        let template = MediumTemplate::new(file.len()).unwrap();
        let medium = whole(&template.compose(&file).unwrap());
        std::fs::write(path("medium.iso"), &medium).unwrap();
        std::fs::write(path("partition.fat"), &medium[PARTITION..]).unwrap();

        let iso = path("medium.iso");
        let report = run(
            "xorriso",
            &[
                "-indev",
                &iso,
                "-toc",
                "-report_el_torito",
                "plain",
                "-find",
                "/",
            ],
        );
        assert!(report.contains("Volume id    : 'BESSEMER"), "{report}");
        assert!(report.contains("UEFI"), "{report}");
        assert!(report.contains("'/EFI.IMG'"), "{report}");
        let extracted = path("extracted.fat");
        let _ = std::fs::remove_file(&extracted);
        run(
            "xorriso",
            &[
                "-osirrox", "on", "-indev", &iso, "-extract", "/EFI.IMG", &extracted,
            ],
        );
        assert!(std::fs::read(&extracted).unwrap() == medium[PARTITION..]);

        let checked = run("fsck.fat", &["-n", "-v", &path("partition.fat")]);
        assert!(checked.contains("16 bit entries"), "{checked}");
        let copied = path("copied.efi");
        run(
            "mcopy",
            &[
                "-n",
                "-i",
                &path("partition.fat"),
                "::/EFI/BOOT/BOOTX64.EFI",
                &copied,
            ],
        );
        assert!(std::fs::read(&copied).unwrap() == whole(&file), "{length}");
        let _ = std::fs::remove_file(Path::new(&copied));
    }
}

#[test]
fn a_medium_is_read_in_parts_as_well() {
    let file = file(100_000);
    let template = MediumTemplate::new(file.len()).unwrap();
    let medium = template.compose(&file).unwrap();
    let bytes = whole(&medium);
    assert_eq!(bytes.len() as u64, medium.len());
    assert_eq!(bytes.len() % 2048, 0, "whole sectors");
    let step = 65_519;
    let parts = (0..medium.len()).step_by(step);
    let parts = parts.flat_map(|start| medium.range(start..start + step as u64));
    assert!(parts.collect::<Vec<_>>().concat() == bytes);
}

#[test]
fn what_does_not_fit_is_refused() {
    for length in [0, 300 << 20, u64::MAX] {
        let error = MediumTemplate::new(length).unwrap_err().to_string();
        assert!(error.contains("does not fit a boot medium"), "{error}");
    }
    let template = MediumTemplate::new(1000).unwrap();
    let error = template.compose(&file(1001)).unwrap_err().to_string();
    assert!(error.contains("1001 bytes, expected 1000"), "{error}");
}
