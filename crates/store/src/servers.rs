//! Servers: finding them, and giving them back. How one comes to be is in `orders`; it ends in
//! `reconcile`, when its node has been taken off its tenant.

use bessemer_core::Timestamp;
use bessemer_core::id::{Generation, ProjectId, ServerId};
use bessemer_core::lifecycle::Goal;

use crate::Error;
use crate::attachments::{grouped, select_attachment};
use crate::database::Row;
use crate::events::{about_server, append};
use crate::nodes::{as_id, by_id_first};
use crate::page::{Cursor, next_page, rows_for};
use crate::records::{AttachmentRecord, ServerRecord};
use crate::store::Store;
use crate::value::{json, values};

/// A query for whole servers, whose rows [`server_record`] reads.
macro_rules! select_server {
    ($rest:literal) => {
        concat!(
            "SELECT server.id, server.name, server.project, server.flavor, server.image, \
             server.node, server.keys, server.user_data, server.plan, server.posts_before, \
             server.created_at, server.active_at, server.rebuilt_at, node.goal, node.generation, \
             node.state FROM server JOIN node ON node.id = server.node ",
            $rest
        )
    };
}

impl Store {
    /// The server with this name or id; only a project's own if one is given.
    ///
    /// [`Error::Conflict`] if several projects have a server of this name and none is given.
    pub async fn server(
        &self,
        project: Option<ProjectId>,
        name_or_id: &str,
    ) -> Result<ServerRecord, Error> {
        const SQL: &str = select_server!(
            "WHERE (server.name = $1 OR server.id = $2) AND ($3 IS NULL OR server.project = $3)"
        );
        const ATTACHMENTS: &str = select_attachment!("WHERE server_attachment.server = $1");
        let values = values![name_or_id, as_id(name_or_id), project];
        let mut read = self.database().snapshot().await?;
        let rows = read.rows(SQL, values).await?;
        if rows.len() > 1 && as_id(name_or_id).is_none() {
            return Err(Error::not_now(format!(
                "{} projects have a server named `{name_or_id}`: use its id",
                rows.len()
            )));
        }
        let row = by_id_first(rows, name_or_id)?;
        let row = row.ok_or_else(|| Error::not_found("server", name_or_id))?;
        let id: ServerId = row.parsed("id")?;
        let mut attachments = grouped(&mut read, ATTACHMENTS, values![id]).await?;
        read.roll_back().await?;
        server_record(&row, attachments.remove(&id).unwrap_or_default())
    }

    /// At most `limit` servers in order of their orders, from where `cursor` points; with the
    /// cursor of the next page, if there is one. Only a project's own if one is given.
    pub async fn servers(
        &self,
        project: Option<ProjectId>,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<(Vec<ServerRecord>, Option<String>), Error> {
        const SQL: &str = select_server!(
            "WHERE (server.created_at, server.id) > ($1, $2)
             AND ($3 IS NULL OR server.project = $3)
             ORDER BY server.created_at, server.id LIMIT $4"
        );
        const ATTACHMENTS: &str = select_attachment!(
            "WHERE server_attachment.server IN (SELECT server.id FROM server
             WHERE (server.created_at, server.id) > ($1, $2)
             AND ($3 IS NULL OR server.project = $3)
             ORDER BY server.created_at, server.id LIMIT $4)"
        );
        let from = Cursor::read(cursor.as_deref())?;
        let place = |limit: u32| values![from.created_at, &from.id, project, limit];
        let mut read = self.database().snapshot().await?;
        let mut rows = read.rows(SQL, place(rows_for(limit))).await?;
        let next = next_page(&mut rows, limit)?;
        let mut attachments = grouped(&mut read, ATTACHMENTS, place(limit)).await?;
        read.roll_back().await?;
        let mut servers = Vec::with_capacity(rows.len());
        for row in &rows {
            let own = attachments.remove(&row.parsed("id")?).unwrap_or_default();
            servers.push(server_record(row, own)?);
        }
        Ok((servers, next))
    }

    /// How many servers there are.
    pub async fn server_count(&self) -> Result<u64, Error> {
        const SQL: &str = "SELECT COUNT(*) AS servers FROM server";
        let row = self.database().row(SQL, values![]).await?;
        row.map_or(Ok(0), |row| row.number("servers"))
    }

    /// Gives a server back: its node is wanted available again, and is woken. Its row and its
    /// addresses live on until the node is off and off the tenant's network. Once it is being given
    /// back, nothing happens.
    pub async fn release_server(&self, id: ServerId, now: Timestamp) -> Result<(), Error> {
        const RELEASE: &str = "UPDATE node SET goal = $2, goal_kind = 'available',
            generation = generation + 1, abort = NULL, news = news + 1,
            due_at = CASE WHEN due_at < $3 THEN due_at ELSE $3 END
            WHERE server = $1 AND goal_kind = 'deployed'";
        const SERVER: &str = "SELECT name, project, node FROM server WHERE id = $1";
        let mut write = self.write("release_server").await?;
        let goal = json("goal", &Goal::Available)?;
        let released = write.execute(RELEASE, values![id, goal, now]).await? > 0;
        let row = write.row(SERVER, values![id]).await?;
        let row = row.ok_or_else(|| Error::not_found("server", id))?;
        if !released {
            return write.roll_back().await;
        }
        let message = format!("server `{}` is being deleted", row.text("name")?);
        let whose = (row.parsed("node")?, id, row.parsed("project")?);
        let event = about_server("server.deleting", whose, message);
        append(&mut write, &[event], now).await?;
        write.commit().await
    }
}

fn server_record(row: &Row, attachments: Vec<AttachmentRecord>) -> Result<ServerRecord, Error> {
    Ok(ServerRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        project: row.parsed("project")?,
        flavor: row.parsed("flavor")?,
        image: row.parsed("image")?,
        attachments,
        node: row.parsed("node")?,
        keys: row.json("keys")?,
        user_data_sealed: row.optional_sealed("user_data")?,
        plan: row.json("plan")?,
        posts_before: row.number("posts_before")?,
        created_at: row.time("created_at")?,
        active_at: row.optional_time("active_at")?,
        rebuilt_at: row.optional_time("rebuilt_at")?,
        goal: row.json("goal")?,
        generation: Generation(row.number("generation")?),
        node_state: row.json("state")?,
    })
}
