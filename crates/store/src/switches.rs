//! Switches: writing them down, finding, changing and forgetting them, and which VLANs they keep from
//! tenants.
//!
//! Whoever makes, changes or forgets a switch raises the counter `switch`, by which those who keep
//! switches in memory see that they must read them again. VLANs are compared with those of networks
//! under the lock of networks.

use bessemer_core::Timestamp;
use bessemer_core::id::SwitchId;
use bessemer_core::network::IdRange;
use bessemer_core::switch::VlanOverrides;

use crate::Error;
use crate::catalogue::name_taken;
use crate::database::Row;
use crate::events::append;
use crate::networks;
use crate::nodes::{as_id, by_id_first};
use crate::overlay;
use crate::page::rows_for;
use crate::places::{sorted_pages, told};
use crate::records::{
    NewSwitch, PlaceSort, SwitchFilter, SwitchHealth, SwitchRecord, SwitchSettings,
};
use crate::store::{Store, Write};
use crate::value::{sealed, values};

/// Nodes that are named when a switch cannot be forgotten for their sake.
const NODES_NAMED: u32 = 4;

/// A query for whole switches, whose rows [`switch_record`] reads. A node has a port on a switch if its
/// stored ports, as JSON, say so: names hold nothing that JSON would write in another way.
macro_rules! select_switch {
    ($rest:expr) => {
        concat!(
            "SELECT id, name, rack, driver, address, tls_authority, tls_certificate, tls_key, \
             tunnel_address, tunnel_vlans, physical_network, largest_mtu, parked_vlan, \
             provisioning_vlan, standby_vlan, rescue_vlan, generation, created_at, read_at, error, \
             error_at, failing, \
             (SELECT rack.name FROM rack WHERE rack.id = switch.rack) AS rack_name, \
             (SELECT COUNT(*) FROM node WHERE REPLACE(node.ports, \
             '\"switch\":\"' || switch.name || '\"', '') <> node.ports) AS nodes FROM switch ",
            $rest
        )
    };
}

impl Store {
    /// Writes down a switch, as `by` wants it.
    ///
    /// [`Error::Conflict`] if there is one of this name, or a network has one of its VLANs.
    pub async fn create_switch(
        &self,
        switch: &NewSwitch,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO switch (id, name, driver, rack, address, tls_authority,
            tls_certificate, tls_key, tunnel_address, tunnel_vlans, physical_network, largest_mtu,
            parked_vlan, provisioning_vlan, standby_vlan, rescue_vlan, generation, created_at,
            failing)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
            $18, 0)";
        let mut write = self.write("create_switch").await?;
        networks::lock(&mut write).await?;
        let generation = raise(&mut write).await?;
        check_vlans(&mut write, &switch.settings).await?;
        let mut values = values![switch.id, &switch.name, switch.driver.name()];
        values.extend(settings(&switch.settings));
        values.extend(values![generation, now]);
        match write.execute(SQL, values).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {
                return Err(name_taken("switch", &switch.name));
            }
            Err(error) => return Err(error),
        }
        let event = told("switch.created", ("switch", &switch.name), "is made", by);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// The switch with this name or id.
    pub async fn switch(&self, name_or_id: &str) -> Result<SwitchRecord, Error> {
        const SQL: &str = select_switch!("WHERE name = $1 OR id = $2");
        let values = values![name_or_id, as_id(name_or_id)];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        switch_record(&row.ok_or_else(|| Error::not_found("switch", name_or_id))?)
    }

    /// At most `limit` switches, sorted, from where `cursor` points; with the cursor of the next page,
    /// if there is one.
    pub async fn switches(
        &self,
        filter: SwitchFilter,
        sort: PlaceSort,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<SwitchRecord>, Option<String>), Error> {
        const SQL: [&str; 4] = sorted_pages!(
            select_switch,
            "($1 IS NULL OR rack = $1) AND ($2 IS NULL OR driver = $2) AND ($3 IS NULL OR \
             EXISTS (SELECT 1 FROM rack AS place WHERE place.id = switch.rack AND place.site = $3))",
            "$4",
            "$5",
            "$6"
        );
        let from = sort.place(cursor.as_deref())?;
        let driver = filter.driver.map(|driver| driver.name().to_owned());
        let values = values![
            filter.rack,
            driver,
            filter.site,
            from.key,
            from.id,
            rows_for(limit)
        ];
        let mut rows = self.database().rows(sort.of(SQL), values).await?;
        let next = sort.next(&mut rows, limit)?;
        let switches: Result<_, _> = rows.iter().map(switch_record).collect();
        Ok((switches?, next))
    }

    /// Rises with every switch that is made, changed or forgotten.
    pub async fn switch_generation(&self) -> Result<u64, Error> {
        const SQL: &str = "SELECT value FROM counter WHERE name = 'switch'";
        let row = self.database().row(SQL, values![]).await?;
        row.map_or(Ok(0), |row| row.number("value"))
    }

    /// Every switch by name, and the generation that they are of.
    pub async fn all_switches(&self) -> Result<(u64, Vec<SwitchRecord>), Error> {
        const GENERATION: &str = "SELECT value FROM counter WHERE name = 'switch'";
        const SQL: &str = select_switch!("ORDER BY name");
        let mut read = self.database().snapshot().await?;
        let row = read.row(GENERATION, values![]).await?;
        let generation = row.map_or(Ok(0), |row| row.number("value"))?;
        let rows = read.rows(SQL, values![]).await?;
        read.roll_back().await?;
        let switches: Result<_, _> = rows.iter().map(switch_record).collect();
        Ok((generation, switches?))
    }

    /// Changes all that can be changed about a switch of which `generation` was read, as `by` wants it.
    ///
    /// [`Error::Conflict`] if somebody has changed it since, a network has one of its VLANs, or servers
    /// were put on its ports by the physical network that it is not to be part of any more.
    pub async fn change_switch(
        &self,
        id: SwitchId,
        generation: u64,
        changed: &SwitchSettings,
        by: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE switch SET rack = $3, address = $4, tls_authority = $5,
            tls_certificate = $6, tls_key = $7, tunnel_address = $8, tunnel_vlans = $9,
            physical_network = $10, largest_mtu = $11, parked_vlan = $12, provisioning_vlan = $13,
            standby_vlan = $14, rescue_vlan = $15, generation = $16
            WHERE id = $1 AND generation = $2 RETURNING name";
        const ADDRESS: &str = "SELECT name, tunnel_address FROM switch WHERE id = $1";
        let mut write = self.write("change_switch").await?;
        networks::lock(&mut write).await?;
        let next = raise(&mut write).await?;
        check_vlans(&mut write, changed).await?;
        let before = write.row(ADDRESS, values![id]).await?;
        let before = before.ok_or_else(|| Error::not_found("switch", id))?;
        let tunnels_move = before.optional_parsed("tunnel_address")? != changed.tunnel_address;
        if changed.tunnel_address.is_none() {
            overlay::check_unused(&mut write, &before.text("name")?).await?;
        }
        check_physical_network(&mut write, id, changed).await?;
        let mut values = values![id, generation];
        values.extend(settings(changed));
        values.extend(values![next]);
        let row = write.row(SQL, values).await?.ok_or_else(|| {
            Error::not_now(
                "somebody else has changed or forgotten the switch a moment ago: try again",
            )
        })?;
        if tunnels_move {
            overlay::bring_all_anew(&mut write, now).await?;
        }
        let event = told(
            "switch.changed",
            ("switch", &row.text("name")?),
            "is changed",
            by,
        );
        append(&mut write, &[event], now).await?;
        write.commit().await
    }

    /// Forgets a switch, as `by` wants it. [`Error::Conflict`] while a node has a port on it.
    pub async fn delete_switch(&self, id: SwitchId, by: &str, now: Timestamp) -> Result<(), Error> {
        // Its row is locked before the nodes are looked at, as whoever cables a node to it does.
        const LOCK: &str = "UPDATE switch SET name = name WHERE id = $1 RETURNING name";
        const NODES: &str = "SELECT name FROM node WHERE REPLACE(ports, $1, '') <> ports
            ORDER BY name LIMIT $2";
        const NETWORK: &str = "SELECT network.name FROM local_network
            JOIN network ON network.id = local_network.network WHERE switch = $1 LIMIT 1";
        const TUNNELS: &str = "DELETE FROM switch_tunnels WHERE switch = $1";
        const DELETE: &str = "DELETE FROM switch WHERE id = $1";
        let mut write = self.write("delete_switch").await?;
        raise(&mut write).await?;
        let row = write.row(LOCK, values![id]).await?;
        let name = row
            .ok_or_else(|| Error::not_found("switch", id))?
            .text("name")?;
        let nodes = write
            .rows(NODES, values![named_in_ports(&name), NODES_NAMED])
            .await?;
        let nodes: Vec<_> = nodes
            .iter()
            .map(|row| row.text("name"))
            .collect::<Result<_, _>>()?;
        if !nodes.is_empty() {
            return Err(in_use(&name, &nodes));
        }
        if let Some(row) = write.row(NETWORK, values![&name]).await? {
            let network = row.text("name")?;
            return Err(Error::not_now(format!(
                "switch `{name}` still has tunnels of network `{network}`: they go once it has been \
                 read back without them"
            )));
        }
        write.execute(TUNNELS, values![&name]).await?;
        write.execute(DELETE, values![id]).await?;
        let event = told("switch.deleted", ("switch", &name), "is forgotten", by);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }
}

fn in_use(switch: &str, nodes: &[String]) -> Error {
    let most = usize::try_from(NODES_NAMED).unwrap_or(usize::MAX);
    let more = if nodes.len() >= most {
        " and others"
    } else {
        ""
    };
    let named = nodes.iter().take(most - 1).map(|name| format!("`{name}`"));
    let named: Vec<_> = named.collect();
    Error::not_now(format!(
        "ports of {}{more} are cabled to switch `{switch}`: delete these nodes first",
        named.join(", ")
    ))
}

/// What the stored ports of a node hold that has a port on this switch.
pub(crate) fn named_in_ports(switch: &str) -> String {
    format!("\"switch\":\"{switch}\"")
}

/// Raises the counter of switches, which makes every other writer of them wait.
async fn raise(write: &mut Write) -> Result<u64, Error> {
    const SQL: &str = "UPDATE counter SET value = value + 1 WHERE name = 'switch' RETURNING value";
    let row = write.row(SQL, values![]).await?;
    row.ok_or_else(|| Error::not_found("counter", "switch"))?
        .number("value")
}

/// The columns of [`SwitchSettings`], from `rack` to `rescue_vlan`.
fn settings(settings: &SwitchSettings) -> Vec<crate::value::Value> {
    let SwitchSettings {
        rack,
        address,
        authority,
        certificate,
        key_sealed,
        tunnel_address,
        tunnel_vlans,
        physical_network,
        largest_mtu,
        vlans,
    } = settings;
    let number = |number: Option<u16>| number.map(i64::from);
    values![
        *rack,
        address,
        authority.clone(),
        certificate.clone(),
        key_sealed.as_deref().map(sealed),
        *tunnel_address,
        tunnel_vlans.to_string(),
        physical_network.clone(),
        number(*largest_mtu),
        number(vlans.parked),
        number(vlans.provisioning),
        number(vlans.standby),
        number(vlans.rescue),
    ]
}

/// VLANs that a switch keeps from the networks of tenants.
struct Reserved {
    switch: String,
    /// The field that says so.
    field: &'static str,
    range: IdRange,
}

/// What these settings keep from tenants. The pool of a switch without tunnels is not in use.
fn reserved(switch: &str, vlans: VlanOverrides, pool: &[IdRange], tunnels: bool) -> Vec<Reserved> {
    let one = |vlan: u16| IdRange {
        first: vlan.into(),
        last: vlan.into(),
    };
    let own = vlans.given().map(|(field, vlan)| (field, one(vlan)));
    let pool = pool.iter().filter(|_| tunnels);
    let pool = pool.map(|range| ("tunnel_vlans", *range));
    let all = own.chain(pool).map(|(field, range)| Reserved {
        switch: switch.to_owned(),
        field,
        range,
    });
    all.collect()
}

/// What servers' ports were chosen by stays; and orders of nodes on the switch look again.
async fn check_physical_network(
    write: &mut Write,
    id: SwitchId,
    changed: &SwitchSettings,
) -> Result<(), Error> {
    const SWITCH: &str = "SELECT name, physical_network FROM switch WHERE id = $1";
    const SERVER: &str = "SELECT name FROM node WHERE server IS NOT NULL
        AND REPLACE(ports, $1, '') <> ports ORDER BY name LIMIT 1";
    const LOOK_AGAIN: &str = "UPDATE node SET wirings = wirings + 1
        WHERE REPLACE(ports, $1, '') <> ports";
    let Some(row) = write.row(SWITCH, values![id]).await? else {
        return Ok(());
    };
    if row.optional_text("physical_network")? == changed.physical_network {
        return Ok(());
    }
    let cables = named_in_ports(&row.text("name")?);
    write.execute(LOOK_AGAIN, values![&cables]).await?;
    match write.row(SERVER, values![&cables]).await? {
        Some(row) => {
            let node = row.text("name")?;
            let message = format!(
                "node `{node}` has a server, which may be on these ports because of the physical \
                 network that they lead to: delete the server first"
            );
            Err(Error::conflict("physical_network", message))
        }
        None => Ok(()),
    }
}

/// Refuses settings that take VLANs which networks have.
async fn check_vlans(write: &mut Write, settings: &SwitchSettings) -> Result<(), Error> {
    const SQL: &str = "SELECT name, vlan FROM network WHERE vlan IS NOT NULL ORDER BY vlan";
    let tunnels = settings.tunnel_address.is_some();
    let reserved = reserved("", settings.vlans, settings.tunnel_vlans.ranges(), tunnels);
    for row in write.rows(SQL, values![]).await? {
        let vlan: u32 = row.number("vlan")?;
        if let Some(taken) = reserved.iter().find(|each| each.range.contains(vlan)) {
            let network = row.text("name")?;
            return Err(Error::conflict(
                taken.field,
                format!("VLAN {vlan} belongs to network `{network}`: take others"),
            ));
        }
    }
    Ok(())
}

/// Every VLAN that some switch keeps from tenants: trunks carry them from one switch to the others.
async fn all_reserved(write: &mut Write) -> Result<Vec<Reserved>, Error> {
    const SQL: &str = select_switch!("ORDER BY name");
    let mut all = Vec::new();
    for row in write.rows(SQL, values![]).await? {
        let switch = switch_record(&row)?;
        let pool = switch.settings.tunnel_vlans.ranges();
        let tunnels = switch.settings.tunnel_address.is_some();
        all.extend(reserved(&switch.name, switch.settings.vlans, pool, tunnels));
    }
    Ok(all)
}

/// What is left of these VLANs for networks.
pub(crate) async fn unreserved(
    write: &mut Write,
    ranges: &[IdRange],
) -> Result<Vec<IdRange>, Error> {
    let taken = all_reserved(write).await?;
    let taken: Vec<_> = taken.into_iter().map(|each| each.range).collect();
    Ok(ranges
        .iter()
        .flat_map(|range| range.without(&taken))
        .collect())
}

/// Refuses a VLAN that some switch keeps from networks.
pub(crate) async fn refuse_reserved(write: &mut Write, vlan: u32) -> Result<(), Error> {
    let reserved = all_reserved(write).await?;
    match reserved.iter().find(|each| each.range.contains(vlan)) {
        None => Ok(()),
        Some(Reserved { switch, field, .. }) => Err(Error::conflict(
            "vlan",
            format!("VLAN {vlan} is in `{field}` of switch `{switch}`: take another one"),
        )),
    }
}

/// Reads a row of [`select_switch`].
fn switch_record(row: &Row) -> Result<SwitchRecord, Error> {
    let error = row.optional_text("error")?;
    Ok(SwitchRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        rack_name: row.optional_text("rack_name")?,
        driver: row.name("driver")?,
        settings: SwitchSettings {
            rack: row.optional_parsed("rack")?,
            address: row.text("address")?,
            authority: row.optional_text("tls_authority")?,
            certificate: row.optional_text("tls_certificate")?,
            key_sealed: row.optional_sealed("tls_key")?,
            tunnel_address: row.optional_parsed("tunnel_address")?,
            tunnel_vlans: row.parsed("tunnel_vlans")?,
            physical_network: row.optional_text("physical_network")?,
            largest_mtu: row.optional_number("largest_mtu")?,
            vlans: VlanOverrides {
                parked: row.optional_number("parked_vlan")?,
                provisioning: row.optional_number("provisioning_vlan")?,
                standby: row.optional_number("standby_vlan")?,
                rescue: row.optional_number("rescue_vlan")?,
            },
        },
        nodes: row.number("nodes")?,
        health: SwitchHealth {
            read_at: row.optional_time("read_at")?,
            error: error.zip(row.optional_time("error_at")?),
            failing: row.integer("failing")? != 0,
        },
        generation: row.number("generation")?,
        created_at: row.time("created_at")?,
    })
}
