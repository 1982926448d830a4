//! VXLAN networks on switches: the VLAN that each has there, and the tunnels between them.
//!
//! A network is on a switch for the servers whose nodes are cabled to it, from their order until
//! their ports have been read back as parked. The first of them takes a VLAN of the switch by one
//! statement that finds a free one, with a unique key as the last word. It is given back only when
//! the switch has been read back without the network's tunnels: a frame that still came out of one
//! would end in whatever network has the VLAN by then.
//!
//! What tunnels a switch needs is never stored, only that it has changed: `wanted` rises then, and
//! whoever claims the switch's tunnels reads what there is, brings them about and says so. A lease
//! with a fence, as for nodes, keeps two conductors from undoing each other's tunnels with what they
//! read before.
//!
//! Rows of `local_network` are locked before servers join or leave them, so that of two the one is
//! the first, or the last, and knows it.

use std::collections::BTreeSet;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ServerId};
use bessemer_core::network::IdRange;

use crate::Error;
use crate::database::Row;
use crate::events::append;
use crate::records::{
    LocalNetworkRecord, LocalVlan, NewEvent, NewLocalNetwork, TunnelWork, TunnelsWanted,
};
use crate::store::{Store, Write};
use crate::value::values;

/// The lowest VLAN from `$first` to `$last` that no network has: neither everywhere, nor on the
/// switches that `$here` selects of `local_network`. A query with the column `candidate` and at most
/// one row. Each VLAN that is taken is put beside the next one: one pass, however many there are.
macro_rules! lowest_unused_vlan {
    ($first:literal, $last:literal, $here:literal) => {
        concat!(
            "SELECT vlan + 1 AS candidate FROM (SELECT vlan, LEAD(vlan) OVER (ORDER BY vlan) AS next \
             FROM (SELECT ",
            $first,
            " - 1 AS vlan UNION SELECT vlan FROM network WHERE vlan >= ",
            $first,
            " AND vlan <= ",
            $last,
            " UNION SELECT vlan FROM local_network WHERE vlan >= ",
            $first,
            " AND vlan <= ",
            $last,
            $here,
            ") AS taken) AS pairs WHERE vlan < ",
            $last,
            " AND (next IS NULL OR next > vlan + 1) ORDER BY vlan LIMIT 1"
        )
    };
}
pub(crate) use lowest_unused_vlan;

impl Store {
    /// The VLAN that a VXLAN network has on a switch, or else the lowest of `vlans` that is free there
    /// now; `None` if none is.
    pub async fn local_vlan(
        &self,
        switch: &str,
        network: NetworkId,
        vlans: &[IdRange],
    ) -> Result<Option<u16>, Error> {
        const KNOWN: &str = "SELECT vlan FROM local_network WHERE switch = $1 AND network = $2";
        const FREE: &str = lowest_unused_vlan!("$2", "$3", " AND switch = $1");
        let known = values![switch, network];
        if let Some(row) = self.database().row(KNOWN, known).await? {
            return Ok(Some(row.number("vlan")?));
        }
        for range in vlans {
            let values = values![switch, range.first, range.last];
            if let Some(row) = self.database().row(FREE, values).await? {
                return Ok(Some(row.number("candidate")?));
            }
        }
        Ok(None)
    }

    /// The VLANs that the VXLAN networks of a server have for it.
    pub async fn local_vlans(&self, server: ServerId) -> Result<Vec<LocalVlan>, Error> {
        const SQL: &str = "SELECT local_network.network, local_network.switch, local_network.vlan
            FROM local_network_server JOIN local_network
            ON local_network.switch = local_network_server.switch
            AND local_network.network = local_network_server.network
            WHERE local_network_server.server = $1
            ORDER BY local_network.switch, local_network.network";
        let rows = self.database().rows(SQL, values![server]).await?;
        let each = rows.iter().map(|row| {
            Ok(LocalVlan {
                network: row.parsed("network")?,
                switch: row.text("switch")?,
                vlan: row.number("vlan")?,
            })
        });
        each.collect()
    }

    /// The switches that the VXLAN networks of a server are on, for it or for others.
    pub async fn tunnels_of_server(&self, server: ServerId) -> Result<Vec<TunnelsWanted>, Error> {
        const SQL: &str = "SELECT switch, wanted, done FROM switch_tunnels WHERE switch IN
            (SELECT local_network_server.switch FROM local_network_server WHERE network IN
            (SELECT network FROM local_network_server AS own WHERE own.server = $1))
            ORDER BY switch";
        let rows = self.database().rows(SQL, values![server]).await?;
        let each = rows.iter().map(|row| {
            Ok(TunnelsWanted {
                switch: row.text("switch")?,
                wanted: row.integer("wanted")?,
                done: row.integer("done")?,
            })
        });
        each.collect()
    }

    /// At most `most` switches whose tunnels are to be looked at, those first that are due longest.
    pub async fn tunnels_due(&self, now: Timestamp, most: u32) -> Result<Vec<String>, Error> {
        const SQL: &str = "SELECT switch FROM switch_tunnels
            WHERE due_at <= $1 AND lease_until < $1 ORDER BY due_at, switch LIMIT $2";
        let rows = self.database().rows(SQL, values![now, most]).await?;
        rows.iter().map(|row| row.text("switch")).collect()
    }

    /// Takes the tunnels of a switch for `lease_ms` milliseconds. `None` while somebody else has them,
    /// or if it never had any.
    pub async fn claim_tunnels(
        &self,
        switch: &str,
        worker: &str,
        now: Timestamp,
        lease_ms: i64,
    ) -> Result<Option<TunnelWork>, Error> {
        const CLAIM: &str = "UPDATE switch_tunnels SET owner = $2, lease_until = $3,
            fence = fence + 1 WHERE switch = $1 AND lease_until < $4 RETURNING wanted, done, fence";
        const NETWORKS: &str = "SELECT local_network.switch, local_network.vlan, network.vni,
            MIN(local_network_server.port) AS port FROM local_network_server
            JOIN local_network ON local_network.switch = local_network_server.switch
            AND local_network.network = local_network_server.network
            JOIN network ON network.id = local_network.network
            WHERE local_network.network IN
            (SELECT own.network FROM local_network_server AS own WHERE own.switch = $1)
            GROUP BY local_network.switch, local_network.vlan, network.vni
            ORDER BY local_network.switch, network.vni";
        let until = now.as_millisecond().saturating_add(lease_ms);
        let mut write = self.write("claim_tunnels").await?;
        let values = values![switch, worker, until, now];
        let Some(row) = write.row(CLAIM, values).await? else {
            write.roll_back().await?;
            return Ok(None);
        };
        let networks = write.rows(NETWORKS, values![switch]).await?;
        write.commit_quietly().await?;
        Ok(Some(TunnelWork {
            switch: switch.to_owned(),
            fence: row.integer("fence")?,
            wanted: row.integer("wanted")?,
            done: row.integer("done")?,
            networks: networks
                .iter()
                .map(local_network)
                .collect::<Result<_, _>>()?,
        }))
    }

    /// Notes that a switch has been read back with all tunnels of `work`, and no others: VLANs of
    /// networks that left it are free again. They are looked at again at `next`, or at once if what is
    /// wanted has changed meanwhile.
    ///
    /// [`Error::LeaseLost`] if somebody else has them by now.
    pub async fn tunnels_set(
        &self,
        work: &TunnelWork,
        next: Option<Timestamp>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), Error> {
        const DONE: &str = "UPDATE switch_tunnels SET done = $3, owner = NULL, lease_until = 0,
            due_at = CASE WHEN wanted = $3 THEN $4 ELSE $5 END
            WHERE switch = $1 AND fence = $2 AND owner IS NOT NULL RETURNING wanted";
        const FREE: &str = "DELETE FROM local_network WHERE switch = $1 AND network = $2
            AND NOT EXISTS (SELECT 1 FROM local_network_server AS server
            WHERE server.switch = local_network.switch AND server.network = local_network.network)";
        let mut write = self.write("tunnels_set").await?;
        let left = networks_that_left(&mut write, &work.switch).await?;
        let (switch, fence) = (&work.switch, work.fence);
        let values = values![switch, fence, work.wanted, next, now];
        let row = write.row(DONE, values).await?.ok_or(Error::LeaseLost)?;
        // Otherwise one may have left after it was read which networks are there: next time, then.
        if row.integer("wanted")? == work.wanted {
            for network in left {
                write.execute(FREE, values![switch, network]).await?;
            }
        }
        append(&mut write, events, now).await?;
        write.commit().await
    }

    /// Gives claimed tunnels back that could not be brought about; they are due again at `next`.
    pub async fn tunnels_failed(&self, work: &TunnelWork, next: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE switch_tunnels SET owner = NULL, lease_until = 0, due_at = $3
            WHERE switch = $1 AND fence = $2 AND owner IS NOT NULL";
        let mut write = self.write("tunnels_failed").await?;
        let values = values![&work.switch, work.fence, next];
        write.execute(SQL, values).await?;
        write.commit_quietly().await
    }
}

fn local_network(row: &Row) -> Result<LocalNetworkRecord, Error> {
    Ok(LocalNetworkRecord {
        switch: row.text("switch")?,
        vni: row.number("vni")?,
        vlan: row.number("vlan")?,
        port: row.text("port")?,
    })
}

/// The networks that have a VLAN on a switch and no server any more, with their rows locked.
async fn networks_that_left(write: &mut Write, switch: &str) -> Result<Vec<NetworkId>, Error> {
    const SQL: &str = "SELECT network FROM local_network WHERE switch = $1
        AND NOT EXISTS (SELECT 1 FROM local_network_server AS server
        WHERE server.switch = local_network.switch AND server.network = local_network.network)
        ORDER BY network";
    let mut networks = Vec::new();
    for row in write.rows(SQL, values![switch]).await? {
        let network = row.parsed("network")?;
        lock(write, switch, network).await?;
        networks.push(network);
    }
    Ok(networks)
}

/// Makes everybody else wait who joins or leaves this network on this switch. Whether it is there.
async fn lock(write: &mut Write, switch: &str, network: NetworkId) -> Result<bool, Error> {
    const SQL: &str = "UPDATE local_network SET vlan = vlan WHERE switch = $1 AND network = $2";
    Ok(write.execute(SQL, values![switch, network]).await? > 0)
}

/// Puts a new server on its VXLAN networks, on the switch of its node. The lock on networks
/// (`networks::lock`) is held, so that no VLAN network takes the same number.
///
/// [`Error::Exhausted`] if a switch has no VLAN left.
pub(crate) async fn join(
    write: &mut Write,
    server: ServerId,
    networks: &[NewLocalNetwork],
    now: Timestamp,
) -> Result<(), Error> {
    const JOIN: &str = "INSERT INTO local_network_server (server, network, switch, port)
        VALUES ($1, $2, $3, $4)";
    let mut networks: Vec<_> = networks.iter().collect();
    networks.sort_by_key(|each| (&each.switch, each.network));
    let mut new = Vec::new();
    for each in networks {
        let (switch, network) = (&each.switch, each.network);
        let there = lock(write, switch, network).await?;
        if !there {
            take_vlan(write, each).await?;
        }
        if !there || !has_servers(write, switch, network).await? {
            new.push(network);
        }
        let values = values![server, network, switch, &each.port];
        write.execute(JOIN, values).await?;
    }
    raise(write, &new, now).await
}

async fn has_servers(write: &mut Write, switch: &str, network: NetworkId) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 AS one FROM local_network_server
        WHERE switch = $1 AND network = $2 LIMIT 1";
    let row = write.row(SQL, values![switch, network]).await?;
    Ok(row.is_some())
}

/// Gives a network a VLAN on a switch where it has none.
async fn take_vlan(write: &mut Write, wanted: &NewLocalNetwork) -> Result<(), Error> {
    const TAKE: &str = concat!(
        "INSERT INTO local_network (switch, network, vlan) SELECT $1, $4, candidate FROM (",
        lowest_unused_vlan!("$2", "$3", " AND switch = $1"),
        ") AS free"
    );
    for range in &wanted.vlans {
        let values = values![&wanted.switch, range.first, range.last, wanted.network];
        if write.execute(TAKE, values).await? > 0 {
            return Ok(());
        }
    }
    Err(Error::Exhausted {
        what: "VLAN",
        pool: wanted.pool.clone(),
    })
}

/// Takes a server off its VXLAN networks: its ports are parked.
pub(crate) async fn leave(
    write: &mut Write,
    server: ServerId,
    now: Timestamp,
) -> Result<(), Error> {
    const NETWORKS: &str = "SELECT switch, network FROM local_network_server
        WHERE server = $1 ORDER BY switch, network";
    const LEAVE: &str = "DELETE FROM local_network_server WHERE server = $1 AND network = $2";
    let mut gone = Vec::new();
    for row in write.rows(NETWORKS, values![server]).await? {
        let (switch, network) = (row.text("switch")?, row.parsed("network")?);
        lock(write, &switch, network).await?;
        write.execute(LEAVE, values![server, network]).await?;
        if !has_servers(write, &switch, network).await? {
            gone.push(network);
        }
    }
    raise(write, &gone, now).await
}

/// Notes that the tunnels of every switch have changed that one of these networks is on.
async fn raise(write: &mut Write, networks: &[NetworkId], now: Timestamp) -> Result<(), Error> {
    const SWITCHES: &str = "SELECT switch FROM local_network WHERE network = $1";
    const RAISE: &str = "INSERT INTO switch_tunnels (switch, wanted, done, due_at, lease_until,
        fence) VALUES ($1, 1, 0, $2, 0, 0) ON CONFLICT (switch)
        DO UPDATE SET wanted = switch_tunnels.wanted + 1, due_at = excluded.due_at";
    let mut switches = BTreeSet::new();
    for network in networks {
        for row in write.rows(SWITCHES, values![*network]).await? {
            switches.insert(row.text("switch")?);
        }
    }
    for switch in switches {
        write.execute(RAISE, values![switch, now]).await?;
    }
    Ok(())
}

/// Refuses to take the tunnel address of a switch away whose servers need it.
pub(crate) async fn check_unused(write: &mut Write, switch: &str) -> Result<(), Error> {
    const SQL: &str = "SELECT network.name FROM local_network_server
        JOIN network ON network.id = local_network_server.network
        WHERE local_network_server.switch = $1 ORDER BY network.name LIMIT 1";
    match write.row(SQL, values![switch]).await? {
        None => Ok(()),
        Some(row) => Err(Error::conflict(
            "tunnel_address",
            format!(
                "servers on the switch are on VXLAN network `{}`: delete them first",
                row.text("name")?
            ),
        )),
    }
}

/// Has the tunnels of all switches brought about anew: one of them is reached elsewhere.
pub(crate) async fn bring_all_anew(write: &mut Write, now: Timestamp) -> Result<(), Error> {
    const SWITCHES: &str = "SELECT switch FROM switch_tunnels ORDER BY switch";
    const RAISE: &str = "UPDATE switch_tunnels SET wanted = wanted + 1, due_at = $2
        WHERE switch = $1";
    for row in write.rows(SWITCHES, values![]).await? {
        let values = values![row.text("switch")?, now];
        write.execute(RAISE, values).await?;
    }
    Ok(())
}
