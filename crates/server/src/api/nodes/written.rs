//! Nodes as they are answered, alone and in pages, written straight from their rows: what is JSON there is
//! not read and written again. In a page, a node has no `root_disk`.

use std::collections::HashMap;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bessemer_core::id::NodeId;
use bessemer_core::lifecycle::{Place, PowerState};
use bessemer_core::port_plan;
use bessemer_store::{Error, NodeText};
use bessemer_wire::agent::Progress;
use bessemer_wire::api::{NodePort, RootDisk};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{port_groups, power};
use crate::site::ProgressBoard;

/// Bytes that a node with its inventory takes, mostly.
const SHOWN_SIZE: usize = 8 << 10;

/// What a page begins with.
const HEAD: &[u8] = b"{\"items\":[";

/// A page under way.
pub(super) struct Listing {
    body: Vec<u8>,
    /// What agents are doing at this moment.
    progress: HashMap<NodeId, Progress>,
}

impl Listing {
    pub(super) fn new(progress: HashMap<NodeId, Progress>) -> Self {
        Self {
            body: HEAD.to_vec(),
            progress,
        }
    }

    /// Adds a node.
    pub(super) fn add(&mut self, node: NodeText<'_>) -> Result<(), Error> {
        let progress = match self.progress.is_empty() {
            true => None,
            false => id(node.id).and_then(|id| self.progress.get(&id)),
        };
        if self.body.len() > HEAD.len() {
            self.body.push(b',');
        }
        let mut object = Object::begin(&mut self.body);
        write_node(&mut object, &node, progress)?;
        object.json("root_disk", Some("[]"));
        object.end();
        Ok(())
    }

    /// The answer, with the cursor of the next page.
    pub(super) fn answer(mut self, next: Option<&str>) -> Result<Response, Error> {
        self.body.extend_from_slice(b"],\"next\":");
        write(&mut self.body, "next", &next)?;
        self.body.push(b'}');
        Ok(answer(self.body))
    }
}

/// A node that is shown alone, but for where its operating system goes.
pub(super) struct Shown(Vec<u8>);

impl Shown {
    pub(super) fn of(node: &NodeText<'_>, progress: &ProgressBoard) -> Result<Self, Error> {
        let progress = id(node.id).and_then(|id| progress.get(id));
        let mut body = Vec::with_capacity(SHOWN_SIZE);
        write_node(&mut Object::begin(&mut body), node, progress.as_ref())?;
        Ok(Self(body))
    }

    /// The answer, with where its operating system goes.
    pub(super) fn answer(mut self, root_disk: &[RootDisk]) -> Result<Response, Error> {
        let mut object = Object::go_on(&mut self.0);
        object.value("root_disk", root_disk)?;
        object.end();
        Ok(answer(self.0))
    }
}

fn answer(body: Vec<u8>) -> Response {
    let media_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, media_type)], body).into_response()
}

/// Writes all of a node but for `root_disk`.
fn write_node(
    object: &mut Object<'_>,
    node: &NodeText<'_>,
    progress: Option<&Progress>,
) -> Result<(), Error> {
    let place: Place = read("state", node.state)?;
    let groups = match node.port_groups {
        "[]" => Vec::new(),
        groups => {
            let ports: Vec<NodePort> = read("ports", node.ports)?;
            let groups: Vec<port_plan::PortGroup> = read("port_groups", groups)?;
            port_groups::views(&ports, &groups)
        }
    };
    object.value("id", node.id)?;
    object.value("name", node.name)?;
    object.value("rack", &node.rack)?;
    object.value("provision_state", place.provision_state())?;
    object.json("state", Some(node.state));
    object.value("generation", &node.generation)?;
    let on_or_off = node.power.and_then(PowerState::named);
    let power = power::known(on_or_off, node.power_since, node.bmc_silent_since);
    object.value("power", &power)?;
    object.value("progress", &progress)?;
    object.object("bmc", |bmc| {
        bmc.value("url", node.bmc_url)?;
        bmc.value("username", node.bmc_username)?;
        bmc.json("trust", Some(node.bmc_trust));
        bmc.value("has_ipmi_key", &node.has_ipmi_key)?;
        bmc.value("unreachable_since", &node.bmc_silent_since)
    })?;
    object.json("ports", Some(node.ports));
    object.value("port_groups", &groups)?;
    object.value("standby", node.standby)?;
    object.json("identity", node.identity);
    object.json("inventory", node.inventory);
    object.value("server", &node.server)?;
    object.value("boot_method", &node.boot_method)?;
    object.json("boot_abilities", node.boot_abilities);
    object.json("root_disk_hint", node.root_disk_hint);
    object.value("created_at", &node.created_at)
}

/// An object of JSON that is being written.
struct Object<'b> {
    body: &'b mut Vec<u8>,
    empty: bool,
}

impl<'b> Object<'b> {
    fn begin(body: &'b mut Vec<u8>) -> Self {
        body.push(b'{');
        Self { body, empty: true }
    }

    /// One that something has been written to.
    fn go_on(body: &'b mut Vec<u8>) -> Self {
        Self { body, empty: false }
    }

    /// Our own names need no escapes.
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.body.push(b',');
        }
        self.empty = false;
        self.body.push(b'"');
        self.body.extend_from_slice(name.as_bytes());
        self.body.extend_from_slice(b"\":");
    }

    /// A value that is JSON already; `null` if there is none.
    fn json(&mut self, name: &str, json: Option<&str>) {
        self.name(name);
        let json = json.unwrap_or("null");
        self.body.extend_from_slice(json.as_bytes());
    }

    fn value<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.name(name);
        write(self.body, name, value)
    }

    fn object(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut Object<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.name(name);
        let mut inner = Object::begin(self.body);
        fill(&mut inner)?;
        inner.end();
        Ok(())
    }

    fn end(self) {
        self.body.push(b'}');
    }
}

fn id(text: &str) -> Option<NodeId> {
    text.parse().ok()
}

fn read<T: DeserializeOwned>(what: &'static str, json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| corrupt(what, &error))
}

fn write<T: Serialize + ?Sized>(
    body: &mut Vec<u8>,
    what: &'static str,
    value: &T,
) -> Result<(), Error> {
    serde_json::to_writer(body, value).map_err(|error| corrupt(what, &error))
}

fn corrupt(what: &'static str, error: &serde_json::Error) -> Error {
    let message = error.to_string();
    Error::Corrupt { what, message }
}
