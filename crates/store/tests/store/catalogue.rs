//! Images, flavors, key pairs, projects, tokens.

use bessemer_core::id::{FlavorId, ImageId, KeyPairId, ProjectId, TokenId};
use bessemer_store::{Error, ImportedImage, KeyPairRecord, TokenRecord};
use bessemer_wire::api::{ImageStatus, Role};
use uuid::Uuid;

use crate::on_both;
use crate::site::{Site, at, flavor, image, inventory, project, stock};

on_both! {
    an_import_ends_once
    flavors_and_keys_are_found_by_name_and_id
    a_project_is_made_once
    a_token_is_known_by_its_digest_until_it_is_revoked
}

async fn an_import_ends_once(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    let importing = store.unfinished_images().await.unwrap();
    assert_eq!(importing.len(), 1);
    let mut namesake = importing[0].clone();
    namesake.id = ImageId(Uuid::from_u128(44));
    let taken = store.create_image(&namesake).await.err().unwrap();
    assert_eq!(
        taken.to_string(),
        "the name `debian` belongs to another image already"
    );
    namesake.name = "broken".into();
    store.create_image(&namesake).await.unwrap();

    let mut uploaded = namesake.clone();
    (uploaded.id, uploaded.name) = (ImageId(Uuid::from_u128(45)), "uploaded".into());
    (uploaded.status, uploaded.upload_size) = (ImageStatus::Uploading, Some(1 << 30));
    uploaded.credentials_sealed = Some(vec![7; 40]);
    uploaded.checksum_url = Some("https://host/SHA256SUMS".into());
    store.create_image(&uploaded).await.unwrap();
    let found = store.image("uploaded").await.unwrap();
    assert_eq!(
        (
            found.upload_size,
            found.credentials_sealed,
            found.checksum_url
        ),
        (Some(1 << 30), Some(vec![7; 40]), uploaded.checksum_url)
    );
    let imported = ImportedImage {
        virtual_size: 4 << 30,
        data_bytes: 640 << 20,
        checksum: "sha512:00".into(),
        format: "qcow2 in xz".into(),
    };
    let early = store.finish_image(uploaded.id, Ok(imported.clone())).await;
    assert!(matches!(early, Err(Error::NotFound { .. })));
    assert_eq!(store.unfinished_images().await.unwrap().len(), 3);
    store.image_uploaded(uploaded.id).await.unwrap();
    let again = store.image_uploaded(uploaded.id).await;
    assert!(matches!(again, Err(Error::NotFound { .. })));
    store
        .finish_image(uploaded.id, Ok(imported.clone()))
        .await
        .unwrap();
    let found = store.image("uploaded").await.unwrap();
    assert_eq!(
        (found.status, found.credentials_sealed),
        (ImageStatus::Ready, None)
    );
    assert_eq!(
        (found.checksum.as_str(), found.format.as_deref()),
        ("sha512:00", Some("qcow2 in xz"))
    );
    store.delete_image(uploaded.id).await.unwrap();

    store
        .finish_image(image(), Ok(imported.clone()))
        .await
        .unwrap();
    let late = store.finish_image(image(), Err("too late".into())).await;
    assert!(matches!(late, Err(Error::NotFound { .. })));
    let ready = store.image("debian").await.unwrap();
    assert_eq!(ready.status, ImageStatus::Ready);
    assert_eq!(
        (ready.virtual_size, ready.data_bytes),
        (Some(4 << 30), Some(640 << 20))
    );
    assert_eq!(
        (ready.default_user.as_deref(), ready.message),
        (Some("debian"), None)
    );
    assert_eq!(
        ready.network_configuration,
        bessemer_core::network_data::NetworkConfiguration::Wicked
    );

    let why = "the SHA-256 is another one".to_owned();
    store
        .finish_image(namesake.id, Err(why.clone()))
        .await
        .unwrap();
    let failed = store.image(&namesake.id.to_string()).await.unwrap();
    assert_eq!(
        (failed.status, failed.message),
        (ImageStatus::Failed, Some(why))
    );
    assert!(store.unfinished_images().await.unwrap().is_empty());
    assert_eq!(store.images().await.unwrap().len(), 2);
    store.delete_image(image()).await.unwrap();
    let gone = store.delete_image(image()).await.err().unwrap();
    assert!(matches!(gone, Error::NotFound { what: "image", .. }));
}

async fn flavors_and_keys_are_found_by_name_and_id(site: Site) {
    let store = site.open().await;
    stock(&store, 5).await;
    let by_id = store.flavor(&flavor().to_string()).await.unwrap();
    assert_eq!(by_id.name, "small");
    assert!(by_id.hardware.mismatches(&inventory()).is_empty());
    assert_eq!(store.flavor("small").await.unwrap().id, flavor());
    assert_eq!(store.flavors().await.unwrap().len(), 1);
    assert!(matches!(
        store.create_flavor(&by_id, at(9)).await,
        Err(Error::Conflict { .. })
    ));
    let mut hinted = by_id.clone();
    (hinted.id, hinted.name) = (FlavorId(Uuid::from_u128(77)), "hinted".into());
    hinted.root_disk_hint = Some("model=PM9A3".parse().unwrap());
    store.create_flavor(&hinted, at(9)).await.unwrap();
    let found = store.flavor("hinted").await.unwrap();
    assert_eq!(found.root_disk_hint, hinted.root_disk_hint);
    let missing = store.flavor("large").await.err().unwrap();
    assert_eq!(missing.to_string(), "there is no flavor `large`");

    let key = KeyPairRecord {
        id: KeyPairId(Uuid::from_u128(7)),
        project: project(),
        name: "me".into(),
        public_key: "ssh-ed25519 AAAA me".into(),
    };
    store.create_key_pair(&key).await.unwrap();
    assert!(matches!(
        store.create_key_pair(&key).await,
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        store.key_pair(project(), "me").await.unwrap().public_key,
        key.public_key
    );
    assert_eq!(store.key_pairs(project()).await.unwrap().len(), 1);
    let other = ProjectId(Uuid::from_u128(33));
    let hidden = store.key_pair(other, &key.id.to_string()).await;
    assert!(
        matches!(hidden, Err(Error::NotFound { .. })),
        "somebody else's"
    );
}

async fn a_project_is_made_once(site: Site) {
    let store = site.open().await;
    let makers: Vec<_> = (1..=8)
        .map(|number| {
            let store = store.clone();
            let id = ProjectId(Uuid::from_u128(number));
            tokio::spawn(async move { store.project_by_name_or_create("demo", id).await })
        })
        .collect();
    let mut ids = Vec::new();
    for maker in makers {
        ids.push(maker.await.unwrap().unwrap().id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(store.projects().await.unwrap().len(), 1);
}

async fn a_token_is_known_by_its_digest_until_it_is_revoked(site: Site) {
    let store = site.open().await;
    store
        .project_by_name_or_create("demo", project())
        .await
        .unwrap();
    assert_eq!(store.token_count().await.unwrap(), 0);
    let token = TokenRecord {
        id: TokenId(Uuid::from_u128(8)),
        name: "admin".into(),
        role: Role::Admin,
        project: project(),
        created_at: at(1),
    };
    store.create_token(&token, "digest").await.unwrap();
    assert!(matches!(
        store.create_token(&token, "other").await,
        Err(Error::Conflict { .. })
    ));
    // A token whose name is the other's id is not what that id means.
    let confusing = TokenRecord {
        id: TokenId(Uuid::from_u128(9)),
        name: token.id.to_string(),
        role: Role::Member,
        ..token.clone()
    };
    store
        .create_token(&confusing, "digest of another")
        .await
        .unwrap();
    let found = store
        .token_by_hash("digest")
        .await
        .unwrap()
        .expect("is known");
    assert_eq!(
        (found.id, found.role, found.project),
        (token.id, Role::Admin, project())
    );
    assert!(store.token_by_hash("admin").await.unwrap().is_none());
    assert_eq!(store.tokens().await.unwrap().len(), 2);

    let elsewhere = site.open().await;
    assert!(elsewhere.token_by_hash("digest").await.unwrap().is_some());
    store.revoke_token(&token.id.to_string()).await.unwrap();
    assert!(store.token_by_hash("digest").await.unwrap().is_none());
    // Another server may not have noticed yet, for less than a second.
    let revoked = std::time::Instant::now();
    loop {
        let asked = revoked.elapsed();
        if elsewhere.token_by_hash("digest").await.unwrap().is_none() {
            break;
        }
        assert!(asked < std::time::Duration::from_secs(1), "{asked:?}");
        tokio::task::yield_now().await;
    }
    assert!(
        store
            .token_by_hash("digest of another")
            .await
            .unwrap()
            .is_some()
    );
    store.revoke_token(&confusing.name).await.unwrap();
    let gone = store.revoke_token("admin").await;
    assert!(matches!(gone, Err(Error::NotFound { what: "token", .. })));
}
