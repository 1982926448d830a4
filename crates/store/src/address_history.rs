//! Who had which address when: a line for each time that an address was somebody's.
//!
//! Written in the transaction in which it becomes so. A line names everything by value, and outlives
//! servers, subnets, networks and nodes: the question comes months later.

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, NodeId, ProjectId, ServerId, SubnetId};
use bessemer_core::subnet::IpSubnet;

use crate::Error;
use crate::addresses::address_of;
use crate::database::{Numbered, Row, Transaction, numbered};
use crate::page;
use crate::records::{AddressHistoryEntry, AddressHistoryFilter};
use crate::store::Store;
use crate::value::values;

/// How long a line is kept after it has ended, in milliseconds: two years.
const KEPT: i64 = 2 * 366 * 24 * 3600 * 1000;

/// The server that has an address.
#[derive(Clone, Copy)]
pub(crate) struct Holder<'a> {
    pub(crate) server: ServerId,
    pub(crate) name: &'a str,
    pub(crate) node: NodeId,
}

impl Holder<'_> {
    pub(crate) fn owned(&self) -> (ServerId, String, NodeId) {
        (self.server, self.name.to_owned(), self.node)
    }
}

/// A line that begins.
pub(crate) struct Line {
    pub(crate) subnet: SubnetId,
    pub(crate) cidr: IpSubnet,
    pub(crate) number: i64,
    pub(crate) network: NetworkId,
    pub(crate) network_name: String,
    pub(crate) project: Option<ProjectId>,
    pub(crate) holder: Option<(ServerId, String, NodeId)>,
}

/// Begins lines. Among the last things that a transaction does: the numbers of lines are a row that
/// stays locked until it ends.
pub(crate) async fn append(
    transaction: &mut Transaction,
    lines: &[Line],
    now: Timestamp,
) -> Result<(), Error> {
    const INSERT: Numbered = numbered!(
        "address_history",
        "address_history",
        "address, subnet, number, network, network_name, project, server, server_name, node, since",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        ""
    );
    for line in lines {
        let holder = line.holder.as_ref();
        let values = values![
            address_of(line.cidr, line.number)?,
            line.subnet,
            line.number,
            line.network,
            &line.network_name,
            line.project,
            holder.map(|(server, ..)| *server),
            holder.map(|(_, name, _)| name.clone()),
            holder.map(|(.., node)| *node),
            now
        ];
        if transaction.insert_numbered(&INSERT, values).await? == 0 {
            return Err(Error::Corrupt {
                what: "counter",
                message: "there is no row `address_history`".into(),
            });
        }
    }
    Ok(())
}

/// Ends the line of an address, if it has one.
pub(crate) async fn close(
    transaction: &mut Transaction,
    subnet: SubnetId,
    number: i64,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE address_history SET until = $3
        WHERE subnet = $1 AND number = $2 AND until IS NULL";
    transaction
        .execute(SQL, values![subnet, number, now])
        .await?;
    Ok(())
}

/// Ends the lines of a server, and forgets those that ended too long ago.
pub(crate) async fn close_all(
    transaction: &mut Transaction,
    server: ServerId,
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE address_history SET until = $2 WHERE server = $1 AND until IS NULL";
    const FORGET: &str = "DELETE FROM address_history WHERE until < $1";
    transaction.execute(SQL, values![server, now]).await?;
    let before = now.as_millisecond().saturating_sub(KEPT);
    transaction.execute(FORGET, values![before]).await?;
    Ok(())
}

impl Store {
    /// At most `limit` lines of the addresses' history, the one that began last first, from where
    /// `cursor` points; with the cursor of the next page, if there is one.
    pub async fn address_history(
        &self,
        filter: AddressHistoryFilter,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<AddressHistoryEntry>, Option<String>), Error> {
        const SQL: &str =
            "SELECT sequence, address, subnet, network, network_name, project, server,
            server_name, node, since, until FROM address_history
            WHERE ($1 IS NULL OR address = $1) AND ($2 IS NULL OR project = $2)
            AND ($3 IS NULL OR network = $3) AND ($4 IS NULL OR server = $4)
            AND ($5 IS NULL OR (since <= $5 AND (until IS NULL OR until > $5)))
            AND ($6 IS NULL OR sequence < $6)
            ORDER BY sequence DESC LIMIT $7";
        let from = cursor.as_deref().map(page::number).transpose()?;
        let values = values![
            filter.address.map(|address| address.to_string()),
            filter.project,
            filter.network,
            filter.server,
            filter.at,
            from,
            page::rows_for(limit)
        ];
        let mut rows = self.database().rows(SQL, values).await?;
        let next = page::next_place(&mut rows, limit, |last| {
            Ok(last.integer("sequence")?.to_string())
        })?;
        let lines: Result<_, _> = rows.iter().map(entry).collect();
        Ok((lines?, next))
    }
}

fn entry(row: &Row) -> Result<AddressHistoryEntry, Error> {
    Ok(AddressHistoryEntry {
        sequence: row.integer("sequence")?,
        address: row.parsed("address")?,
        subnet: row.parsed("subnet")?,
        network: row.parsed("network")?,
        network_name: row.text("network_name")?,
        project: row.optional_parsed("project")?,
        server: row.optional_parsed("server")?,
        server_name: row.optional_text("server_name")?,
        node: row.optional_parsed("node")?,
        since: row.time("since")?,
        until: row.optional_time("until")?,
    })
}
