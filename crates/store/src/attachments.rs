//! The networks that servers are on, with their addresses there.

use std::collections::HashMap;
use std::net::IpAddr;

use bessemer_core::Timestamp;
use bessemer_core::id::{ServerId, SubnetId};

use crate::Error;
use crate::address_history::{self, Holder};
use crate::addresses::{HeldSubnet, Taker, read_address, take_given, take_next};
use crate::database::{Row, Transaction};
use crate::records::{AttachmentRecord, NewAttachment, Order};
use crate::store::Write;
use crate::value::{Value, values};

/// A query for attachments, one row for each address (or one without any); read by [`grouped`].
macro_rules! select_attachment {
    ($rest:expr) => {
        concat!(
            "SELECT server_attachment.server, server_attachment.network, server_attachment.port, \
             server_attachment.mode, address.subnet, address.number, subnet.cidr \
             FROM server_attachment LEFT JOIN address ON address.server = server_attachment.server \
             AND address.network = server_attachment.network \
             LEFT JOIN subnet ON subnet.id = address.subnet ",
            $rest,
            " ORDER BY server_attachment.server, server_attachment.position, address.since, \
             address.subnet, address.number"
        )
    };
}
pub(crate) use select_attachment;

/// Reads the attachments of the servers that a query of [`select_attachment`] finds.
pub(crate) async fn grouped(
    read: &mut Transaction,
    sql: &'static str,
    values: Vec<Value>,
) -> Result<HashMap<ServerId, Vec<AttachmentRecord>>, Error> {
    let mut all: HashMap<ServerId, Vec<AttachmentRecord>> = HashMap::new();
    for row in read.rows(sql, values).await? {
        let attachments = all.entry(row.parsed("server")?).or_default();
        let network = row.parsed("network")?;
        // Rows of one attachment follow each other.
        if attachments
            .last()
            .is_none_or(|last| last.network != network)
        {
            attachments.push(AttachmentRecord {
                network,
                port: row.optional_text("port")?,
                mode: row.optional_name("mode")?,
                addresses: Vec::new(),
            });
        }
        if let Some(attachment) = attachments.last_mut() {
            attachment.addresses.extend(address(&row)?);
        }
    }
    for attachment in all.values_mut().flatten() {
        attachment
            .addresses
            .sort_by_key(|(_, address)| address.is_ipv6());
    }
    Ok(all)
}

fn address(row: &Row) -> Result<Option<(SubnetId, IpAddr)>, Error> {
    match row.optional_parsed("subnet")? {
        Some(subnet) => Ok(Some((subnet, read_address(row)?))),
        None => Ok(None),
    }
}

/// Puts a new server on the networks of its order, with an address of each of their subnets, which
/// are held.
pub(crate) async fn attach(
    write: &mut Write,
    order: &Order,
    subnets: &mut [HeldSubnet],
    holder: Holder<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO server_attachment (server, position, network, port, mode)
        VALUES ($1, $2, $3, $4, $5)";
    let mut lines = Vec::new();
    for (position, attachment) in (0_u32..).zip(&order.attachments) {
        let values = values![
            order.server,
            position,
            attachment.network,
            attachment.port.clone(),
            attachment.mode.map(|mode| mode.name().to_owned())
        ];
        write.execute(INSERT, values).await?;
        let mut given = attachment.addresses.clone();
        let of_network = subnets.iter_mut();
        for subnet in of_network.filter(|subnet| subnet.network == attachment.network) {
            let taker = Taker {
                project: Some(order.project),
                holder: Some(holder),
                reserved: false,
                description: "",
            };
            let wanted = given
                .iter()
                .position(|address| subnet.cidr.contains_host(*address));
            let line = match wanted {
                Some(index) => {
                    let address = given.swap_remove(index);
                    let taken = take_given(write, subnet, address, &taker, now).await?;
                    taken.ok_or_else(|| taken_already(position, attachment, address))?
                }
                None => take_next(write, subnet, &taker, now).await?,
            };
            lines.push(line);
        }
        if let Some(address) = given.first() {
            let message = format!("{address} is a second one in its subnet, or in none");
            return Err(Error::conflict(
                field(position, attachment, *address),
                message,
            ));
        }
    }
    address_history::append(write, &lines, now).await
}

fn taken_already(position: u32, attachment: &NewAttachment, address: IpAddr) -> Error {
    Error::conflict(
        field(position, attachment, address),
        format!("{address} is in use, the gateway's, or reserved for somebody else"),
    )
}

/// The field of the request that names this address.
fn field(position: u32, attachment: &NewAttachment, address: IpAddr) -> String {
    let index = attachment
        .addresses
        .iter()
        .position(|each| *each == address);
    format!("networks[{position}].addresses[{}]", index.unwrap_or(0))
}
