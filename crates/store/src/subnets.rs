//! Subnets: making, finding, changing and forgetting them, and how much of each is in use.
//!
//! Subnets that one server could come to be on must not overlap, or it could not tell whom to send
//! a packet to: those of one network; those of all public and shared networks, which everybody may
//! use; and those of a project with both. Two projects may well use the same addresses.

use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ProjectId, SubnetId};
use bessemer_core::subnet::{IpSubnet, SubnetFault, SubnetPlan};

use crate::Error;
use crate::addresses::number;
use crate::database::Row;
use crate::networks::lock;
use crate::nodes::as_id;
use crate::page::{Cursor, next_page, rows_for};
use crate::records::{NewSubnet, SubnetChanges, SubnetFilter, SubnetRecord};
use crate::store::{Store, Write};
use crate::value::{json, values};

/// The most subnets of a network.
const MOST_SUBNETS: i64 = 16;

/// A query for whole subnets, whose rows [`subnet_record`] reads.
macro_rules! select_subnet {
    ($rest:expr) => {
        select_subnet!(
            counts: "(SELECT COUNT(*) FROM address WHERE address.subnet = subnet.id \
             AND address.server IS NOT NULL) AS allocated, \
             (SELECT COUNT(*) FROM address WHERE address.subnet = subnet.id \
             AND address.server IS NULL) AS reserved, \
             (SELECT COUNT(*) FROM address WHERE address.subnet = subnet.id \
             AND address.in_pool = 1) AS used",
            $rest
        )
    };
    (counts: $counts:literal, $rest:expr) => {
        concat!(
            "SELECT subnet.id, subnet.network, network.name AS network_name, subnet.cidr, \
             subnet.gateway, subnet.dns, subnet.routes, subnet.pools, subnet.created_at, ",
            $counts,
            " FROM subnet JOIN network ON network.id = subnet.network ",
            $rest
        )
    };
}
pub(crate) use select_subnet;

impl Store {
    /// Adds a subnet to a network.
    ///
    /// [`Error::Conflict`] if it overlaps one that a server of this network could be on, too.
    pub async fn create_subnet(
        &self,
        network: NetworkId,
        subnet: &NewSubnet,
        now: Timestamp,
    ) -> Result<(), Error> {
        const COUNT: &str = "SELECT COUNT(*) AS subnets FROM subnet WHERE network = $1";
        let mut write = self.write("create_subnet").await?;
        lock(&mut write).await?;
        let row = write.row(COUNT, values![network]).await?;
        if row.map_or(Ok(0), |row| row.integer("subnets"))? >= MOST_SUBNETS {
            return Err(Error::not_now(format!(
                "the network has {MOST_SUBNETS} subnets, as many as it may"
            )));
        }
        insert(&mut write, network, subnet, "cidr", now).await?;
        write.commit().await
    }

    /// The subnet with this id or CIDR, if `viewer` may use its network.
    ///
    /// [`Error::Conflict`] if several networks have this one.
    pub async fn subnet(
        &self,
        viewer: Option<ProjectId>,
        cidr_or_id: &str,
    ) -> Result<SubnetRecord, Error> {
        const SQL: &str = select_subnet!(
            "WHERE (subnet.cidr = $1 OR subnet.id = $2)
             AND ($3 IS NULL OR network.project IS NULL OR network.project = $3)"
        );
        let cidr = cidr_or_id.parse::<IpSubnet>().map(|cidr| cidr.to_string());
        let values = values![cidr.ok(), as_id(cidr_or_id), viewer];
        let rows = self.database().rows(SQL, values).await?;
        match rows.as_slice() {
            [] => Err(Error::not_found("subnet", cidr_or_id)),
            [row] => subnet_record(row),
            several => Err(Error::not_now(format!(
                "{} networks have the subnet `{cidr_or_id}`: use its id",
                several.len()
            ))),
        }
    }

    /// At most `limit` subnets in the order in which they were made, from where `cursor` points;
    /// with the cursor of the next page, if there is one.
    pub async fn subnets(
        &self,
        filter: SubnetFilter,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<SubnetRecord>, Option<String>), Error> {
        const SQL: &str = select_subnet!(
            "WHERE (subnet.created_at, subnet.id) > ($1, $2)
             AND ($3 IS NULL OR network.project IS NULL OR network.project = $3)
             AND ($4 IS NULL OR subnet.network = $4)
             ORDER BY subnet.created_at, subnet.id LIMIT $5"
        );
        let from = Cursor::read(cursor.as_deref())?;
        let values = values![
            from.created_at,
            from.id,
            filter.visible_to,
            filter.network,
            rows_for(limit)
        ];
        let mut rows = self.database().rows(SQL, values).await?;
        let next = next_page(&mut rows, limit)?;
        let subnets: Result<_, _> = rows.iter().map(subnet_record).collect();
        Ok((subnets?, next))
    }

    /// Changes a subnet, for servers that are deployed from now on.
    ///
    /// [`Error::Conflict`], naming the field, if it makes no sense then, or the gateway's address
    /// is somebody's.
    pub async fn change_subnet(&self, id: SubnetId, changes: SubnetChanges) -> Result<(), Error> {
        const LOCK: &str = "UPDATE subnet SET orders = orders + 1 WHERE id = $1
            RETURNING cidr, gateway, dns, routes, pools, next_number";
        const CHANGE: &str = "UPDATE subnet SET gateway = $2, dns = $3, routes = $4, pools = $5,
            next_number = $6 WHERE id = $1";
        const TAKEN: &str = "SELECT 1 AS taken FROM address WHERE subnet = $1 AND number = $2";
        let mut write = self.write("change_subnet").await?;
        lock(&mut write).await?;
        let row = write.row(LOCK, values![id]).await?;
        let row = row.ok_or_else(|| Error::not_found("subnet", id))?;
        let before = plan(&row)?;
        let plan = merged(before.clone(), changes);
        plan.check().map_err(fault)?;
        if let Some(gateway) = plan.gateway.filter(|_| plan.gateway != before.gateway)
            && write
                .row(TAKEN, values![id, number(gateway)])
                .await?
                .is_some()
        {
            let message = format!("{gateway} is in use or reserved");
            return Err(Error::conflict("gateway", message));
        }
        // Where it was, unless it is in no pool any more: then it goes on in the next one.
        let next = row.integer("next_number")?;
        let values = values![
            id,
            plan.gateway.map(|address| address.to_string()),
            json("dns", &plan.dns)?,
            json("routes", &plan.routes)?,
            json("pools", &plan.pools)?,
            next
        ];
        write.execute(CHANGE, values).await?;
        mark_pools(&mut write, id, &plan).await?;
        write.commit().await
    }

    /// Forgets a subnet. [`Error::Conflict`] while an address of it is in use or reserved.
    pub async fn delete_subnet(&self, id: SubnetId) -> Result<(), Error> {
        const DELETE: &str = "DELETE FROM subnet WHERE id = $1";
        let mut write = self.write("delete_subnet").await?;
        lock(&mut write).await?;
        match write.execute(DELETE, values![id]).await {
            Ok(0) => Err(Error::not_found("subnet", id)),
            Ok(_) => write.commit().await,
            Err(error) if error.is_reference_violation() => Err(Error::not_now(
                "addresses of the subnet are in use or reserved: delete the servers and release \
                 the addresses first",
            )),
            Err(error) => Err(error),
        }
    }
}

/// Writes a subnet down, unless it overlaps another that it must be told from. `field` names its
/// CIDR in the request.
pub(crate) async fn insert(
    write: &mut Write,
    network: NetworkId,
    subnet: &NewSubnet,
    field: &str,
    now: Timestamp,
) -> Result<(), Error> {
    const OWNER: &str = "SELECT project FROM network WHERE id = $1";
    const OTHERS: &str = "SELECT subnet.cidr, network.name FROM subnet
        JOIN network ON network.id = subnet.network
        WHERE network.id = $1 OR network.project IS NULL OR network.project = $2";
    const INSERT: &str = "INSERT INTO subnet (id, network, cidr, gateway, dns, routes, pools,
        next_number, orders, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9)";
    let row = write.row(OWNER, values![network]).await?;
    let row = row.ok_or_else(|| Error::not_found("network", network))?;
    let project: Option<ProjectId> = row.optional_parsed("project")?;
    for row in write.rows(OTHERS, values![network, project]).await? {
        let other: IpSubnet = row.parsed("cidr")?;
        if other.overlaps(subnet.plan.cidr) {
            let (cidr, name) = (subnet.plan.cidr, row.text("name")?);
            let message = format!("{cidr} overlaps subnet {other} of network `{name}`");
            return Err(Error::conflict(field, message));
        }
    }
    let plan = &subnet.plan;
    let first = plan.pools.first().map_or(0, |pool| number(pool.first));
    let values = values![
        subnet.id,
        network,
        plan.cidr,
        plan.gateway.map(|address| address.to_string()),
        json("dns", &plan.dns)?,
        json("routes", &plan.routes)?,
        json("pools", &plan.pools)?,
        first,
        now
    ];
    write.execute(INSERT, values).await?;
    Ok(())
}

/// Notes anew which of a subnet's addresses are in its pools.
async fn mark_pools(write: &mut Write, id: SubnetId, plan: &SubnetPlan) -> Result<(), Error> {
    const NONE: &str = "UPDATE address SET in_pool = 0 WHERE subnet = $1";
    const POOL: &str = "UPDATE address SET in_pool = 1
        WHERE subnet = $1 AND number >= $2 AND number <= $3";
    write.execute(NONE, values![id]).await?;
    for pool in &plan.pools {
        let values = values![id, number(pool.first), number(pool.last)];
        write.execute(POOL, values).await?;
    }
    Ok(())
}

fn merged(before: SubnetPlan, changes: SubnetChanges) -> SubnetPlan {
    SubnetPlan {
        cidr: before.cidr,
        gateway: changes.gateway.unwrap_or(before.gateway),
        dns: changes.dns.unwrap_or(before.dns),
        routes: changes.routes.unwrap_or(before.routes),
        pools: changes.pools.unwrap_or(before.pools),
    }
}

fn fault(fault: SubnetFault) -> Error {
    Error::conflict(fault.field, fault.message)
}

/// Reads what is said about a subnet.
pub(crate) fn plan(row: &Row) -> Result<SubnetPlan, Error> {
    Ok(SubnetPlan {
        cidr: row.parsed("cidr")?,
        gateway: row.optional_parsed::<IpAddr>("gateway")?,
        dns: row.json("dns")?,
        routes: row.json("routes")?,
        pools: row.json("pools")?,
    })
}

/// Reads a row of [`select_subnet`].
pub(crate) fn subnet_record(row: &Row) -> Result<SubnetRecord, Error> {
    let plan = plan(row)?;
    let used: u64 = row.number("used")?;
    Ok(SubnetRecord {
        id: row.parsed("id")?,
        network: row.parsed("network")?,
        network_name: row.text("network_name")?,
        created_at: row.time("created_at")?,
        allocated: row.number("allocated")?,
        reserved: row.number("reserved")?,
        free: plan.size().saturating_sub(used),
        plan,
    })
}
