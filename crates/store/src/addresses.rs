//! Addresses: giving free ones to servers, reserving, releasing and moving them.
//!
//! Whoever takes an address of a subnet raises a number in the subnet's row first, and so waits for
//! whoever does it at the same moment; then one statement finds a free address and takes it, and is
//! guarded by the table's key. It looks from where the last one was found onwards, so that neither a
//! pool of any size nor many servers make it slow, and an address that became free rests for as long
//! as there are others: caches of neighbours remember for a while who had it.
//!
//! An address of a server becomes free when its node's ports have been read back as parked
//! (`reconcile`), and not before. What becomes of an address is in `address_history`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ProjectId, ServerId, SubnetId};
use bessemer_core::subnet::{AddressPool, IpSubnet};

use crate::Error;
use crate::address_history::{self, Holder, Line};
use crate::database::{Row, Transaction};
use crate::store::Write;
use crate::value::values;

/// A subnet of which this write, and no other one at this moment, takes addresses.
pub(crate) struct HeldSubnet {
    pub(crate) id: SubnetId,
    pub(crate) network: NetworkId,
    pub(crate) network_name: String,
    pub(crate) cidr: IpSubnet,
    pub(crate) gateway: Option<IpAddr>,
    pools: Vec<AddressPool>,
    next: i64,
}

/// Who takes an address, and what for.
pub(crate) struct Taker<'a> {
    pub(crate) project: Option<ProjectId>,
    /// For this server, or nobody's yet.
    pub(crate) holder: Option<Holder<'a>>,
    /// Whether it stays when the server goes.
    pub(crate) reserved: bool,
    pub(crate) description: &'a str,
}

/// An address as it is stored: IPv4 as its 32 bits, IPv6 as its last 64 bits, which tell the hosts
/// of a subnet apart, as a signed number.
pub(crate) fn number(address: IpAddr) -> i64 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d, e, f, g, h] = address.octets();
            i64::from_be_bytes([a, b, c, d, e, f, g, h])
        }
    }
}

/// The address of a subnet that is stored as this number.
pub(crate) fn address_of(cidr: IpSubnet, number: i64) -> Result<IpAddr, Error> {
    let corrupt = || Error::Corrupt {
        what: "address",
        message: format!("number {number} is not in {cidr}"),
    };
    let address = match cidr.first() {
        IpAddr::V4(_) => {
            let bits = u32::try_from(number).map_err(|_| corrupt())?;
            IpAddr::from(Ipv4Addr::from(bits))
        }
        IpAddr::V6(first) => {
            let mut octets = first.octets();
            octets[8..].copy_from_slice(&number.to_be_bytes());
            IpAddr::from(Ipv6Addr::from(octets))
        }
    };
    if cidr.contains(address) {
        Ok(address)
    } else {
        Err(corrupt())
    }
}

/// The address of a row that has its subnet's `cidr` and its `number`.
pub(crate) fn read_address(row: &Row) -> Result<IpAddr, Error> {
    address_of(row.parsed("cidr")?, row.integer("number")?)
}

/// Holds the subnets of these networks. Always in the same order, whatever the order of the
/// networks, so that no two writes wait for each other.
pub(crate) async fn hold(
    write: &mut Write,
    networks: &[NetworkId],
) -> Result<Vec<HeldSubnet>, Error> {
    const OF_NETWORK: &str = "SELECT id FROM subnet WHERE network = $1";
    let mut ids: Vec<SubnetId> = Vec::new();
    for &network in networks {
        for row in write.rows(OF_NETWORK, values![network]).await? {
            ids.push(row.parsed("id")?);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    let mut held = Vec::with_capacity(ids.len());
    for id in ids {
        // One that was deleted a moment ago is none.
        held.extend(hold_one(write, id).await?);
    }
    Ok(held)
}

async fn hold_one(write: &mut Write, id: SubnetId) -> Result<Option<HeldSubnet>, Error> {
    const SQL: &str = "UPDATE subnet SET orders = orders + 1 WHERE id = $1
        RETURNING network, cidr, gateway, pools, next_number,
        (SELECT name FROM network WHERE network.id = subnet.network) AS network_name";
    let row = write.row(SQL, values![id]).await?;
    let read = |row: Row| {
        Ok(HeldSubnet {
            id,
            network: row.parsed("network")?,
            network_name: row.text("network_name")?,
            cidr: row.parsed("cidr")?,
            gateway: row.optional_parsed("gateway")?,
            pools: row.json("pools")?,
            next: row.integer("next_number")?,
        })
    };
    row.map(read).transpose()
}

/// Takes the next free address of the subnet's pools.
///
/// [`Error::Exhausted`] if there is none.
pub(crate) async fn take_next(
    write: &mut Write,
    subnet: &mut HeldSubnet,
    taker: &Taker<'_>,
    now: Timestamp,
) -> Result<Line, Error> {
    // The first of a range, or else the one after the first taken one that has a free one after it.
    const TAKE: &str = "INSERT INTO address (subnet, number, network, project, server, reserved,
        in_pool, description, since)
        SELECT $1, candidate, $4, $5, $6, $7, 1, $8, $9 FROM (
            SELECT candidate FROM (SELECT $2 AS candidate) AS lowest WHERE NOT EXISTS
            (SELECT 1 FROM address AS other WHERE other.subnet = $1 AND other.number = $2)
            UNION ALL
            SELECT candidate FROM (SELECT taken.number + 1 AS candidate FROM address AS taken
            WHERE taken.subnet = $1 AND taken.number >= $2 AND taken.number < $3
            AND NOT EXISTS (SELECT 1 FROM address AS other
            WHERE other.subnet = $1 AND other.number = taken.number + 1)
            ORDER BY taken.number LIMIT 1) AS gap
        ) AS candidates ORDER BY candidate LIMIT 1 RETURNING number";
    const NEXT: &str = "UPDATE subnet SET next_number = $2 WHERE id = $1";
    for (first, last) in ranges(&subnet.pools, subnet.next) {
        let values = values![
            subnet.id,
            first,
            last,
            subnet.network,
            taker.project,
            taker.holder.as_ref().map(|holder| holder.server),
            taker.reserved,
            taker.description,
            now
        ];
        if let Some(row) = write.row(TAKE, values).await? {
            let number = row.integer("number")?;
            subnet.next = number.saturating_add(1);
            write.execute(NEXT, values![subnet.id, subnet.next]).await?;
            return Ok(line(subnet, number, taker));
        }
    }
    Err(Error::Exhausted {
        what: "address",
        pool: format!(
            "subnet {} of network `{}`",
            subnet.cidr, subnet.network_name
        ),
    })
}

/// Takes this address of the subnet: a free one, or one that is reserved for the taker's project
/// and no server's. `None` if it is neither.
pub(crate) async fn take_given(
    write: &mut Write,
    subnet: &HeldSubnet,
    address: IpAddr,
    taker: &Taker<'_>,
    now: Timestamp,
) -> Result<Option<Line>, Error> {
    const TAKE: &str = "INSERT INTO address (subnet, number, network, project, server, reserved,
        in_pool, description, since) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (subnet, number) DO UPDATE SET server = excluded.server, since = excluded.since
        WHERE address.server IS NULL AND address.project = excluded.project
        AND excluded.server IS NOT NULL
        RETURNING number";
    if Some(address) == subnet.gateway {
        return Ok(None);
    }
    let number = number(address);
    let values = values![
        subnet.id,
        number,
        subnet.network,
        taker.project,
        taker.holder.as_ref().map(|holder| holder.server),
        taker.reserved,
        subnet.pools.iter().any(|pool| pool.contains(address)),
        taker.description,
        now
    ];
    if write.row(TAKE, values).await?.is_none() {
        return Ok(None);
    }
    // It was reserved until now, if it was anything.
    address_history::close(write, subnet.id, number, now).await?;
    Ok(Some(line(subnet, number, taker)))
}

fn line(subnet: &HeldSubnet, number: i64, taker: &Taker<'_>) -> Line {
    Line {
        subnet: subnet.id,
        cidr: subnet.cidr,
        number,
        network: subnet.network,
        network_name: subnet.network_name.clone(),
        project: taker.project,
        holder: taker.holder.as_ref().map(Holder::owned),
    }
}

/// The ranges of the pools in the order in which they are looked through: from `next` to the end,
/// then from the beginning.
fn ranges(pools: &[AddressPool], next: i64) -> Vec<(i64, i64)> {
    let (mut ahead, mut behind) = (Vec::new(), Vec::new());
    for pool in pools {
        let (first, last) = (number(pool.first), number(pool.last));
        if next > last {
            behind.push((first, last));
        } else if next <= first {
            ahead.push((first, last));
        } else {
            ahead.push((next, last));
            behind.push((first, next - 1));
        }
    }
    ahead.sort_unstable();
    behind.sort_unstable();
    ahead.extend(behind);
    ahead
}

/// Frees the addresses of a server whose node is off and whose ports are parked; those that are
/// reserved stay its project's. The server's row is held from here on, so that no address is moved
/// to it any more.
pub(crate) async fn free_all(
    write: &mut Write,
    server: ServerId,
    now: Timestamp,
) -> Result<(), Error> {
    const HOLD: &str = "UPDATE server SET name = name WHERE id = $1";
    const KEEP: &str = "UPDATE address SET server = NULL, since = $2
        WHERE server = $1 AND reserved = 1 RETURNING subnet, number";
    const FREE: &str = "DELETE FROM address WHERE server = $1";
    write.execute(HOLD, values![server]).await?;
    address_history::close_all(write, server, now).await?;
    let mut lines = Vec::new();
    for row in write.rows(KEEP, values![server, now]).await? {
        let (subnet, number) = (row.parsed("subnet")?, row.integer("number")?);
        lines.push(stored_line(write, subnet, number).await?);
    }
    write.execute(FREE, values![server]).await?;
    address_history::append(write, &lines, now).await
}

/// What is to be noted of an address as it is stored now, with no server.
pub(crate) async fn stored_line(
    transaction: &mut Transaction,
    subnet: SubnetId,
    number: i64,
) -> Result<Line, Error> {
    const SQL: &str = "SELECT address.network, address.project, subnet.cidr,
        network.name AS network_name FROM address
        JOIN subnet ON subnet.id = address.subnet JOIN network ON network.id = address.network
        WHERE address.subnet = $1 AND address.number = $2";
    let row = transaction.row(SQL, values![subnet, number]).await?;
    let row = row.ok_or_else(|| Error::not_found("address", number))?;
    Ok(Line {
        subnet,
        cidr: row.parsed("cidr")?,
        number,
        network: row.parsed("network")?,
        network_name: row.text("network_name")?,
        project: row.optional_parsed("project")?,
        holder: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_number_in_its_subnet() {
        for (cidr, address, expected) in [
            ("192.168.100.0/24", "192.168.100.10", 3_232_261_130),
            ("2001:db8::/64", "2001:db8::10", 16),
            ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff", -1),
            (
                "2001:db8::8000:0:0:0/65",
                "2001:db8::8000:0:0:1",
                i64::MIN + 1,
            ),
        ] {
            let (cidr, address): (IpSubnet, IpAddr) =
                (cidr.parse().unwrap(), address.parse().unwrap());
            assert_eq!(number(address), expected);
            assert_eq!(address_of(cidr, expected).unwrap(), address);
        }
        let cidr = "192.168.100.0/24".parse().unwrap();
        assert!(address_of(cidr, -1).is_err());
        assert!(address_of(cidr, 7).is_err());
    }

    #[test]
    fn pools_are_looked_through_from_the_last_one_on() {
        let pool = |first: &str, last: &str| AddressPool {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
        };
        let pools = [pool("0.0.0.20", "0.0.0.29"), pool("0.0.0.5", "0.0.0.9")];
        assert_eq!(ranges(&pools, 5), [(5, 9), (20, 29)]);
        assert_eq!(ranges(&pools, 7), [(7, 9), (20, 29), (5, 6)]);
        assert_eq!(ranges(&pools, 15), [(20, 29), (5, 9)]);
        assert_eq!(ranges(&pools, 29), [(29, 29), (5, 9), (20, 28)]);
        assert_eq!(ranges(&pools, 30), [(5, 9), (20, 29)]);
        assert_eq!(ranges(&[], 30), []);
    }
}
