//! A member of a bond is pulled in the middle of a transfer, then the other one; nothing is lost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bessemer_sim::rack::{self, NodeDescription};
use serde_json::json;
use tokio::time::sleep;

use super::first_boot::negotiated;
use super::operator::Site;
use super::tenant::{Server, Tenant};
use super::{Figures, seen};

/// Receives until the sender ends, and says how many bytes came, and their checksum.
const RECEIVE: &str = "import hashlib,socket\n\
    socket.setdefaulttimeout(120)\n\
    s=socket.create_server(('',7000));c,_=s.accept();h=hashlib.sha256();n=0\n\
    while d:=c.recv(1<<16): h.update(d);n+=len(d)\n\
    print(n,h.hexdigest())";

/// Sends until there is a file /tmp/enough, and says how many bytes went, and their checksum.
const SEND: &str = "import hashlib,os,socket,sys,time\n\
    socket.setdefaulttimeout(120)\n\
    for i in range(50):\n\
    \x20try: s=socket.create_connection((sys.argv[1],7000));break\n\
    \x20except OSError: time.sleep(0.2)\n\
    d=os.urandom(1<<16);h=hashlib.sha256();n=0\n\
    while not os.path.exists('/tmp/enough'):\n\
    \x20p=n.to_bytes(8,'big')+d;s.sendall(p);h.update(p);n+=len(p);time.sleep(0.01)\n\
    s.close();print(n,h.hexdigest())";

/// How long the bond carries on with one member.
const PULLED: Duration = Duration::from_secs(8);

/// The longest until both members carry traffic again.
const MEND_LIMIT: Duration = Duration::from_secs(60);

/// Transfers from one server to the other while members of the receiver's bond are pulled in turn.
pub(super) async fn transfer(
    site: &Site<'_>,
    tenant: &Tenant<'_>,
    servers: &[Server],
    figures: &mut Figures,
) -> Result<()> {
    let [from, to] = servers else {
        bail!("two servers were to transfer");
    };
    let address = to.first()?;
    let started = Instant::now();
    let (receive, send) = (
        format!("python3 -c \"{RECEIVE}\""),
        format!("rm -f /tmp/enough; python3 -c \"{SEND}\" {address}"),
    );
    let (received, sent, ()) =
        tokio::try_join!(tenant.run(to, &receive), tenant.run(from, &send), async {
            let pulled = pull_in_turn(site, to).await;
            // Whatever came of it, the transfer is to end.
            tenant.run(from, "touch /tmp/enough").await?;
            pulled
        })?;
    ensure!(received == sent, "received {received}, sent {sent}");
    let bytes = sent.split(' ').next().unwrap_or_default();
    let figure = json!({
        "bytes": bytes.parse::<u64>().context("no count of bytes")?,
        "seconds": started.elapsed().as_secs(),
        "lost": 0,
    });
    seen(figures, "transfer while members are pulled in turn", figure);
    Ok(())
}

async fn pull_in_turn(site: &Site<'_>, server: &Server) -> Result<()> {
    let node = site.rack.node(&server.node)?;
    sleep(PULLED / 2).await;
    for index in 0..node.nics.len() {
        set_link(site, node, index, false).await?;
        sleep(PULLED).await;
        let left = negotiated(site, server).await?;
        ensure!(left == 1, "{left} members negotiate although one is pulled");
        set_link(site, node, index, true).await?;
        let mending = Instant::now();
        while negotiated(site, server).await? < node.nics.len() {
            ensure!(mending.elapsed() < MEND_LIMIT, "the bond does not mend");
            sleep(Duration::from_millis(500)).await;
        }
    }
    Ok(())
}

/// Pulls a cable at the switch's end, or puts it back.
async fn set_link(site: &Site<'_>, node: &NodeDescription, index: usize, up: bool) -> Result<()> {
    let switch = site
        .rack
        .switch_of(node)
        .context("the node has no switch")?;
    Ok(rack::set_link(switch, &node.nics[index].switch_port, up).await?)
}
