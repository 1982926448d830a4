//! Placing an order: a node, addresses and a server's name, all of them or none.
//!
//! Whether a node is still free is asked and answered by one UPDATE, and `node.server` is unique
//! besides; the rows of the networks' subnets are locked while free addresses are looked for. So
//! neither a node nor an address is ever handed out twice, however many orders arrive at once.

use bessemer_core::Timestamp;
use bessemer_core::id::{ProjectId, ServerId};
use bessemer_core::lifecycle::{Deployment, Goal, NodeState};

use crate::Error;
use crate::address_history::Holder;
use crate::addresses;
use crate::attachments::attach;
use crate::database::Row;
use crate::events::{about_server, append};
use crate::networks;
use crate::overlay;
use crate::records::{Candidate, Order, Placed};
use crate::store::{Store, Write};
use crate::value::{json, sealed, values};

/// How long an `Idempotency-Key` is remembered, in milliseconds: a day, as is usual. A client that
/// tries again does so within minutes.
const KEYS_REMEMBERED: i64 = 24 * 3600 * 1000;

/// What is remembered of an `Idempotency-Key`.
const KNOWN_KEY: &str =
    "SELECT digest, server FROM idempotency WHERE project = $1 AND request_key = $2";

impl Store {
    /// Places an order, or recognises one that was placed under the same key before.
    ///
    /// [`Error::Conflict`] if the project has a server of this name, or the key was used for
    /// another request, or an address that it names is not free; [`Error::NoNode`] if no candidate is
    /// free any more; [`Error::Exhausted`] if a subnet has no address left, or a switch no VLAN for a VXLAN
    /// network. Nothing is changed then.
    pub async fn place(&self, order: Order, now: Timestamp) -> Result<Placed, Error> {
        let mut write = self.write("place").await?;
        match place(&mut write, &order, now).await {
            Ok(Placed::New(server)) => {
                write.commit().await?;
                Ok(Placed::New(server))
            }
            Ok(again) => {
                write.roll_back().await?;
                Ok(again)
            }
            Err(error) => {
                write.roll_back().await?;
                Err(self.explain(&order, error).await?)
            }
        }
    }

    /// The server that a project ordered under this `Idempotency-Key`, if it did. It may be gone.
    ///
    /// [`Error::Conflict`] if the key was used for another request.
    pub async fn placed_before(
        &self,
        project: ProjectId,
        key: &str,
        digest: &str,
    ) -> Result<Option<ServerId>, Error> {
        let row = self
            .database()
            .row(KNOWN_KEY, values![project, key])
            .await?;
        row.map(|row| same_request(&row, digest)).transpose()
    }

    /// Says in the order's own terms which constraint was in the way.
    async fn explain(&self, order: &Order, error: Error) -> Result<Error, Error> {
        const NAME: &str = "SELECT id FROM server WHERE project = $1 AND name = $2";
        if error.is_reference_violation() {
            return Ok(Error::not_now(
                "the image, the flavor or the network was deleted a moment ago",
            ));
        }
        let values = values![order.project, &order.name];
        if error.is_unique_violation() && self.database().row(NAME, values).await?.is_some() {
            let message = format!("there is a server named `{}` already", order.name);
            return Ok(Error::conflict("name", message));
        }
        Ok(error)
    }
}

async fn place(write: &mut Write, order: &Order, now: Timestamp) -> Result<Placed, Error> {
    let idempotency = order.idempotency.as_ref();
    if let Some(server) = remember(write, order.project, idempotency, order.server, now).await? {
        return Ok(Placed::Again(server));
    }
    // Before the subnets are held: from there on others wait.
    forget_old_keys(write, now).await?;
    let mut candidates = order.candidates.iter();
    if candidates.any(|each| !each.local_networks.is_empty()) {
        networks::lock(write).await?;
    }
    let networks: Vec<_> = order.attachments.iter().map(|each| each.network).collect();
    let mut subnets = addresses::hold(write, &networks).await?;
    let (candidate, state) = claim(write, order, now).await?;
    let node = candidate.node;
    insert(write, order, (candidate, &state), now).await?;
    overlay::join(write, order.server, &candidate.local_networks, now).await?;
    let holder = Holder {
        server: order.server,
        name: &order.name,
        node,
    };
    attach(write, order, &mut subnets, holder, now).await?;
    let message = format!("server `{}` is ordered", order.name);
    let whose = (node, order.server, order.project);
    append(
        write,
        &[about_server("server.ordered", whose, message)],
        now,
    )
    .await?;
    Ok(Placed::New(order.server))
}

/// Writes a request's key down, with the digest of the request; the server it stands for if it was
/// known already.
pub(crate) async fn remember(
    write: &mut Write,
    project: ProjectId,
    idempotency: Option<&(String, String)>,
    server: ServerId,
    now: Timestamp,
) -> Result<Option<ServerId>, Error> {
    const INSERT: &str =
        "INSERT INTO idempotency (project, request_key, digest, server, created_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (project, request_key) DO NOTHING";
    let Some((key, digest)) = idempotency else {
        return Ok(None);
    };
    let values = values![project, key, digest, server, now];
    if write.execute(INSERT, values).await? > 0 {
        return Ok(None);
    }
    let row = write.row(KNOWN_KEY, values![project, key]).await?;
    let row = row.ok_or_else(|| Error::not_now("try again"))?;
    same_request(&row, digest).map(Some)
}

/// The server that a key in a row of [`KNOWN_KEY`] stands for, if it was this very request's.
fn same_request(row: &Row, digest: &str) -> Result<ServerId, Error> {
    if row.text("digest")? != digest {
        return Err(Error::conflict(
            "Idempotency-Key",
            "this Idempotency-Key was used for another request: use a new one for each order",
        ));
    }
    row.parsed("server")
}

async fn forget_old_keys(write: &mut Write, now: Timestamp) -> Result<(), Error> {
    const SQL: &str = "DELETE FROM idempotency WHERE created_at < $1";
    let before = now.as_millisecond().saturating_sub(KEYS_REMEMBERED);
    write.execute(SQL, values![before]).await?;
    Ok(())
}

/// Takes the first candidate that is still free.
async fn claim<'o>(
    write: &mut Write,
    order: &'o Order,
    now: Timestamp,
) -> Result<(&'o Candidate, NodeState), Error> {
    const SQL: &str = "UPDATE node SET server = $2, goal = $3, goal_kind = 'deployed',
        generation = generation + 1, abort = NULL, os_up = NULL, news = news + 1,
        due_at = CASE WHEN due_at < $4 THEN due_at ELSE $4 END
        WHERE id = $1 AND phase = 'available' AND clean = 1 AND goal_kind = 'available'
        AND server IS NULL AND wirings = $5 RETURNING state";
    for candidate in &order.candidates {
        let goal = Goal::Deployed(Deployment {
            server: order.server,
            image: order.image,
            image_bytes: order.image_bytes,
            root_disk: Some(candidate.root_disk.clone()),
            hand_over: order.hand_over,
        });
        let values = values![
            candidate.node,
            order.server,
            json("goal", &goal)?,
            now,
            candidate.wirings
        ];
        if let Some(row) = write.row(SQL, values).await? {
            return Ok((candidate, row.json("state")?));
        }
    }
    Err(Error::NoNode)
}

async fn insert(
    write: &mut Write,
    order: &Order,
    (candidate, state): (&Candidate, &NodeState),
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO server (id, project, name, flavor, image, node, keys,
        user_data, plan, posts_before, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let values = values![
        order.server,
        order.project,
        &order.name,
        order.flavor,
        order.image,
        candidate.node,
        json("keys", &order.keys)?,
        order.user_data_sealed.as_deref().map(sealed),
        json("plan", &candidate.plan)?,
        state.posts,
        now
    ];
    write.execute(SQL, values).await?;
    Ok(())
}
