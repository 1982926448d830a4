//! The report unit, placed in real file systems on loop devices: those that take it, and those that
//! are full, damaged, read-only, or made to lead out of the image.
//!
//! Everything is mounted in a namespace, which must be entered before there are threads, so this
//! program is its own test harness. Only root may mount such file systems: for anybody else there
//! is nothing to test.

mod report_images;
mod rig;

use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bessemer_core::network_data::{ConfigurationFile, Content};
use bessemer_core::reason::FailureClass;
use bessemer_core::report::{DROP_IN, DROP_IN_PATH, ReportWay, SCRIPT_PATH, UNIT, UNIT_PATH};
use bessemer_wire::agent::{AgentStatus, CommandResult, Work};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;
use report_images::{DISK, Image, has_kind, make_system, run};
use rig::{Conductor, Files, agent, command, image, selector};

const SCRIPT: &str = "#!/bin/sh\n# the report\n";

/// What an image is made of before the agent sees it.
type Prepare = fn(&Path);

fn main() {
    // What test runners ask first.
    if std::env::args().any(|argument| argument == "--list") {
        if !std::env::args().any(|argument| argument == "--ignored") {
            println!("report: test");
        }
        return;
    }
    if !geteuid().is_root() {
        println!("test report ... ignored, only root may mount file systems");
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(all());
}

async fn all() {
    file_systems_that_take_it().await;
    done("file_systems_that_take_it");
    journals_that_are_dirty().await;
    done("journals_that_are_dirty");
    links_that_lead_out_of_the_image().await;
    done("links_that_lead_out_of_the_image");
    what_lies_in_the_way_is_replaced_and_not_written_to().await;
    done("what_lies_in_the_way_is_replaced_and_not_written_to");
    images_that_leave_it_to_cloud_init().await;
    done("images_that_leave_it_to_cloud_init");
    full_file_systems_stay_as_they_are().await;
    done("full_file_systems_stay_as_they_are");
    labels_are_those_of_the_folders().await;
    done("labels_are_those_of_the_folders");
    the_networks_files_are_placed_as_well().await;
    done("the_networks_files_are_placed_as_well");
    a_server_without_its_networks_files_is_not_deployed().await;
    done("a_server_without_its_networks_files_is_not_deployed");
}

fn done(name: &str) {
    println!("test {name} ... ok");
}

/// A machine whose disk has these file systems as its partitions.
fn machine(images: &[&Image]) -> Files {
    let files = Files::sparse_in(&std::env::temp_dir(), &[("vda", DISK)]);
    let disk = files.path("dev/vda");
    let disk = disk.to_str().unwrap();
    run("sgdisk", &["-n", "1:2048:+1M", disk]);
    for (index, image) in images.iter().enumerate() {
        let name = format!("vda{}", index + 1);
        let number = format!("{}\n", index + 1);
        files.write(&format!("sys/block/vda/{name}/partition"), number);
        symlink(image.device(), files.path(&format!("dev/{name}"))).unwrap();
    }
    files
}

/// What the agent makes of a disk with these file systems.
async fn place(images: &[&Image]) -> ReportWay {
    place_on(&machine(images)).await
}

async fn place_on(files: &Files) -> ReportWay {
    let conductor = Conductor::start().await;
    let way = match write_config_drive(&conductor, files).await {
        AgentStatus::Done {
            result: CommandResult::ConfigDriveWritten { report },
            ..
        } => report,
        other => panic!("{other:?}"),
    };
    let asked_with = match &way {
        ReportWay::Unit { .. } => Some("report=unit".to_owned()),
        ReportWay::VendorData { .. } => None,
    };
    assert_eq!(conductor.inner().config_drive_queries, [asked_with]);
    way
}

async fn write_config_drive(conductor: &Conductor, files: &Files) -> AgentStatus {
    conductor.inner().config_drive = image::config_drive();
    conductor.inner().report_script = SCRIPT.into();
    let agent = agent(conductor, files, conductor.pin);
    let work = Work::WriteConfigDrive {
        disk: selector("vda", DISK),
    };
    let status = conductor.command(command("drive", 1, work)).await;
    agent.abort();
    status
}

/// What a conductor has for the network of an image without cloud-init.
fn network_files() -> Vec<ConfigurationFile> {
    let variables = vec![("SERVERS".to_owned(), "192.0.2.53".to_owned())];
    [
        (
            "/etc/systemd/network/10-bessemer-bond0.netdev",
            Content::Whole("[NetDev]\n".into()),
        ),
        (
            "/etc/sysconfig/network/config",
            Content::Variables(variables.clone()),
        ),
        ("/etc/sysconfig/network/new", Content::Variables(variables)),
    ]
    .map(|(path, content)| ConfigurationFile {
        path: path.into(),
        mode: 0o644,
        content,
    })
    .into()
}

async fn the_networks_files_are_placed_as_well() {
    let system = Image::new("ext4", |top| {
        make_system(top);
        let folder = top.join("etc/sysconfig/network");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config"), "# ours\nSERVERS=\"\"\nKEEP=1\n").unwrap();
        // A link in the way is replaced, and not followed.
        let folder = top.join("etc/systemd/network");
        std::fs::create_dir_all(&folder).unwrap();
        symlink("/etc/hostname", folder.join("10-bessemer-bond0.netdev")).unwrap();
    });
    let conductor = Conductor::start().await;
    conductor.inner().network_files = network_files();
    let status = write_config_drive(&conductor, &machine(&[&system])).await;
    assert!(matches!(status, AgentStatus::Done { .. }), "{status:?}");
    system.look(|top| {
        assert_placed(top);
        for (path, content) in [
            ("etc/systemd/network/10-bessemer-bond0.netdev", "[NetDev]\n"),
            (
                "etc/sysconfig/network/config",
                "# ours\nSERVERS='192.0.2.53'\nKEEP=1\n",
            ),
            ("etc/sysconfig/network/new", "SERVERS='192.0.2.53'\n"),
        ] {
            let path = top.join(path);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert!(path.symlink_metadata().unwrap().is_file());
        }
    });
}

/// Its system would come up, and nobody could reach it.
async fn a_server_without_its_networks_files_is_not_deployed() {
    let data = Image::new("ext4", |_| ());
    let conductor = Conductor::start().await;
    conductor.inner().network_files = network_files();
    match write_config_drive(&conductor, &machine(&[&data])).await {
        AgentStatus::Failed { failure, .. } => {
            assert!(failure.message.contains("starts systemd"), "{failure:?}");
            assert_eq!(failure.class, FailureClass::Permanent);
        }
        other => panic!("{other:?}"),
    }
    assert!(conductor.inner().config_drive_queries.is_empty());
}

/// Leaves the report to cloud-init, for a reason that says this.
#[track_caller]
fn assert_left(way: &ReportWay, reason: &str) {
    match way {
        ReportWay::VendorData { why } => assert!(why.contains(reason), "{why}"),
        ReportWay::Unit { .. } => panic!("placed although {reason}"),
    }
}

fn placed_on(partition: &str) -> ReportWay {
    let partition = partition.to_owned();
    ReportWay::Unit { partition }
}

#[track_caller]
fn assert_placed(root: &Path) {
    for (path, content, mode) in [
        (SCRIPT_PATH, SCRIPT, 0o100_600),
        (UNIT_PATH, UNIT, 0o100_644),
        (DROP_IN_PATH, DROP_IN, 0o100_644),
    ] {
        let path = root.join(&path[1..]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        let metadata = path.symlink_metadata().unwrap();
        let found = (metadata.mode(), metadata.uid(), metadata.gid());
        assert_eq!(found, (mode, 0, 0), "{}", path.display());
    }
}

#[track_caller]
fn assert_nothing_placed(root: &Path) {
    for path in [SCRIPT_PATH, UNIT_PATH, DROP_IN_PATH] {
        let path = root.join(&path[1..]);
        assert!(path.symlink_metadata().is_err(), "{}", path.display());
    }
    assert!(!root.join("etc/systemd/system/multi-user.target.d").exists());
}

async fn file_systems_that_take_it() {
    for (kind, folder) in [
        ("ext4", "."),
        ("ext2", "."),
        ("xfs", "."),
        ("btrfs", "."),
        ("btrfs", "@"),
    ] {
        if !has_kind(kind) {
            println!("this kernel has no {kind}");
            continue;
        }
        // The root is not the first of the partitions.
        let data = Image::new("ext4", |_| ());
        let system = Image::new(kind, |top| {
            if folder != "." {
                let subvolume = top.join(folder);
                run(
                    "btrfs",
                    &["subvolume", "create", subvolume.to_str().unwrap()],
                );
            }
            make_system(&top.join(folder));
        });
        let way = place(&[&data, &system]).await;
        assert_eq!(way, placed_on("vda2"), "{kind}");
        system.look(|top| assert_placed(&top.join(folder)));
        system.check();
        // Done again, as after a crash, it is the same.
        assert_eq!(place(&[&data, &system]).await, placed_on("vda2"), "{kind}");
        system.look(|top| assert_placed(&top.join(folder)));
        data.look(assert_nothing_placed);
    }
}

async fn journals_that_are_dirty() {
    for kind in ["ext4", "xfs"].into_iter().filter(|kind| has_kind(kind)) {
        let system = Image::new(kind, make_system).torn_off();
        assert_eq!(place(&[&system]).await, placed_on("vda1"), "{kind}");
        system.check();
        system.look(|root| {
            assert_placed(root);
            let late = std::fs::read_to_string(root.join("etc/late")).unwrap();
            assert_eq!(late, "written just before");
        });
    }
}

/// Where a hostile image would like to write.
const OUTSIDE: &str = "/var/tmp/bessemer-report-outside";

async fn links_that_lead_out_of_the_image() {
    let _ = std::fs::remove_dir_all(OUTSIDE);
    std::fs::create_dir(OUTSIDE).unwrap();
    let climbing: Prepare = |root| {
        replace(
            &root.join("etc/systemd/system"),
            &format!("../../../../../../../..{OUTSIDE}"),
        );
    };
    let absolute: Prepare = |root| replace(&root.join("etc/systemd/system"), OUTSIDE);
    let by_descriptor: Prepare = |root| replace(&root.join("etc"), "/proc/self/fd/3");
    let in_circles: Prepare = |root| replace(&root.join("etc/systemd"), "/etc/systemd");
    for (name, prepare) in [
        ("climbing", climbing),
        ("absolute", absolute),
        ("by descriptor", by_descriptor),
        ("in circles", in_circles),
    ] {
        let system = Image::new("ext4", |root| {
            make_system(root);
            prepare(root);
        });
        let way = place(&[&system]).await;
        assert!(
            matches!(way, ReportWay::VendorData { .. }),
            "{name}: {way:?}"
        );
        system.look(|root| assert!(!root.join("etc/bessemer-report").exists(), "{name}"));
        system.check();
        let outside = std::fs::read_dir(OUTSIDE).unwrap().count();
        assert_eq!(outside, 0, "{name}");
    }
    // What leads nowhere out there leads to this folder of the image's own.
    let system = Image::new("ext4", |root| {
        make_system(root);
        absolute(root);
        std::fs::create_dir_all(root.join(&OUTSIDE[1..])).unwrap();
    });
    assert_eq!(place(&[&system]).await, placed_on("vda1"));
    assert_eq!(std::fs::read_dir(OUTSIDE).unwrap().count(), 0);
    system.look(|root| {
        let unit = root.join(&OUTSIDE[1..]).join("bessemer-report.service");
        assert_eq!(std::fs::read_to_string(unit).unwrap(), UNIT);
    });
    std::fs::remove_dir_all(OUTSIDE).unwrap();
}

fn replace(path: &Path, target: &str) {
    std::fs::remove_dir_all(path).unwrap();
    symlink(target, path).unwrap();
}

async fn what_lies_in_the_way_is_replaced_and_not_written_to() {
    let system = Image::new("ext4", |root| {
        make_system(root);
        std::fs::write(root.join("etc/passwd"), "root\n").unwrap();
        symlink("/etc/passwd", root.join("etc/bessemer-report")).unwrap();
        let units = root.join("etc/systemd/system");
        nix::unistd::mkfifo(
            &units.join("bessemer-report.service"),
            nix::sys::stat::Mode::S_IRWXU,
        )
        .unwrap();
    });
    assert_eq!(place(&[&system]).await, placed_on("vda1"));
    system.look(|root| {
        assert_placed(root);
        let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert_eq!(passwd, "root\n");
    });
    let system = Image::new("ext4", |root| {
        make_system(root);
        std::fs::create_dir(root.join("etc/bessemer-report")).unwrap();
    });
    assert_left(&place(&[&system]).await, "Is a directory");
}

async fn images_that_leave_it_to_cloud_init() {
    let another_init: Prepare = |root| {
        make_system(root);
        std::fs::remove_file(root.join("sbin/init")).unwrap();
        std::fs::write(root.join("sbin/init"), "another").unwrap();
    };
    let system = Image::new("ext4", another_init);
    assert_left(
        &place(&[&system]).await,
        "none of vda1 (ext4) starts systemd",
    );

    let (one, other) = (
        Image::new("ext4", make_system),
        Image::new("ext4", make_system),
    );
    assert_left(&place(&[&one, &other]).await, "several of its partitions");
    one.look(assert_nothing_placed);

    assert_left(&place(&[]).await, "no partition with");

    let read_only = Image::new("ext4", make_system);
    run("tune2fs", &["-O", "read-only", read_only.device()]);
    assert_left(&place(&[&read_only]).await, "Read-only file system");

    let damaged = Image::new("ext4", make_system);
    damaged.damage();
    assert_left(
        &place(&[&damaged]).await,
        "none of vda1 (ext4) starts systemd",
    );

    let protected = Image::new("ext4", make_system);
    let files = machine(&[&protected]);
    let disk = files.path("dev/vda");
    let verity = "1:2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5";
    run("sgdisk", &["-t", verity, disk.to_str().unwrap()]);
    let before = protected.bytes();
    assert_left(&place_on(&files).await, "dm-verity");
    assert!(protected.bytes() == before, "a protected root was changed");
}

async fn full_file_systems_stay_as_they_are() {
    let no_blocks: Prepare = |root| {
        make_system(root);
        report_images::fill(&root.join("full"));
    };
    let no_inodes: Prepare = |root| {
        make_system(root);
        for number in 0.. {
            if std::fs::write(root.join(format!("file{number}")), "").is_err() {
                return;
            }
        }
    };
    for (name, prepare) in [("blocks", no_blocks), ("inodes", no_inodes)] {
        let system = Image::new("ext4", prepare);
        assert_left(&place(&[&system]).await, "No space left");
        system.look(assert_nothing_placed);
        system.check();
        println!("out of {name}");
    }
}

async fn labels_are_those_of_the_folders() {
    let system = Image::new("ext4", |root| {
        make_system(root);
        report_images::label(&root.join("etc"), "system_u:object_r:etc_t:s0");
        let units = "system_u:object_r:systemd_unit_file_t:s0";
        report_images::label(&root.join("etc/systemd/system"), units);
    });
    assert_eq!(place(&[&system]).await, placed_on("vda1"));
    system.look(|root| {
        let label = |path: &str| report_images::label_of(&root.join(&path[1..]));
        assert_eq!(label(SCRIPT_PATH), "system_u:object_r:etc_t:s0");
        assert_eq!(label(UNIT_PATH), "system_u:object_r:systemd_unit_file_t:s0");
        assert_eq!(
            label(DROP_IN_PATH),
            "system_u:object_r:systemd_unit_file_t:s0"
        );
    });
}
