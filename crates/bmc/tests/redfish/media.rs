//! Virtual media: finding the drive, and filling and emptying it whatever way a BMC wants that.

use axum::http::{Method, StatusCode};
use bessemer_bmc::{Bmc, Error};
use bessemer_core::reason::FailureClass;
use serde_json::{Value, json};

use crate::service::{Seen, Service, at_once, done, refusal, small_tree, soon};

const DRIVES: &str = "/redfish/v1/Managers/1/VirtualMedia";
const IMAGE: &str = "http://10.77.0.1:8080/boot/b1/agent.iso";
const OTHER: &str = "http://10.77.0.1:8080/boot/b0/agent.iso";

/// A drive of these kinds that is told by actions.
fn drive(id: &str, kinds: &[&str]) -> (String, Value) {
    let path = format!("{DRIVES}/{id}");
    let drive = json!({
        "@odata.id": path, "Id": id, "MediaTypes": kinds, "Inserted": false, "Image": null,
        "ConnectedVia": "NotConnected", "WriteProtected": true,
        "Actions": {
            "#VirtualMedia.InsertMedia": {"target": format!("{path}/Actions/VirtualMedia.InsertMedia")},
            "#VirtualMedia.EjectMedia": {"target": format!("{path}/Actions/VirtualMedia.EjectMedia")},
        },
    });
    (path, drive)
}

/// A machine whose manager has these drives.
async fn machine_with(drives: impl IntoIterator<Item = (String, Value)>) -> Service {
    let service = Service::start(small_tree()).await;
    service.world(|world| {
        world.system()["Links"] = json!({"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/1"}]});
        let manager = json!({"VirtualMedia": {"@odata.id": DRIVES}});
        world
            .resources
            .insert("/redfish/v1/Managers/1".to_owned(), manager);
        let mut members = Vec::new();
        for (path, drive) in drives {
            members.push(json!({"@odata.id": path}));
            world.resources.insert(path, drive);
        }
        world
            .resources
            .insert(DRIVES.to_owned(), json!({"Members": members}));
    });
    service
}

async fn machine() -> Service {
    machine_with([drive("Cd", &["CD", "DVD"])]).await
}

fn change(service: &Service, id: &str, change: impl FnOnce(&mut Value)) {
    let path = format!("{DRIVES}/{id}");
    service.world(|world| change(world.resources.get_mut(&path).unwrap()));
}

fn look(service: &Service, id: &str) -> Value {
    service.world(|world| world.resources[&format!("{DRIVES}/{id}")].clone())
}

async fn insert(service: &Service) -> Result<(), Error> {
    service.client().insert_media(IMAGE, soon()).await
}

/// What was asked of drives so far: the last part of the path, and the body.
fn asked(service: &Service) -> Vec<(String, Value)> {
    service.world(|world| {
        let asked = world.seen.iter().filter(|seen| is_request(seen));
        asked
            .map(|seen| {
                let last = seen.path.rsplit('/').next().unwrap().to_owned();
                (last, seen.body.clone())
            })
            .collect()
    })
}

fn is_request(seen: &Seen) -> bool {
    seen.path.starts_with(DRIVES) && seen.method != Method::GET
}

fn is_insertion(seen: &Seen) -> bool {
    seen.path.ends_with("InsertMedia")
}

#[tokio::test]
async fn an_image_goes_in_and_out_and_twice_is_once() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    client.insert_media(IMAGE, soon()).await.unwrap();
    assert_eq!(look(&service, "Cd")["Image"], IMAGE);
    client.eject_media(soon()).await.unwrap();
    client.eject_media(soon()).await.unwrap();
    assert_eq!(look(&service, "Cd")["Inserted"], false);
    let names: Vec<_> = asked(&service).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["VirtualMedia.InsertMedia", "VirtualMedia.EjectMedia"]
    );
}

#[tokio::test]
async fn a_drive_once_found_is_not_looked_for_again() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    client.eject_media(soon()).await.unwrap();
    let before = client.requests();
    client.insert_media(IMAGE, soon()).await.unwrap();
    // Check, act, verify.
    assert_eq!(client.requests() - before, 3);
}

#[tokio::test]
async fn what_was_inserted_is_taken_out_with_two_requests() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    let before = client.requests();
    client.eject_media(soon()).await.unwrap();
    // Act and verify: that it was verified to be there is the check.
    assert_eq!(client.requests() - before, 2);
    assert_eq!(look(&service, "Cd")["Inserted"], false);
    // Nothing is taken for granted twice.
    client.eject_media(soon()).await.unwrap();
    assert_eq!(asked(&service).len(), 2);
}

#[tokio::test]
async fn a_drive_that_has_moved_with_an_image_in_it_is_emptied_all_the_same() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    service.world(|world| {
        let held = world.resources.remove(&format!("{DRIVES}/Cd")).unwrap();
        let (path, mut drive) = drive("Cd2", &["CD"]);
        for member in ["Image", "Inserted", "ConnectedVia"] {
            drive[member] = held[member].clone();
        }
        let members = json!({"Members": [{"@odata.id": path}]});
        world.resources.insert(DRIVES.to_owned(), members);
        world.resources.insert(path, drive);
    });
    service.rule(|seen, _| {
        let gone = seen.path.starts_with(&format!("{DRIVES}/Cd/"));
        gone.then(|| refusal(StatusCode::NOT_FOUND, "no such drive"))
    });
    client.eject_media(soon()).await.unwrap();
    assert_eq!(look(&service, "Cd2")["Inserted"], false);
}

#[tokio::test]
async fn an_ejection_that_is_accepted_and_ignored_is_not_success() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    service.rule(|seen, _| seen.path.ends_with("EjectMedia").then(done));
    let error = client.eject_media(at_once()).await.unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
    assert_eq!(look(&service, "Cd")["Inserted"], true);
}

#[tokio::test]
async fn a_drive_that_has_moved_is_looked_for_again() {
    let service = machine().await;
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    service.world(|world| {
        world.resources.remove(&format!("{DRIVES}/Cd"));
        let (path, drive) = drive("Cd2", &["CD"]);
        world
            .resources
            .insert(DRIVES.to_owned(), json!({"Members": [{"@odata.id": path}]}));
        world.resources.insert(path, drive);
    });
    client.insert_media(IMAGE, soon()).await.unwrap();
    assert_eq!(look(&service, "Cd2")["Image"], IMAGE);
}

#[tokio::test]
async fn a_cd_is_preferred_to_a_dvd_to_a_stick_and_a_floppy_is_none() {
    let all = [
        drive("Floppy", &["Floppy"]),
        drive("Stick", &["USBStick"]),
        drive("Dvd", &["DVD"]),
        drive("Cd", &["CD"]),
    ];
    for (count, best) in [(4, "Cd"), (3, "Dvd"), (2, "Stick")] {
        let service = machine_with(all.iter().take(count).cloned()).await;
        insert(&service).await.unwrap();
        assert_eq!(look(&service, best)["Image"], IMAGE, "{best}");
    }
    let service = machine_with(all.into_iter().take(1)).await;
    let error = insert(&service).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Operator);
    assert!(error.to_string().contains("virtual CD drive"), "{error}");
}

#[tokio::test]
async fn drives_of_the_system_come_before_its_managers() {
    let service = machine().await;
    let drives = "/redfish/v1/Systems/1/VirtualMedia";
    service.world(|world| {
        let own = json!({"Members": [{"@odata.id": format!("{drives}/1")}]});
        world.system()["VirtualMedia"] = json!({"@odata.id": drives});
        world.resources.insert(drives.to_owned(), own);
        let (_, mut own) = drive("1", &["CD"]);
        for action in own["Actions"].as_object_mut().unwrap().values_mut() {
            let target = action["target"].as_str().unwrap().replace(DRIVES, drives);
            action["target"] = target.into();
        }
        world.resources.insert(format!("{drives}/1"), own);
    });
    insert(&service).await.unwrap();
    let own = service.world(|world| world.resources[&format!("{drives}/1")].clone());
    assert_eq!(own["Image"], IMAGE);
    assert_eq!(look(&service, "Cd")["Inserted"], false);

    // A link that leads nowhere: the manager's are used.
    service.world(|world| world.resources.remove(drives));
    insert(&service).await.unwrap();
    assert_eq!(look(&service, "Cd")["Image"], IMAGE);
}

#[tokio::test]
async fn another_image_is_ejected_first() {
    let service = machine().await;
    // The same file name does not make it the same image.
    for shown in [json!(OTHER), json!("agent.iso")] {
        change(&service, "Cd", |drive| {
            drive["Inserted"] = true.into();
            drive["Image"] = shown;
        });
        insert(&service).await.unwrap();
        assert_eq!(look(&service, "Cd")["Image"], IMAGE);
    }
    let names: Vec<_> = asked(&service).into_iter().map(|(name, _)| name).collect();
    let once = ["VirtualMedia.EjectMedia", "VirtualMedia.InsertMedia"];
    assert_eq!(names, [once, once].concat());
}

#[tokio::test]
async fn what_a_drive_shows_differs() {
    for shown in [
        json!({"Inserted": true, "Image": IMAGE}),
        json!({"Inserted": true, "Image": "", "ImageName": "agent.iso"}),
        json!({"Inserted": true, "Image": null}),
        json!({"Inserted": true, "Image": "/boot/b1/agent.iso"}),
        json!({"Inserted": null, "Image": IMAGE, "ConnectedVia": "URI"}),
        json!({"Inserted": true, "Image": IMAGE.replace("http:", "HTTP:")}),
    ] {
        let service = machine().await;
        let after = shown.clone();
        service.rule(move |seen, world| {
            is_insertion(seen).then(|| {
                let drive = world.resources.get_mut(&format!("{DRIVES}/Cd")).unwrap();
                for (name, value) in after.as_object().unwrap() {
                    drive[name] = value.clone();
                }
                done()
            })
        });
        insert(&service)
            .await
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
    }
}

#[tokio::test]
async fn only_members_that_the_drive_shows_are_sent_along() {
    let service = machine().await;
    insert(&service).await.unwrap();
    let body = json!({"Image": IMAGE, "Inserted": true, "WriteProtected": true});
    assert_eq!(asked(&service)[0].1, body);

    let service = machine().await;
    change(&service, "Cd", |drive| {
        drive["TransferMethod"] = Value::Null;
        drive["TransferProtocolType"] = Value::Null;
    });
    insert(&service).await.unwrap();
    let body = json!({
        "Image": IMAGE, "Inserted": true, "WriteProtected": true,
        "TransferMethod": "Stream", "TransferProtocolType": "HTTP",
    });
    assert_eq!(asked(&service)[0].1, body);
}

#[tokio::test]
async fn members_that_are_refused_are_left_out_and_those_missed_are_sent() {
    // What the BMC takes beside the image, how it objects, and after how many objections it is
    // content.
    let named = |name: &str| format!("The parameter {name} is not right for InsertMedia.");
    let unnamed = |_: &str| "Bad request.".to_owned();
    type Objection<'a> = &'a (dyn Fn(&str) -> String + Sync);
    let cases: [(&'static [&'static str], Objection, usize); 6] = [
        (&["Inserted"], &named, 1),
        (&[], &named, 2),
        (
            &["Inserted", "WriteProtected", "TransferProtocolType"],
            &named,
            1,
        ),
        (&["TransferProtocolType"], &named, 3),
        (&[], &unnamed, 1),
        (
            &[
                "Inserted",
                "TransferMethod",
                "TransferProtocolType",
                "WriteProtected",
            ],
            &unnamed,
            2,
        ),
    ];
    for (taken, objection, objections) in cases {
        let texts: Vec<(String, String)> = [
            "Inserted",
            "WriteProtected",
            "TransferMethod",
            "TransferProtocolType",
        ]
        .map(|name| (name.to_owned(), objection(name)))
        .into();
        let service = machine().await;
        service.rule(move |seen, _| {
            if !is_insertion(seen) {
                return None;
            }
            let wrong = texts
                .iter()
                .find(|(name, _)| seen.body.get(name).is_some() != taken.contains(&name.as_str()));
            wrong.map(|(_, text)| refusal(StatusCode::BAD_REQUEST, text))
        });
        let client = service.client();
        client.insert_media(IMAGE, soon()).await.unwrap();
        assert_eq!(asked(&service).len(), objections + 1, "{taken:?}");
        // The next image is inserted at once.
        client.insert_media(OTHER, soon()).await.unwrap();
        assert_eq!(asked(&service).len(), objections + 3, "{taken:?}");
    }
}

#[tokio::test]
async fn an_image_that_is_refused_is_not_tried_for_ever() {
    let service = machine().await;
    service.rule(|seen, _| {
        is_insertion(seen).then(|| refusal(StatusCode::BAD_REQUEST, "The image cannot be fetched."))
    });
    let error = insert(&service).await.unwrap_err();
    assert!(
        error.to_string().contains("The image cannot be fetched."),
        "{error}"
    );
    assert_eq!(error.class(), FailureClass::Permanent);
    assert_eq!(asked(&service).len(), 3);
}

#[tokio::test]
async fn without_actions_the_drive_itself_is_changed() {
    let service = machine().await;
    change(&service, "Cd", |drive| {
        drive.as_object_mut().unwrap().remove("Actions");
    });
    let client = service.client();
    client.insert_media(IMAGE, soon()).await.unwrap();
    assert_eq!(look(&service, "Cd")["Image"], IMAGE);
    client.eject_media(soon()).await.unwrap();
    assert_eq!(look(&service, "Cd")["Image"], Value::Null);
    assert!(asked(&service).iter().all(|(name, _)| name == "Cd"));
}

#[tokio::test]
async fn a_bmc_that_takes_no_null_is_told_nothing_by_an_empty_text() {
    let service = machine().await;
    change(&service, "Cd", |drive| {
        drive.as_object_mut().unwrap().remove("Actions");
        drive.as_object_mut().unwrap().remove("Inserted");
        drive["Image"] = IMAGE.into();
        drive["ConnectedVia"] = "URI".into();
    });
    service.rule(|seen, world| {
        if seen.method != Method::PATCH {
            return None;
        }
        if seen.body != json!({"Image": ""}) {
            return Some(refusal(StatusCode::BAD_REQUEST, "Image is a text."));
        }
        let drive = world.resources.get_mut(&format!("{DRIVES}/Cd")).unwrap();
        drive["Image"] = "".into();
        Some(done())
    });
    service.client().eject_media(soon()).await.unwrap();
}

#[tokio::test]
async fn an_image_that_is_accepted_and_ignored_or_stuck_is_not_success() {
    let service = machine().await;
    service.rule(|seen, _| is_request(seen).then(done));
    let client = service.client();
    let error = client.insert_media(IMAGE, at_once()).await.unwrap_err();
    assert!(matches!(error, Error::NotVerified { .. }), "{error}");
    assert_eq!(error.class(), FailureClass::Transient);
    let text = error.to_string();
    assert!(
        text.contains(IMAGE) && text.contains("not inserted"),
        "{text}"
    );

    change(&service, "Cd", |drive| {
        drive["Inserted"] = true.into();
        drive["Image"] = OTHER.into();
    });
    let error = client.eject_media(at_once()).await.unwrap_err();
    assert!(error.to_string().contains(OTHER), "{error}");
    // Nor is the wanted image put on top of the one that is stuck.
    let before = asked(&service).len();
    let error = client.insert_media(IMAGE, at_once()).await.unwrap_err();
    assert!(error.to_string().contains("empty virtual media"), "{error}");
    assert_eq!(asked(&service).len(), before + 1);
}

#[tokio::test]
async fn a_machine_without_drives_says_so() {
    for service in [
        Service::start(small_tree()).await,
        machine_with([]).await,
        machine_with([drive("Floppy", &["Floppy"])]).await,
    ] {
        let client = service.client();
        for result in [
            client.insert_media(IMAGE, soon()).await,
            client.eject_media(soon()).await,
        ] {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::NotOffered { .. }), "{error}");
        }
        assert!(!client.capabilities(soon()).await.unwrap().virtual_media);
    }
}

#[tokio::test]
async fn a_drive_of_no_kind_is_better_than_none() {
    let mut odd = drive("1", &[]);
    odd.1["MediaTypes"] = Value::Null;
    let service = machine_with([odd]).await;
    insert(&service).await.unwrap();
    assert_eq!(look(&service, "1")["Image"], IMAGE);
}
