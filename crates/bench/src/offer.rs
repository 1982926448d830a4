//! What is on offer where machines are ordered: an image, a flavor, a network and a key.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bessemer_client::Client;
use bessemer_core::lifecycle::HandOver;
use bessemer_core::network::NetworkKind;
use bessemer_wire::api::{
    FlavorCreate, ImageCreate, ImageStatus, KeyPairCreate, NetworkCreate, NetworkRequest,
    ServerCreate, SubnetCreate,
};
use tokio::time::{sleep, timeout};

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The longest that an import may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of the image's disk.
const DISK: u64 = 12 << 20;

const PUBLIC_KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIP5kGDqPvXwzYUGQxNLPRQ8qMYBvZYZlP1iE0Nng2Q1R somebody@example";

/// Puts machines like `node` on offer; the image is made in `folder`.
pub(crate) async fn make(api: &Client, folder: &Path, node: &str) -> anyhow::Result<()> {
    import_image(api, folder).await?;
    api.create_flavor(&FlavorCreate {
        name: "metal".into(),
        hardware: None,
        from_node: Some(node.into()),
        standby: false,
        hand_over: HandOver::default(),
        root_disk_hint: None,
    })
    .await?;
    api.create_network(&NetworkCreate {
        name: "network".into(),
        kind: NetworkKind::Vlan,
        scope: None,
        project: None,
        vlan: Some(100),
        vni: None,
        mtu: None,
        physical_network: None,
        subnets: vec![SubnetCreate {
            cidr: "192.168.96.0/20".parse()?,
            gateway: None,
            dns: Vec::new(),
            routes: Vec::new(),
            pools: None,
        }],
    })
    .await?;
    api.create_key(&KeyPairCreate {
        name: "key".into(),
        public_key: PUBLIC_KEY.into(),
    })
    .await?;
    Ok(())
}

/// An order of what is on offer.
pub(crate) fn order(name: &str) -> ServerCreate {
    ServerCreate {
        name: name.into(),
        flavor: "metal".into(),
        image: "image".into(),
        networks: vec![NetworkRequest {
            network: "network".into(),
            addresses: Vec::new(),
            port: None,
            mode: None,
        }],
        keys: vec!["key".into()],
        user_data: None,
    }
}

/// Looks until it is so, for as long as `patience` lasts.
pub(crate) async fn until(
    what: &str,
    patience: Duration,
    is: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let looking = async {
        while !is().await? {
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    match timeout(patience, looking).await {
        Ok(result) => result,
        Err(_) => bail!("waited in vain for {what}"),
    }
}

async fn import_image(api: &Client, folder: &Path) -> anyhow::Result<()> {
    let disk = folder.join("image");
    File::create(&disk)?.set_len(DISK)?;
    let status = Command::new("/usr/sbin/sgdisk")
        .args(["-n", "1:2048:0"])
        .arg(&disk)
        .stdout(Stdio::null())
        .status()
        .context("sgdisk (Debian's gdisk) is needed")?;
    ensure!(status.success(), "sgdisk ended with {status}");
    api.create_image(&ImageCreate {
        name: "image".into(),
        source: disk.to_str().map(str::to_owned),
        sha256: Some(sha256(&disk)?),
        ..ImageCreate::default()
    })
    .await?;
    let ready = async || Ok(api.image("image").await?.status == ImageStatus::Ready);
    until("the image to be ready", PATIENCE, ready).await
}

fn sha256(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let sum = text.split_whitespace().next();
    sum.map(str::to_owned).context("sha256sum said nothing")
}
