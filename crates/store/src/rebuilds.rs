//! Writing a server anew: the same node and address, another image or the same.
//!
//! Whether the server may be rebuilt is asked and answered by one UPDATE that names the generation
//! it was looked at in: of two rebuilds at once, one wins and the other is told.

use bessemer_core::Timestamp;
use bessemer_core::id::{NodeId, ProjectId};
use bessemer_core::lifecycle::{Deployment, Goal, NodeState};

use crate::Error;
use crate::database::Row;
use crate::events::{about_server, append};
use crate::orders::remember;
use crate::records::{Placed, Rebuild};
use crate::store::{Store, Write};
use crate::value::{json, sealed, values};

impl Store {
    /// Has a server written anew, or recognises that it was asked for under the same key before.
    /// Its node goes on to the next generation and is woken.
    ///
    /// [`Error::Conflict`] if the server is neither active nor failed, is not any more as it was
    /// when it was looked at, or the key was used for another request. Nothing is changed then.
    pub async fn rebuild(&self, rebuild: Rebuild, now: Timestamp) -> Result<Placed, Error> {
        let mut write = self.write("rebuild").await?;
        let result = write_down(&mut write, &rebuild, now).await;
        match result {
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
                if error.is_reference_violation() {
                    return Err(Error::not_now("the image was deleted a moment ago"));
                }
                Err(error)
            }
        }
    }
}

async fn write_down(write: &mut Write, rebuild: &Rebuild, now: Timestamp) -> Result<Placed, Error> {
    let idempotency = rebuild.idempotency.as_ref();
    let remembered = remember(write, rebuild.project, idempotency, rebuild.server, now).await?;
    if let Some(server) = remembered {
        return Ok(Placed::Again(server));
    }
    let (node, state) = raise(write, rebuild, now).await?;
    let row = update(write, rebuild, &state, now).await?;
    let name = row.text("name")?;
    let project: ProjectId = row.parsed("project")?;
    let message = format!("server `{name}` is being rebuilt");
    let whose = (node, rebuild.server, project);
    let event = about_server("server.rebuilding", whose, message);
    append(write, &[event], now).await?;
    Ok(Placed::New(rebuild.server))
}

/// Gives the node its new goal, if the server is still as it was looked at.
async fn raise(
    write: &mut Write,
    rebuild: &Rebuild,
    now: Timestamp,
) -> Result<(NodeId, NodeState), Error> {
    const SQL: &str = "UPDATE node SET goal = $3, generation = generation + 1, abort = NULL,
        os_up = NULL, news = news + 1,
        due_at = CASE WHEN due_at < $4 THEN due_at ELSE $4 END
        WHERE server = $1 AND generation = $2 AND goal_kind = 'deployed' AND at_rest = 1
        AND phase IN ('active', 'failed') RETURNING id, state";
    let goal = Goal::Deployed(Deployment {
        server: rebuild.server,
        image: rebuild.image,
        image_bytes: rebuild.image_bytes,
        root_disk: Some(rebuild.root_disk.clone()),
        hand_over: rebuild.hand_over,
    });
    let values = values![rebuild.server, rebuild.seen, json("goal", &goal)?, now];
    let row = write.row(SQL, values).await?;
    let row = row.ok_or_else(|| {
        Error::not_now("something else was begun with the server a moment ago: look at it again")
    })?;
    Ok((row.parsed("id")?, row.json("state")?))
}

async fn update(
    write: &mut Write,
    rebuild: &Rebuild,
    state: &NodeState,
    now: Timestamp,
) -> Result<Row, Error> {
    const SQL: &str = "UPDATE server SET image = $2, keys = $3, user_data = $4, plan = $5,
        posts_before = $6, rebuilt_at = $7, active_at = NULL WHERE id = $1
        RETURNING name, project";
    let values = values![
        rebuild.server,
        rebuild.image,
        json("keys", &rebuild.keys)?,
        rebuild.user_data_sealed.as_deref().map(sealed),
        json("plan", &rebuild.plan)?,
        state.posts,
        now
    ];
    let row = write.row(SQL, values).await?;
    row.ok_or_else(|| Error::not_found("server", rebuild.server))
}
