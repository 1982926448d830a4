//! Config drives as other people's ISO 9660 readers see them.

use std::path::Path;
use std::process::Command;

use bessemer_image::config_drive::ConfigDrive;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn drive() -> ConfigDrive {
    ConfigDrive {
        meta_data: br#"{"uuid":"1","hostname":"one"}"#.to_vec(),
        network_data: [b"{".as_slice(), &vec![b' '; 5000], b"}"].concat(),
        user_data: Some(b"#cloud-config\n".to_vec()),
        vendor_data: Some(b"{}".to_vec()),
    }
}

#[test]
fn blkid_finds_the_label_cloud_init_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive.iso");
    std::fs::write(&path, drive().compose().unwrap()).unwrap();
    let found = run("/usr/sbin/blkid", &["-p", "-o", "export", text(&path)]);
    assert!(
        found.lines().any(|line| line == "LABEL=config-2"),
        "{found}"
    );
    assert!(found.lines().any(|line| line == "TYPE=iso9660"), "{found}");
}

#[test]
fn xorriso_and_isoinfo_read_back_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive.iso");
    let drive = drive();
    std::fs::write(&path, drive.compose().unwrap()).unwrap();
    let out = folder.path().join("out");
    run(
        "xorriso",
        &[
            "-osirrox",
            "on",
            "-indev",
            text(&path),
            "-extract",
            "/",
            text(&out),
        ],
    );
    let listing = run("isoinfo", &["-R", "-f", "-i", text(&path)]);
    for (name, content) in [
        ("meta_data.json", &drive.meta_data),
        ("network_data.json", &drive.network_data),
        ("user_data", drive.user_data.as_ref().unwrap()),
        ("vendor_data.json", drive.vendor_data.as_ref().unwrap()),
    ] {
        let name = format!("openstack/latest/{name}");
        assert_eq!(&std::fs::read(out.join(&name)).unwrap(), content, "{name}");
        assert!(
            listing.lines().any(|line| line == format!("/{name}")),
            "{name} in {listing}"
        );
    }
}

#[test]
fn files_that_are_not_given_do_not_exist() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("drive.iso");
    let drive = ConfigDrive {
        user_data: None,
        vendor_data: None,
        ..drive()
    };
    std::fs::write(&path, drive.compose().unwrap()).unwrap();
    let listing = run("isoinfo", &["-R", "-f", "-i", text(&path)]);
    assert_eq!(listing.lines().count(), 4, "{listing}");
}
