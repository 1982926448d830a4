//! Networks: making, finding, changing and forgetting them, and the VLAN ids and VNIs that are
//! theirs.
//!
//! The number of a new network is chosen and taken by one statement, and is unique besides. Whoever
//! makes or changes a network or a subnet raises a counter first, and so waits for whoever does it
//! at the same moment: names and subnets are compared with all others in peace. A network cannot be
//! forgotten while a server is on it, and a server leaves only when its node's ports have been read
//! back as parked: so no number is given anew while a switch port may still carry the old network.

use bessemer_core::Timestamp;
use bessemer_core::id::{NetworkId, ProjectId};
use bessemer_core::network::{IdRange, NetworkKind, NetworkScope};

use crate::Error;
use crate::catalogue::name_taken;
use crate::database::Row;
use crate::nodes::as_id;
use crate::overlay::lowest_unused_vlan;
use crate::page::{Place, next_place, rows_for};
use crate::records::{
    NetworkChanges, NetworkFilter, NetworkRecord, NetworkSort, NewNetwork, NumberFrom,
};
use crate::store::{Store, Write};
use crate::subnets::{self, select_subnet, subnet_record};
use crate::switches;
use crate::value::values;

/// The columns of whole networks, whose rows [`network_record`] reads.
macro_rules! select_network {
    ($rest:expr) => {
        select_network!(
            servers: "(SELECT COUNT(*) FROM server_attachment \
             WHERE server_attachment.network = network.id)",
            $rest
        )
    };
    (servers: $servers:literal, $rest:expr) => {
        concat!(
            "SELECT id, name, kind, scope, project, vlan, vni, mtu, physical_network, created_at, ",
            $servers,
            " AS servers FROM network ",
            $rest
        )
    };
}

/// Which network is meant by a name or an id: see [`Store::network`].
macro_rules! named {
    () => {
        "WHERE (name = $1 OR id = $2) AND ($3 IS NULL OR project IS NULL OR project = $3)"
    };
}

macro_rules! subnets_of_one {
    () => {
        "WHERE subnet.network = $1 ORDER BY subnet.created_at, subnet.id"
    };
}

/// The statements for a page of networks and for the subnets of its networks. `$place` compares with
/// the cursor, which is `$5` and `$6`.
macro_rules! page_of_networks {
    ($place:literal, $order:literal) => {
        (
            select_network!(page_of_networks!(rest $place, $order)),
            select_subnet!(concat!(
                "WHERE subnet.network IN (SELECT id FROM network ",
                page_of_networks!(rest $place, $order),
                ") ORDER BY subnet.created_at, subnet.id"
            )),
        )
    };
    (rest $place:literal, $order:literal) => {
        concat!(
            "WHERE ($1 IS NULL OR project IS NULL OR project = $1) \
             AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR scope = $3) \
             AND ($4 IS NULL OR project = $4) AND ($5 IS NULL OR ",
            $place,
            ") ORDER BY ",
            $order,
            " LIMIT $7"
        )
    };
}

/// One statement that makes a network with the number that the query `$lowest` finds in `$8` to `$9`.
macro_rules! insert_network {
    ($column:literal, $lowest:expr) => {
        concat!(
            "INSERT INTO network (id, name, kind, scope, project, mtu, created_at, \
             physical_network, ",
            $column,
            ") SELECT $1, $2, $3, $4, $5, $6, $7, $10, candidate FROM (",
            $lowest,
            ") AS free"
        )
    };
}

/// Takes the lowest VLAN that no network has, neither everywhere nor on one switch.
const INSERT_VLAN: &str = insert_network!("vlan", lowest_unused_vlan!("$8", "$9", ""));

/// Takes the lowest VNI that no network has.
const INSERT_VNI: &str = insert_network!(
    "vni",
    "SELECT candidate FROM (SELECT candidate FROM (SELECT $8 AS candidate) AS lowest \
     WHERE NOT EXISTS (SELECT 1 FROM network AS other WHERE other.vni = $8) \
     UNION ALL SELECT candidate FROM (SELECT taken.vni + 1 AS candidate FROM network AS taken \
     WHERE taken.vni >= $8 AND taken.vni < $9 AND NOT EXISTS \
     (SELECT 1 FROM network AS other WHERE other.vni = taken.vni + 1) \
     ORDER BY taken.vni LIMIT 1) AS gap) AS candidates ORDER BY candidate LIMIT 1"
);

impl Store {
    /// Makes a network, with its first subnets.
    ///
    /// [`Error::Conflict`] if its name or number is taken, one of its subnets overlaps another, or
    /// its project has as many as it may; [`Error::Exhausted`] if the pool has no number left.
    pub async fn create_network(&self, network: &NewNetwork, now: Timestamp) -> Result<(), Error> {
        let mut write = self.write("create_network").await?;
        lock(&mut write).await?;
        check_limit(&mut write, network).await?;
        check_name(&mut write, network.id, &network.name, network.project).await?;
        take_number(&mut write, network, now).await?;
        for (index, subnet) in network.subnets.iter().enumerate() {
            let field = format!("subnets[{index}].cidr");
            subnets::insert(&mut write, network.id, subnet, &field, now).await?;
        }
        write.commit().await
    }

    /// The network with this name or id, if `viewer` may use it (everybody's, without one).
    ///
    /// A project's own network goes before another one of the same name. [`Error::Conflict`] if
    /// several projects have one of this name, and neither is the viewer's.
    pub async fn network(
        &self,
        viewer: Option<ProjectId>,
        name_or_id: &str,
    ) -> Result<NetworkRecord, Error> {
        const SQL: &str = select_network!(named!());
        const SUBNETS: &str = select_subnet!(subnets_of_one!());
        self.one_network((SQL, SUBNETS), viewer, name_or_id).await
    }

    /// The same with zeros for how many servers and addresses there are: to count them costs more than
    /// the rest, for each order and each node that is moved to its networks.
    pub async fn network_uncounted(
        &self,
        viewer: Option<ProjectId>,
        name_or_id: &str,
    ) -> Result<NetworkRecord, Error> {
        const SQL: &str = select_network!(servers: "CAST(0 AS BIGINT)", named!());
        const SUBNETS: &str = select_subnet!(
            counts: "CAST(0 AS BIGINT) AS allocated, CAST(0 AS BIGINT) AS reserved, \
             CAST(0 AS BIGINT) AS used",
            subnets_of_one!()
        );
        self.one_network((SQL, SUBNETS), viewer, name_or_id).await
    }

    async fn one_network(
        &self,
        (network, subnets): (&'static str, &'static str),
        viewer: Option<ProjectId>,
        name_or_id: &str,
    ) -> Result<NetworkRecord, Error> {
        let id = as_id(name_or_id);
        let mut read = self.database().snapshot().await?;
        let rows = read.rows(network, values![name_or_id, id, viewer]).await?;
        let mut found = rows
            .iter()
            .map(network_record)
            .collect::<Result<Vec<_>, _>>()?;
        let mut network = pick(&mut found, viewer, name_or_id)?;
        for row in read.rows(subnets, values![network.id]).await? {
            network.subnets.push(subnet_record(&row)?);
        }
        read.roll_back().await?;
        Ok(network)
    }

    /// At most `limit` networks, sorted, from where `cursor` points; with the cursor of the next
    /// page, if there is one.
    pub async fn networks(
        &self,
        filter: NetworkFilter,
        sort: NetworkSort,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<NetworkRecord>, Option<String>), Error> {
        let by_name = matches!(sort, NetworkSort::Name | NetworkSort::NameDescending);
        let (sql, subnets) = match sort {
            NetworkSort::Name => page_of_networks!("(name, id) > ($5, $6)", "name, id"),
            NetworkSort::NameDescending => {
                page_of_networks!("(name, id) < ($5, $6)", "name DESC, id DESC")
            }
            NetworkSort::Created => {
                page_of_networks!("(created_at, id) > ($5, $6)", "created_at, id")
            }
            NetworkSort::CreatedDescending => {
                page_of_networks!("(created_at, id) < ($5, $6)", "created_at DESC, id DESC")
            }
        };
        let values = |limit: u32| -> Result<_, Error> {
            let cursor = cursor.as_deref();
            let from = if by_name {
                Place::by_text(cursor)?
            } else {
                Place::by_number(cursor)?
            };
            Ok(values![
                filter.visible_to,
                filter.kind.map(|kind| kind.name().to_owned()),
                filter.scope.map(|scope| scope.name().to_owned()),
                filter.project,
                from.key,
                from.id,
                limit
            ])
        };
        let mut read = self.database().snapshot().await?;
        let mut rows = read.rows(sql, values(rows_for(limit))?).await?;
        let next = next_place(&mut rows, limit, |last| {
            let id = last.text("id")?;
            Ok(if by_name {
                format!("{}_{id}", last.text("name")?)
            } else {
                format!("{}_{id}", last.integer("created_at")?)
            })
        })?;
        let networks: Result<Vec<_>, _> = rows.iter().map(network_record).collect();
        let mut networks = networks?;
        for row in read.rows(subnets, values(limit)?).await? {
            let subnet = subnet_record(&row)?;
            let network = networks.iter_mut().find(|each| each.id == subnet.network);
            if let Some(network) = network {
                network.subnets.push(subnet);
            }
        }
        read.roll_back().await?;
        Ok((networks, next))
    }

    /// Changes a network.
    ///
    /// [`Error::Conflict`] if the name is taken, a private network would become somebody else's, or a
    /// server is on what would lead elsewhere.
    pub async fn change_network(
        &self,
        id: NetworkId,
        changes: NetworkChanges,
    ) -> Result<(), Error> {
        const SQL: &str = "SELECT name, scope, project, mtu FROM network WHERE id = $1";
        const CHANGE: &str = "UPDATE network SET name = $2, scope = $3, mtu = $4 WHERE id = $1";
        let mut write = self.write("change_network").await?;
        lock(&mut write).await?;
        let row = write.row(SQL, values![id]).await?;
        let row = row.ok_or_else(|| Error::not_found("network", id))?;
        let scope: NetworkScope = row.name("scope")?;
        let wanted = changes.scope.unwrap_or(scope);
        if (wanted == NetworkScope::Private) != (scope == NetworkScope::Private) {
            return Err(Error::conflict(
                "scope",
                "a private network stays its project's own, and no other one becomes private: \
                 make another network",
            ));
        }
        let before = row.text("name")?;
        let name = changes.name.unwrap_or_else(|| before.clone());
        if name != before {
            check_name(&mut write, id, &name, row.optional_parsed("project")?).await?;
        }
        let mtu = changes.mtu.map_or_else(|| row.number("mtu"), Ok)?;
        let values = values![id, name, wanted.name(), u32::from(mtu)];
        write.execute(CHANGE, values).await?;
        if let Some(physical_network) = changes.physical_network {
            move_elsewhere(&mut write, id, physical_network).await?;
        }
        write.commit().await
    }

    /// Forgets a network with its subnets. [`Error::Conflict`] while a server is on it, an address of
    /// it is reserved, or a switch may still have its tunnels.
    pub async fn delete_network(&self, id: NetworkId) -> Result<(), Error> {
        const SERVER: &str = "SELECT server.name FROM server_attachment
            JOIN server ON server.id = server_attachment.server
            WHERE server_attachment.network = $1 ORDER BY server.name LIMIT 1";
        const ADDRESS: &str = "SELECT subnet.cidr, address.number FROM address
            JOIN subnet ON subnet.id = address.subnet WHERE address.network = $1
            ORDER BY address.subnet, address.number LIMIT 1";
        const TUNNELS: &str = "SELECT switch FROM local_network WHERE network = $1
            ORDER BY switch LIMIT 1";
        const DELETE: &str = "DELETE FROM network WHERE id = $1";
        let mut write = self.write("delete_network").await?;
        lock(&mut write).await?;
        if let Some(row) = write.row(SERVER, values![id]).await? {
            return Err(in_use(&row.text("name")?));
        }
        if let Some(row) = write.row(ADDRESS, values![id]).await? {
            let address = crate::addresses::read_address(&row)?;
            return Err(Error::not_now(format!(
                "address {address} of the network is reserved: release it first"
            )));
        }
        if let Some(row) = write.row(TUNNELS, values![id]).await? {
            return Err(Error::not_now(format!(
                "switch `{}` has not been seen without the network's tunnels yet: try again when it \
                 has",
                row.text("switch")?
            )));
        }
        match write.execute(DELETE, values![id]).await {
            Ok(0) => Err(Error::not_found("network", id)),
            Ok(_) => write.commit().await,
            // An order was quicker.
            Err(error) if error.is_reference_violation() => Err(in_use("just ordered")),
            Err(error) => Err(error),
        }
    }
}

/// Says which physical network a network is part of: its servers' ports were chosen by that.
async fn move_elsewhere(
    write: &mut Write,
    id: NetworkId,
    physical_network: Option<String>,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE network SET physical_network = $2 WHERE id = $1
        AND NOT EXISTS (SELECT 1 FROM server_attachment WHERE network = $1)";
    match write.execute(SQL, values![id, physical_network]).await? {
        0 => Err(Error::conflict(
            "physical_network",
            "servers are on the network by ports that lead to the one that it has now: delete them \
             first, or make another network",
        )),
        _ => Ok(()),
    }
}

fn in_use(server: &str) -> Error {
    Error::not_now(format!(
        "the network is in use by server `{server}`: delete the server first"
    ))
}

/// Makes every other writer of networks and subnets wait until this write ends.
pub(crate) async fn lock(write: &mut Write) -> Result<(), Error> {
    const SQL: &str = "UPDATE counter SET value = value + 1 WHERE name = 'network'";
    write.execute(SQL, values![]).await?;
    Ok(())
}

async fn check_limit(write: &mut Write, network: &NewNetwork) -> Result<(), Error> {
    const SQL: &str = "SELECT COUNT(*) AS networks FROM network WHERE project = $1";
    let (Some(limit), Some(project)) = (network.limit, network.project) else {
        return Ok(());
    };
    let row = write.row(SQL, values![project]).await?;
    let networks: u32 = row.map_or(Ok(0), |row| row.number("networks"))?;
    if networks < limit {
        return Ok(());
    }
    Err(Error::not_now(format!(
        "the project has {networks} networks of its own, as many as it may: delete one that is not \
         needed, or ask an operator"
    )))
}

/// Refuses a name that another network has which whoever says the name could mean.
async fn check_name(
    write: &mut Write,
    id: NetworkId,
    name: &str,
    project: Option<ProjectId>,
) -> Result<(), Error> {
    const SQL: &str = "SELECT id FROM network WHERE name = $1 AND id <> $2
        AND (project IS NULL OR project = $3)";
    match write.row(SQL, values![name, id, project]).await? {
        Some(_) => Err(name_taken("network", name)),
        None => Ok(()),
    }
}

/// Makes the network with the number that it is given, or the lowest free one of its pool.
async fn take_number(write: &mut Write, network: &NewNetwork, now: Timestamp) -> Result<(), Error> {
    let (sql, what) = match network.kind {
        NetworkKind::Vlan => (INSERT_VLAN, "VLAN"),
        NetworkKind::Vxlan => (INSERT_VNI, "VNI"),
    };
    let ranges = numbers(write, network).await?;
    for range in ranges {
        let values = values![
            network.id,
            &network.name,
            network.kind.name(),
            network.scope.name(),
            network.project,
            u32::from(network.mtu),
            now,
            range.first,
            range.last,
            network.physical_network.clone()
        ];
        if write.execute(sql, values).await? > 0 {
            return Ok(());
        }
    }
    match &network.number {
        NumberFrom::Pool { name, .. } => Err(Error::Exhausted {
            what,
            pool: name.clone(),
        }),
        NumberFrom::Given(number) => Err(number_taken(write, what, *number).await?),
    }
}

/// The numbers that the network can have: of VLANs, those that no switch keeps for itself.
async fn numbers(write: &mut Write, network: &NewNetwork) -> Result<Vec<IdRange>, Error> {
    match &network.number {
        NumberFrom::Given(number) => {
            if network.kind == NetworkKind::Vlan {
                switches::refuse_reserved(write, *number).await?;
            }
            Ok(vec![IdRange {
                first: *number,
                last: *number,
            }])
        }
        NumberFrom::Pool { ranges, .. } if network.kind == NetworkKind::Vlan => {
            switches::unreserved(write, ranges).await
        }
        NumberFrom::Pool { ranges, .. } => Ok(ranges.clone()),
    }
}

async fn number_taken(write: &mut Write, what: &'static str, number: u32) -> Result<Error, Error> {
    const HOLDER: &str = "SELECT name FROM network
        WHERE ($1 = 'VLAN' AND vlan = $2) OR ($1 = 'VNI' AND vni = $2)";
    const LOCAL: &str = "SELECT local_network.switch, network.name FROM local_network
        JOIN network ON network.id = local_network.network WHERE local_network.vlan = $1
        ORDER BY local_network.switch LIMIT 1";
    let holder = match write.row(HOLDER, values![what, number]).await? {
        Some(row) => format!("network `{}`", row.text("name")?),
        None => match write.row(LOCAL, values![number]).await? {
            Some(row) => format!(
                "network `{}` on switch `{}`",
                row.text("name")?,
                row.text("switch")?
            ),
            None => "another network".to_owned(),
        },
    };
    let field = what.to_ascii_lowercase();
    let message = format!("{what} {number} already belongs to {holder}");
    Ok(Error::conflict(field, message))
}

/// Of networks found by name or id: the one with the id, else the viewer's own, else everybody's,
/// else the only one.
fn pick(
    found: &mut Vec<NetworkRecord>,
    viewer: Option<ProjectId>,
    name_or_id: &str,
) -> Result<NetworkRecord, Error> {
    let id = as_id(name_or_id);
    let position = |good: &dyn Fn(&NetworkRecord) -> bool| found.iter().position(good);
    let index = position(&|each| Some(each.id.to_string()) == id)
        .or_else(|| position(&|each| viewer.is_some() && each.project == viewer))
        .or_else(|| position(&|each| each.project.is_none()));
    match (index, found.len()) {
        (Some(index), _) => Ok(found.swap_remove(index)),
        (None, 1) => Ok(found.swap_remove(0)),
        (None, 0) => Err(Error::not_found("network", name_or_id)),
        (None, several) => Err(Error::not_now(format!(
            "{several} projects have a network named `{name_or_id}`: use its id"
        ))),
    }
}

/// Reads a row of [`select_network`], without the subnets.
fn network_record(row: &Row) -> Result<NetworkRecord, Error> {
    Ok(NetworkRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        kind: row.name("kind")?,
        scope: row.name("scope")?,
        project: row.optional_parsed("project")?,
        vlan: row.optional_number("vlan")?,
        vni: row.optional_number("vni")?,
        mtu: row.number("mtu")?,
        physical_network: row.optional_text("physical_network")?,
        created_at: row.time("created_at")?,
        servers: row.number("servers")?,
        subnets: Vec::new(),
    })
}
