//! The agent against a conductor on the wire: real TLS, real HTTP, files in the place of disks.

mod rig;

use std::time::Duration;

use bessemer_agent::session::Ending;
use bessemer_core::cause::Cause;
use bessemer_core::id::ImageId;
use bessemer_core::lifecycle::Leave;
use bessemer_core::reason::{Failure, FailureClass};
use bessemer_core::report::ReportWay;
use bessemer_wire::agent::{AgentStatus, ChunkUrl, CommandResult, Work};
use rig::{Conductor, Files, LIMIT, agent, agent_of, command, image, selector};

const DISK: u64 = 16 << 20;

fn write_image() -> Work {
    let image = ImageId(uuid::Uuid::from_u128(2));
    Work::WriteImage {
        image,
        disk: selector("vda", DISK),
        chunks_in_clear: None,
    }
}

fn hand_over() -> Work {
    Work::HandOver {
        leave: Leave::AtOnce,
        deadline_seconds: 60,
    }
}

async fn conductor_with_image() -> Conductor {
    let conductor = Conductor::start().await;
    let served = image::bytes();
    let mut inner = conductor.inner();
    inner.map = Some(serde_json::to_value(image::map(&served)).unwrap());
    inner.served = served;
    inner.config_drive = image::config_drive();
    drop(inner);
    conductor
}

fn result(status: AgentStatus) -> CommandResult {
    match status {
        AgentStatus::Done { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

fn failure(status: AgentStatus) -> Failure {
    match status {
        AgentStatus::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

async fn ending(agent: tokio::task::JoinHandle<Ending>) -> Ending {
    tokio::time::timeout(LIMIT, agent)
        .await
        .expect("the agent lives on")
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_hello_to_hand_over() {
    let conductor = conductor_with_image().await;
    let files = Files::new(&[("vda", DISK), ("vdb", 1 << 20)]);
    let agent = agent(&conductor, &files, conductor.pin);

    let inspected = result(conductor.command(command("1", 1, Work::Inspect)).await);
    let CommandResult::Inspected { inventory } = inspected else {
        panic!("{inspected:?}")
    };
    assert_eq!(inventory.identity.serial, "S1");
    assert_eq!(inventory.disks.len(), 2);

    let erased = result(conductor.command(command("2", 1, Work::Erase)).await);
    let CommandResult::Erased { disks } = erased else {
        panic!("{erased:?}")
    };
    let verified: Vec<_> = disks
        .iter()
        .map(|disk| (disk.name.as_str(), disk.verified_bytes))
        .collect();
    assert_eq!(verified, [("vda", DISK), ("vdb", 1 << 20)]);
    assert!(
        files
            .disk("vda")
            .iter()
            .chain(&files.disk("vdb"))
            .all(|byte| *byte == 0)
    );

    // Somebody has been here since: skipping zeros must be safe on any disk.
    files.write("dev/vda", vec![0x5a; DISK as usize]);
    let data_bytes = image::map(&image::bytes()).data_bytes();
    let written = result(conductor.command(command("3", 1, write_image())).await);
    assert_eq!(
        written,
        CommandResult::Written {
            bytes_written: data_bytes,
            disk: "vda".into()
        }
    );
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());

    let work = Work::WriteConfigDrive {
        disk: selector("vda", DISK),
    };
    let CommandResult::ConfigDriveWritten { report } =
        result(conductor.command(command("4", 1, work)).await)
    else {
        panic!("another result was asked for")
    };
    // A conductor that knows of no other way than cloud-init.
    assert!(matches!(report, ReportWay::VendorData { why } if why.contains("404")));
    assert_eq!(conductor.inner().config_drive_queries, [None]);
    let disk = files.disk("vda");
    assert_eq!(disk[1 << 20..7 << 20], image::bytes()[1 << 20..7 << 20]);
    let drive = image::config_drive();
    let partition = disk
        .windows(10)
        .position(|bytes| bytes == b"user data!")
        .unwrap()
        - 100_000;
    assert_eq!(partition % (1 << 20), 0);
    assert_eq!(disk[partition..partition + drive.len()], drive);
    assert!(
        disk[partition + drive.len()..partition + (1 << 20)]
            .iter()
            .all(|byte| *byte == 0)
    );

    let work = Work::LoadKernel {
        disk: selector("vda", DISK),
    };
    let refused = failure(conductor.command(command("5", 1, work)).await);
    assert!(
        refused.message.contains("no partition"),
        "{}",
        refused.message
    );
    assert_eq!(refused.cause, Some(Cause::ImageUnusable));

    let refused = failure(conductor.command(command("6", 1, hand_over())).await);
    assert!(
        refused.message.contains("no kernel is loaded"),
        "{}",
        refused.message
    );
    files.write("sys/kernel/kexec_loaded", "1\n");
    assert_eq!(
        result(conductor.command(command("7", 1, hand_over())).await),
        CommandResult::Nothing
    );
    assert_eq!(ending(agent).await, Ending::StartKernel);

    let inner = conductor.inner();
    assert_eq!(inner.hellos.len(), 1);
    assert!(inner.chunk_requests.values().all(|count| *count == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_carried_out_once_in_order_and_on_this_machine() {
    let conductor = conductor_with_image().await;
    conductor.inner().generation = 5;
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);

    let refused = failure(conductor.command(command("old", 3, Work::Erase)).await);
    assert_eq!(refused.class, FailureClass::Permanent);
    assert_eq!(refused.message, "refused: generation 3 is older than 5");
    assert_eq!(refused.cause, Some(Cause::Overtaken));
    let mut other = command("other", 5, Work::Erase);
    other.expects.serial = "S2".into();
    let refused = failure(conductor.command(other).await);
    assert!(refused.message.contains("serial S2") && refused.message.contains("serial S1"));
    assert_eq!(refused.cause, Some(Cause::WrongMachine));
    assert!(
        files.disk("vda").iter().all(|byte| *byte == 0xa5),
        "a refused command was carried out"
    );

    let first = conductor.command(command("erase", 5, Work::Erase)).await;
    files.write("dev/vda", vec![0x11; DISK as usize]);
    let count = conductor.inner().statuses.len();
    conductor.ask(command("erase", 5, Work::Erase));
    let second = conductor
        .wait_for(|inner| {
            inner.statuses[count..]
                .iter()
                .find(|status| **status == first)
                .cloned()
        })
        .await;
    assert_eq!(first, second);
    assert!(
        files.disk("vda").iter().all(|byte| *byte == 0x11),
        "a repeated command was carried out"
    );
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_refused_chunks_are_fetched_again() {
    let conductor = conductor_with_image().await;
    conductor.inner().damage = [(0, 2), (5, 1)].into();
    conductor.inner().refuse = [(3, 1), (7, 2)].into();
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    result(conductor.command(command("write", 1, write_image())).await);
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());
    let requests = &conductor.inner().chunk_requests;
    let counts: Vec<u32> = [0, 5, 3, 7, 1]
        .iter()
        .map(|index| requests[index])
        .collect();
    assert_eq!(counts, [3, 2, 2, 3, 1]);
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_in_the_clear_are_checked_like_all_others() {
    let conductor = conductor_with_image().await;
    conductor.inner().damage = [(0, 2), (5, 1)].into();
    conductor.inner().refuse = [(3, 1), (7, 2)].into();
    let url = conductor.serve_chunks_in_clear().await;
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let mut work = write_image();
    if let Work::WriteImage {
        chunks_in_clear, ..
    } = &mut work
    {
        *chunks_in_clear = Some(url);
    }
    result(conductor.command(command("write", 1, work.clone())).await);
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());
    assert!(conductor.inner().in_clear_requests >= 5);

    // Whoever stands in between can spoil the deployment, and cannot change the image.
    conductor.inner().damage = (0..100).map(|index| (index, u32::MAX)).collect();
    files.write("dev/vda", vec![0x5a; DISK as usize]);
    let failed = failure(conductor.command(command("again", 1, work)).await);
    assert_eq!(failed.class, FailureClass::Transient);
    assert_eq!(failed.cause, Some(Cause::ImageNotFetched));
    let disk = files.disk("vda");
    for (found, good) in disk.chunks(4096).zip(image::bytes().chunks(4096)) {
        assert!(found == good || found.iter().all(|byte| *byte == 0x5a || *byte == 0));
    }
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_lies_about_its_image_is_found_out() {
    let conductor = conductor_with_image().await;
    conductor.inner().damage = [(2, u32::MAX)].into();
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let failed = failure(conductor.command(command("write", 1, write_image())).await);
    assert_eq!(failed.class, FailureClass::Transient);
    assert!(
        failed.message.contains("chunk 2 arrived damaged"),
        "{}",
        failed.message
    );
    assert_eq!(failed.cause, Some(Cause::ImageNotFetched));
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_survives_the_conductors_restart() {
    let mut conductor = conductor_with_image().await;
    conductor.inner().closed_from = Some(8);
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    conductor.ask(command("write", 1, write_image()));
    conductor
        .wait_for(|inner| inner.chunk_requests.contains_key(&8).then_some(()))
        .await;
    conductor.kill().await;
    conductor.inner().closed_from = None;
    conductor.restart().await;
    result(conductor.command(command("write", 1, write_image())).await);
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());
    let inner = conductor.inner();
    // What had arrived before is not fetched again, and the session is the same.
    let again = inner
        .chunk_requests
        .values()
        .filter(|count| **count > 1)
        .count();
    assert!(again <= 4, "{:?}", inner.chunk_requests);
    assert_eq!(inner.hellos.len(), 1);
    drop(inner);
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_conductor_has_begun_another_goes_on_with() {
    let mut conductor = conductor_with_image().await;
    conductor.inner().closed_from = Some(8);
    let files = Files::new(&[("vda", DISK)]);
    let both = [conductor.other(), conductor.address];
    let agent = agent_of(&both, &files, conductor.pin);
    // Who had chunks in the clear is gone, too.
    let mut work = write_image();
    if let Work::WriteImage {
        chunks_in_clear, ..
    } = &mut work
    {
        *chunks_in_clear = Some(ChunkUrl("http://127.0.0.1:1/token".into()));
    }
    conductor.ask(command("write", 1, work.clone()));
    conductor
        .wait_for(|inner| inner.chunk_requests.contains_key(&8).then_some(()))
        .await;
    conductor.kill().await;
    conductor.inner().closed_from = None;
    conductor.give_way().await;
    result(conductor.command(command("write", 1, work)).await);
    assert_eq!(files.disk("vda")[..image::SIZE], image::bytes());
    assert_eq!(conductor.inner().hellos.len(), 1, "the session is the same");
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_generation_overtakes_a_running_command() {
    let conductor = conductor_with_image().await;
    conductor.inner().closed_from = Some(4);
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    conductor.ask(command("write", 1, write_image()));
    conductor
        .wait_for(|inner| inner.chunk_requests.contains_key(&4).then_some(()))
        .await;
    result(conductor.command(command("erase", 2, Work::Erase)).await);
    conductor.open_gate();
    assert!(files.disk("vda").iter().all(|byte| *byte == 0));
    let refused = failure(
        conductor
            .command(command("write again", 1, write_image()))
            .await,
    );
    assert_eq!(refused.message, "refused: generation 1 is older than 2");
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_any_more_is_dropped_although_nothing_follows() {
    let conductor = conductor_with_image().await;
    conductor.inner().closed_from = Some(4);
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    conductor.ask(command("write", 1, write_image()));
    conductor
        .wait_for(|inner| inner.chunk_requests.contains_key(&4).then_some(()))
        .await;
    conductor.inner().command = None;
    conductor.inner().newest = Some(2);
    let told = conductor
        .wait_for(|inner| {
            inner.statuses.iter().find_map(|status| match status {
                AgentStatus::Failed { failure, .. } => Some(failure.message.clone()),
                _ => None,
            })
        })
        .await;
    assert!(told.contains("stopped"), "{told}");
    conductor.open_gate();
    let late = failure(conductor.command(command("late", 1, Work::Erase)).await);
    assert_eq!(late.message, "refused: generation 1 is older than 2");
    result(conductor.command(command("next", 2, Work::Inspect)).await);
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn running_commands_tell_how_far_they_are() {
    let conductor = conductor_with_image().await;
    conductor.inner().closed_from = Some(10);
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    conductor.ask(command("write", 1, write_image()));
    let progress = conductor
        .wait_for(|inner| match inner.statuses.last() {
            Some(AgentStatus::Running { progress, .. }) if progress.bytes > 0 => {
                Some(progress.clone()).filter(|progress| progress.step == "writing image")
            }
            _ => None,
        })
        .await;
    assert_eq!(progress.total, image::map(&image::bytes()).data_bytes());
    assert!(progress.bytes < progress.total);
    conductor.open_gate();
    conductor
        .wait_for(|inner| {
            inner
                .statuses
                .last()
                .filter(|status| **status == AgentStatus::Idle)
                .map(drop)
        })
        .await;
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_where_an_image_does_not_fit() {
    let conductor = conductor_with_image().await;
    let files = Files::new(&[("vda", 4 << 20), ("vdb", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let image = ImageId(uuid::Uuid::from_u128(2));
    let onto = |name: &str, size| Work::WriteImage {
        image,
        disk: selector(name, size),
        chunks_in_clear: None,
    };
    let failed = failure(
        conductor
            .command(command("small", 1, onto("vda", 4 << 20)))
            .await,
    );
    assert_eq!(failed.class, FailureClass::Permanent);
    assert!(failed.message.contains("larger disk"), "{}", failed.message);
    assert_eq!(failed.cause, Some(Cause::ImageUnusable));
    let failed = failure(
        conductor
            .command(command("gone", 1, onto("vdc", DISK)))
            .await,
    );
    assert_eq!(failed.class, FailureClass::Operator);
    assert!(
        failed.message.contains("vdb with serial number serial-vdb"),
        "{}",
        failed.message
    );
    assert_eq!(failed.cause, Some(Cause::DiskMissing));
    let mut map = conductor.inner().map.clone().unwrap();
    map["chunks"][0]["offset"] = (64_u64 << 20).into();
    conductor.inner().map = Some(map);
    let failed = failure(
        conductor
            .command(command("outside", 1, onto("vdb", DISK)))
            .await,
    );
    assert!(
        failed.message.contains("outside of the image"),
        "{}",
        failed.message
    );
    assert_eq!(failed.cause, Some(Cause::ImageNotFetched));
    assert!(
        files
            .disk("vda")
            .iter()
            .chain(&files.disk("vdb"))
            .all(|byte| *byte == 0xa5)
    );
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_config_drive_is_not_written() {
    let conductor = conductor_with_image().await;
    conductor.inner().config_drive = b"<html>".to_vec();
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let work = Work::WriteConfigDrive {
        disk: selector("vda", DISK),
    };
    let failed = failure(conductor.command(command("drive", 1, work.clone())).await);
    assert!(failed.message.contains("ISO 9660"), "{}", failed.message);
    conductor.inner().config_drive = vec![0; 2 << 20];
    let failed = failure(conductor.command(command("large", 1, work)).await);
    assert!(
        failed.message.contains("larger than 1048576 bytes"),
        "{}",
        failed.message
    );
    assert!(files.disk("vda").iter().all(|byte| *byte == 0xa5));
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_is_not_accepted_ends_in_power_off() {
    let conductor = conductor_with_image().await;
    conductor.inner().session = Some("somebody else's".into());
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    let Ending::PowerOff(why) = ending(agent).await else {
        panic!()
    };
    assert!(
        why.contains("the token of this boot has been used"),
        "{why}"
    );
    assert_eq!(conductor.inner().hellos.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_with_another_certificate_hears_nothing() {
    let conductor = conductor_with_image().await;
    let other = Conductor::start().await;
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, other.pin);
    let Ending::PowerOff(why) = ending(agent).await else {
        panic!()
    };
    assert!(why.contains("no answer from the conductor"), "{why}");
    assert!(conductor.inner().hellos.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_agent_bears_a_restart_and_gives_up_in_the_end() {
    let mut conductor = conductor_with_image().await;
    let files = Files::new(&[("vda", DISK)]);
    let agent = agent(&conductor, &files, conductor.pin);
    result(conductor.command(command("1", 1, Work::Inspect)).await);
    conductor.restart().await;
    result(conductor.command(command("2", 1, Work::Inspect)).await);
    conductor.kill().await;
    let begun = std::time::Instant::now();
    let Ending::PowerOff(why) = ending(agent).await else {
        panic!()
    };
    assert!(why.contains("no answer from the conductor"), "{why}");
    assert!(begun.elapsed() >= rig::impatient().unanswered - Duration::from_millis(500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_whose_time_has_not_come_is_believed_by_its_fingerprint() {
    // The same to the agent as a clock of its own that is decades off.
    for years in [2090..2091, 1990..1991] {
        let conductor = Conductor::valid_in(years).await;
        let files = Files::new(&[("vda", 1 << 20)]);
        let agent = agent(&conductor, &files, conductor.pin);
        result(conductor.command(command("1", 1, Work::Inspect)).await);
        agent.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_shrunk_is_tried_again_and_named() {
    let conductor = Conductor::start().await;
    let files = Files::new(&[("vda", DISK), ("vdb", DISK)]);
    files.resize("vdb", DISK / 2);
    let agent = agent(&conductor, &files, conductor.pin);
    let failed = failure(conductor.command(command("1", 1, Work::Erase)).await);
    assert_eq!(failed.class, FailureClass::Transient);
    assert_eq!(failed.cause, Some(Cause::DiskError));
    for part in ["disk vdb (serial number serial-vdb)", "16777216", "8388608"] {
        assert!(failed.message.contains(part), "{}", failed.message);
    }
    files.resize("vdb", DISK);
    result(conductor.command(command("2", 1, Work::Erase)).await);
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_protected_disk_is_for_an_operator_and_left_as_it_is() {
    let conductor = Conductor::start().await;
    let files = Files::new(&[("vda", 1 << 20)]);
    files.write("sys/block/vda/ro", "1\n");
    let agent = agent(&conductor, &files, conductor.pin);
    let failed = failure(conductor.command(command("1", 1, Work::Erase)).await);
    assert_eq!(failed.class, FailureClass::Operator);
    assert_eq!(failed.cause, Some(Cause::DiskLocked));
    for part in ["disk vda (serial number serial-vda)", "write-protected"] {
        assert!(failed.message.contains(part), "{}", failed.message);
    }
    assert!(files.disk("vda").iter().all(|byte| *byte == 0xa5));
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_is_asked_for_patience_with_disks() {
    let conductor = Conductor::start().await;
    let files = Files::new(&[("vda", 1 << 20)]);
    files.write("sys/block/vda/queue/io_timeout", "30000\n");
    let agent = agent(&conductor, &files, conductor.pin);
    result(conductor.command(command("1", 1, Work::Erase)).await);
    let limit = std::fs::read_to_string(files.path("sys/block/vda/queue/io_timeout")).unwrap();
    assert_eq!(limit, "180000");
    agent.abort();
}
