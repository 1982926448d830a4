//! Addresses that people ask for by themselves: reserving, releasing and moving them, and lists of
//! those that are not free.
//!
//! A reserved address is its project's until it is released, whether a server has it or not. Moving
//! one changes whose it is here, and what the next deployment of either server writes down; the
//! systems that run on them are their owners' to tell.

use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ProjectId, ServerId, SubnetId};

use crate::Error;
use crate::address_history::{self, Holder, Line};
use crate::addresses::{
    self, HeldSubnet, Taker, number, read_address, stored_line, take_given, take_next,
};
use crate::database::Row;
use crate::events::{about_server, append};
use crate::networks;
use crate::page::{self, next_place, rows_for};
use crate::records::{AddressFilter, AddressRecord, AddressSort, Reservation};
use crate::store::{Store, Write};
use crate::value::{Value, values};

/// A query for whole addresses, whose rows [`address_record`] reads.
macro_rules! select_address {
    ($rest:expr) => {
        concat!(
            "SELECT address.subnet, address.number, address.network, address.project, \
             address.server, address.reserved, address.description, address.since, subnet.cidr, \
             network.name AS network_name, server.name AS server_name FROM address \
             JOIN subnet ON subnet.id = address.subnet \
             JOIN network ON network.id = address.network \
             LEFT JOIN server ON server.id = address.server ",
            $rest
        )
    };
}

/// A page of addresses. `$place` compares with the cursor, which is `$6` to `$8`.
macro_rules! page_of_addresses {
    ($place:literal, $order:literal) => {
        select_address!(concat!(
            "WHERE ($1 IS NULL OR address.project = $1) AND ($2 IS NULL OR address.network = $2) \
             AND ($3 IS NULL OR address.subnet = $3) AND ($4 IS NULL OR address.server = $4) \
             AND ($5 IS NULL OR ($5 = 1 AND address.server IS NOT NULL) \
             OR ($5 = 0 AND address.server IS NULL)) AND ($6 IS NULL OR ",
            $place,
            ") ORDER BY ",
            $order,
            " LIMIT $9"
        ))
    };
}

impl Store {
    /// Reserves an address: a given one, which is free or a server's of the same project; or the
    /// next free one.
    ///
    /// [`Error::Conflict`] if it is in no subnet of the network, is somebody's, or the project has
    /// as many as it may; [`Error::Exhausted`] if there is no free one.
    pub async fn reserve_address(
        &self,
        reservation: &Reservation,
        now: Timestamp,
    ) -> Result<AddressRecord, Error> {
        let mut write = self.write("reserve_address").await?;
        networks::lock(&mut write).await?;
        check_limit(&mut write, reservation).await?;
        let mut subnets = addresses::hold(&mut write, &[reservation.network]).await?;
        subnets.retain(|subnet| reservation.subnet.is_none_or(|id| id == subnet.id));
        let taker = Taker {
            project: reservation.project,
            holder: None,
            reserved: true,
            description: &reservation.description,
        };
        let (subnet, number) = match reservation.address {
            Some(address) => {
                let subnet = subnets.iter().find(|each| each.cidr.contains_host(address));
                let subnet = subnet.ok_or_else(|| {
                    let message = format!("{address} is in no subnet of the network");
                    Error::conflict("address", message)
                })?;
                let line = reserve_given(&mut write, subnet, address, &taker, now).await?;
                let place = (subnet.id, number(address));
                if let Some(line) = line {
                    address_history::append(&mut write, &[line], now).await?;
                }
                place
            }
            None => {
                let line = reserve_next(&mut write, &mut subnets, &taker, now).await?;
                let place = (line.subnet, line.number);
                address_history::append(&mut write, &[line], now).await?;
                place
            }
        };
        let record = stored(&mut write, subnet, number).await?;
        write.commit().await?;
        Ok(record)
    }

    /// The address of this network that is not free. Only the project's own if one is given.
    pub async fn address(
        &self,
        project: Option<ProjectId>,
        network: NetworkId,
        address: IpAddr,
    ) -> Result<AddressRecord, Error> {
        const SQL: &str = select_address!(
            "WHERE address.network = $1 AND address.number = $2
             AND ($3 IS NULL OR address.project = $3)"
        );
        let values = values![network, number(address), project];
        for row in self.database().rows(SQL, values).await? {
            // Of subnets that differ in their first 64 bits, or in their version.
            if read_address(&row)? == address {
                return address_record(&row);
            }
        }
        Err(Error::not_found("address", address))
    }

    /// At most `limit` addresses that are not free, sorted, from where `cursor` points; with the
    /// cursor of the next page, if there is one.
    pub async fn addresses(
        &self,
        filter: AddressFilter,
        sort: AddressSort,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<AddressRecord>, Option<String>), Error> {
        let by_address = matches!(sort, AddressSort::Address | AddressSort::AddressDescending);
        let sql = match sort {
            AddressSort::Address => page_of_addresses!(
                "(address.subnet, address.number) > ($7, $8)",
                "address.subnet, address.number"
            ),
            AddressSort::AddressDescending => page_of_addresses!(
                "(address.subnet, address.number) < ($7, $8)",
                "address.subnet DESC, address.number DESC"
            ),
            AddressSort::Since => page_of_addresses!(
                "(address.since, address.subnet, address.number) > ($6, $7, $8)",
                "address.since, address.subnet, address.number"
            ),
            AddressSort::SinceDescending => page_of_addresses!(
                "(address.since, address.subnet, address.number) < ($6, $7, $8)",
                "address.since DESC, address.subnet DESC, address.number DESC"
            ),
        };
        let [since, subnet, number] = place(cursor.as_deref())?;
        let values = values![
            filter.project,
            filter.network,
            filter.subnet,
            filter.server,
            filter.allocated.map(i64::from),
            since,
            subnet,
            number,
            rows_for(limit)
        ];
        let mut rows = self.database().rows(sql, values).await?;
        let next = next_place(&mut rows, limit, |last| {
            let since = if by_address {
                0
            } else {
                last.integer("since")?
            };
            let (subnet, number) = (last.text("subnet")?, last.integer("number")?);
            Ok(format!("{since}_{subnet}_{number}"))
        })?;
        let addresses: Result<_, _> = rows.iter().map(address_record).collect();
        Ok((addresses?, next))
    }

    /// Gives a reserved address up: it is free, or, if a server has it, goes with the server.
    ///
    /// [`Error::Conflict`] if it is not reserved.
    pub async fn release_address(
        &self,
        address: &AddressRecord,
        now: Timestamp,
    ) -> Result<(), Error> {
        const FREE: &str = "DELETE FROM address
            WHERE subnet = $1 AND number = $2 AND server IS NULL";
        const LEAVE: &str = "UPDATE address SET reserved = 0
            WHERE subnet = $1 AND number = $2 AND server IS NOT NULL AND reserved = 1";
        let (subnet, number) = (address.subnet, number(address.address));
        let mut write = self.write("release_address").await?;
        if write.execute(FREE, values![subnet, number]).await? > 0 {
            address_history::close(&mut write, subnet, number, now).await?;
            return write.commit().await;
        }
        if write.execute(LEAVE, values![subnet, number]).await? > 0 {
            return write.commit().await;
        }
        let record = stored(&mut write, subnet, number).await?;
        let server = record.server.map_or(String::new(), |(_, name)| name);
        Err(Error::not_now(format!(
            "{} is the address of server `{server}`, and goes when the server is deleted",
            address.address
        )))
    }

    /// Moves a reserved address to a server, or from one server to another.
    ///
    /// [`Error::Conflict`] if it is not reserved, or the server is another project's, is not on the
    /// address's network, or is being given back.
    pub async fn move_address(
        &self,
        address: &AddressRecord,
        server: ServerId,
        now: Timestamp,
    ) -> Result<AddressRecord, Error> {
        const MOVE: &str = "UPDATE address SET server = $3, since = $4
            WHERE subnet = $1 AND number = $2 AND reserved = 1 AND project = $5
            AND (server IS NULL OR server <> $3)";
        let mut write = self.write("move_address").await?;
        let target = target(&mut write, address, server).await?;
        let (subnet, number) = (address.subnet, number(address.address));
        let values = values![subnet, number, server, now, target.project];
        if write.execute(MOVE, values).await? == 0 {
            return Err(Error::conflict("server", why_not(address, &target)));
        }
        address_history::close(&mut write, subnet, number, now).await?;
        let mut line = stored_line(&mut write, subnet, number).await?;
        let holder = Holder {
            server,
            name: &target.name,
            node: target.node,
        };
        line.holder = Some(holder.owned());
        address_history::append(&mut write, &[line], now).await?;
        let record = stored(&mut write, subnet, number).await?;
        let message = format!(
            "address {} is now that of server `{}`",
            address.address, target.name
        );
        let whose = (target.node, server, target.project);
        append(
            &mut write,
            &[about_server("address.moved", whose, message)],
            now,
        )
        .await?;
        write.commit().await?;
        Ok(record)
    }
}

async fn check_limit(write: &mut Write, reservation: &Reservation) -> Result<(), Error> {
    const SQL: &str = "SELECT COUNT(*) AS addresses FROM address
        WHERE project = $1 AND reserved = 1";
    let (Some(limit), Some(project)) = (reservation.limit, reservation.project) else {
        return Ok(());
    };
    let row = write.row(SQL, values![project]).await?;
    let addresses: u32 = row.map_or(Ok(0), |row| row.number("addresses"))?;
    if addresses < limit {
        return Ok(());
    }
    Err(Error::not_now(format!(
        "the project has reserved {addresses} addresses, as many as it may: release one that is \
         not needed, or ask an operator"
    )))
}

/// Reserves this address: what is to be noted, unless a server of the project goes on having it.
async fn reserve_given(
    write: &mut Write,
    subnet: &HeldSubnet,
    address: IpAddr,
    taker: &Taker<'_>,
    now: Timestamp,
) -> Result<Option<Line>, Error> {
    const KEEP: &str = "UPDATE address SET reserved = 1, description = $4
        WHERE subnet = $1 AND number = $2 AND project = $3 AND reserved = 0";
    if let Some(line) = take_given(write, subnet, address, taker, now).await? {
        return Ok(Some(line));
    }
    let values = values![subnet.id, number(address), taker.project, taker.description];
    if write.execute(KEEP, values).await? > 0 {
        return Ok(None);
    }
    let what = if Some(address) == subnet.gateway {
        "the subnet's gateway"
    } else {
        "in use or reserved already"
    };
    Err(Error::conflict("address", format!("{address} is {what}")))
}

/// Reserves the next free address of the first subnet that has one.
async fn reserve_next(
    write: &mut Write,
    subnets: &mut [HeldSubnet],
    taker: &Taker<'_>,
    now: Timestamp,
) -> Result<Line, Error> {
    let mut exhausted = Error::conflict("network", "the network has no such subnet");
    for subnet in subnets {
        match take_next(write, subnet, taker, now).await {
            Err(error @ Error::Exhausted { .. }) => exhausted = error,
            taken => return taken,
        }
    }
    Err(exhausted)
}

/// The server that an address is moved to.
struct Target {
    name: String,
    project: ProjectId,
    node: bessemer_core::id::NodeId,
}

/// Finds the server, and holds it until the write ends.
async fn target(
    write: &mut Write,
    address: &AddressRecord,
    server: ServerId,
) -> Result<Target, Error> {
    const HOLD: &str = "UPDATE server SET name = name WHERE id = $1 RETURNING name, project, node";
    const WANTED: &str = "SELECT goal_kind FROM node WHERE server = $1";
    const ON_NETWORK: &str = "SELECT position FROM server_attachment
        WHERE server = $1 AND network = $2";
    let row = write.row(HOLD, values![server]).await?;
    let row = row.ok_or_else(|| Error::not_found("server", server))?;
    let target = Target {
        name: row.text("name")?,
        project: row.parsed("project")?,
        node: row.parsed("node")?,
    };
    let name = &target.name;
    let node = write.row(WANTED, values![server]).await?;
    let wanted = node.map_or(Ok(String::new()), |row| row.text("goal_kind"))?;
    if wanted != "deployed" {
        let message = format!("server `{name}` is being given back");
        return Err(Error::conflict("server", message));
    }
    let values = values![server, address.network];
    if write.row(ON_NETWORK, values).await?.is_none() {
        let network = &address.network_name;
        let message = format!("server `{name}` is not on network `{network}`");
        return Err(Error::conflict("server", message));
    }
    Ok(target)
}

fn why_not(address: &AddressRecord, target: &Target) -> String {
    let text = address.address;
    if address.project != Some(target.project) {
        format!("{text} and server `{}` are not one project's", target.name)
    } else if address.reserved {
        format!("{text} is that server's already")
    } else {
        format!("{text} was chosen for its server and goes with it: reserve it first")
    }
}

async fn stored(write: &mut Write, subnet: SubnetId, number: i64) -> Result<AddressRecord, Error> {
    const SQL: &str = select_address!("WHERE address.subnet = $1 AND address.number = $2");
    let row = write.row(SQL, values![subnet, number]).await?;
    address_record(&row.ok_or_else(|| Error::not_found("address", number))?)
}

/// The three parts of a cursor of addresses; all null without one.
fn place(cursor: Option<&str>) -> Result<[Value; 3], Error> {
    let Some((first, number)) = page::split(cursor)? else {
        return Ok([
            Value::Integer(None),
            Value::Text(None),
            Value::Integer(None),
        ]);
    };
    match page::split(Some(first))? {
        Some((since, subnet)) => Ok([
            page::number(since)?.into(),
            subnet.into(),
            page::number(number)?.into(),
        ]),
        None => Err(Error::Cursor(first.chars().take(80).collect())),
    }
}

/// Reads a row of [`select_address`].
fn address_record(row: &Row) -> Result<AddressRecord, Error> {
    let server: Option<ServerId> = row.optional_parsed("server")?;
    let name = row.optional_text("server_name")?.unwrap_or_default();
    Ok(AddressRecord {
        address: read_address(row)?,
        subnet: row.parsed("subnet")?,
        cidr: row.parsed("cidr")?,
        network: row.parsed("network")?,
        network_name: row.text("network_name")?,
        project: row.optional_parsed("project")?,
        server: server.map(|server| (server, name)),
        reserved: row.integer("reserved")? != 0,
        description: row.text("description")?,
        since: row.time("since")?,
    })
}
