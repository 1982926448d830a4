//! What servers are ordered from: flavors, key pairs, and the projects they belong to. Networks have
//! files of their own.

use bessemer_core::Timestamp;
use bessemer_core::id::{FlavorId, KeyPairId, ProjectId};

use crate::Error;
use crate::database::Row;
use crate::nodes::{as_id, by_id_first};
use crate::records::{FlavorRecord, KeyPairRecord, ProjectRecord};
use crate::standby;
use crate::store::Store;
use crate::value::{Value, json, optional_json, values};

/// A query for whole flavors, whose rows [`flavor_record`] reads.
macro_rules! select_flavor {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, hardware, standby, hand_over, root_disk_hint FROM flavor ",
            $rest
        )
    };
}

impl Store {
    /// Writes down a new flavor; if its nodes wait in the agent, they are woken.
    /// [`Error::Conflict`] if there is one of this name.
    pub async fn create_flavor(&self, flavor: &FlavorRecord, now: Timestamp) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO flavor (id, name, hardware, standby, hand_over,
            root_disk_hint) VALUES ($1, $2, $3, $4, $5, $6)";
        let values = values![
            flavor.id,
            &flavor.name,
            json("hardware", &flavor.hardware)?,
            flavor.standby,
            flavor.hand_over.name(),
            optional_json("root_disk_hint", flavor.root_disk_hint.as_ref())?
        ];
        let mut write = self.write("create_flavor").await?;
        match write.execute(SQL, values).await {
            Ok(_) => {}
            Err(error) if error.is_unique_violation() => {
                return Err(name_taken("flavor", &flavor.name));
            }
            Err(error) => return Err(error),
        }
        if flavor.standby {
            standby::wake_available(&mut write, now).await?;
        }
        write.commit().await
    }

    /// The flavor with this name or id.
    pub async fn flavor(&self, name_or_id: &str) -> Result<FlavorRecord, Error> {
        const SQL: &str = select_flavor!("WHERE name = $1 OR id = $2");
        let values = values![name_or_id, as_id(name_or_id)];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        flavor_record(&row.ok_or_else(|| Error::not_found("flavor", name_or_id))?)
    }

    /// Every flavor, by name.
    pub async fn flavors(&self) -> Result<Vec<FlavorRecord>, Error> {
        const SQL: &str = select_flavor!("ORDER BY name");
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(flavor_record).collect()
    }

    /// Stops offering a flavor. [`Error::Conflict`] while a server uses it.
    pub async fn delete_flavor(&self, id: FlavorId) -> Result<(), Error> {
        const DELETE: &str = "DELETE FROM flavor WHERE id = $1";
        const USER: &str = "SELECT name FROM server WHERE flavor = $1 ORDER BY name LIMIT 1";
        self.delete_unused("delete_flavor", (DELETE, USER), ("flavor", id.to_string()))
            .await
    }

    /// Writes down a new key pair. [`Error::Conflict`] if the project has one of this name.
    pub async fn create_key_pair(&self, key: &KeyPairRecord) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO key_pair (id, project, name, public_key)
            VALUES ($1, $2, $3, $4)";
        let values = values![key.id, key.project, &key.name, &key.public_key];
        self.insert_named("create_key_pair", SQL, values, ("key", &key.name))
            .await
    }

    /// A project's key pair with this name or id.
    pub async fn key_pair(
        &self,
        project: ProjectId,
        name_or_id: &str,
    ) -> Result<KeyPairRecord, Error> {
        const SQL: &str = "SELECT id, project, name, public_key FROM key_pair
            WHERE project = $3 AND (name = $1 OR id = $2)";
        let values = values![name_or_id, as_id(name_or_id), project];
        let row = by_id_first(self.database().rows(SQL, values).await?, name_or_id)?;
        key_pair_record(&row.ok_or_else(|| Error::not_found("key", name_or_id))?)
    }

    /// Forgets a key pair. Servers keep the key itself.
    pub async fn delete_key_pair(&self, id: KeyPairId) -> Result<(), Error> {
        let mut write = self.write("delete_key_pair").await?;
        let sql = "DELETE FROM key_pair WHERE id = $1";
        if write.execute(sql, values![id]).await? == 0 {
            return Err(Error::not_found("key", id));
        }
        write.commit().await
    }

    /// A project's key pairs, by name.
    pub async fn key_pairs(&self, project: ProjectId) -> Result<Vec<KeyPairRecord>, Error> {
        const SQL: &str = "SELECT id, project, name, public_key FROM key_pair
            WHERE project = $1 ORDER BY name";
        let rows = self.database().rows(SQL, values![project]).await?;
        rows.iter().map(key_pair_record).collect()
    }

    /// The project of this name, made with the id `new` if there is none.
    pub async fn project_by_name_or_create(
        &self,
        name: &str,
        new: ProjectId,
    ) -> Result<ProjectRecord, Error> {
        const FIND: &str = "SELECT id, name FROM project WHERE name = $1";
        const INSERT: &str = "INSERT INTO project (id, name) VALUES ($1, $2)
            ON CONFLICT (name) DO NOTHING";
        if let Some(row) = self.database().row(FIND, values![name]).await? {
            return project_record(&row);
        }
        let mut write = self.write("create_project").await?;
        write.execute(INSERT, values![new, name]).await?;
        let row = write.row(FIND, values![name]).await?;
        let row = row.ok_or_else(|| Error::not_found("project", name))?;
        write.commit().await?;
        project_record(&row)
    }

    /// Every project, by name.
    pub async fn projects(&self) -> Result<Vec<ProjectRecord>, Error> {
        const SQL: &str = "SELECT id, name FROM project ORDER BY name";
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(project_record).collect()
    }

    /// Deletes something that servers may use; the error names such a server.
    pub(crate) async fn delete_unused(
        &self,
        gate: &'static str,
        (delete, user): (&'static str, &'static str),
        (what, id): (&'static str, String),
    ) -> Result<(), Error> {
        let mut write = self.write(gate).await?;
        match write.execute(delete, values![&id]).await {
            Ok(0) => Err(Error::not_found(what, id)),
            Ok(_) => write.commit().await,
            Err(error) if error.is_reference_violation() => {
                write.roll_back().await?;
                let row = self.database().row(user, values![&id]).await?;
                let user = row.map_or(Ok("just ordered".to_owned()), |row| row.text("name"))?;
                Err(Error::not_now(format!(
                    "the {what} is in use by server `{user}`: delete the server first"
                )))
            }
            Err(error) => Err(error),
        }
    }

    /// Inserts something whose `name` must be unique.
    pub(crate) async fn insert_named(
        &self,
        gate: &'static str,
        sql: &'static str,
        values: Vec<Value>,
        (what, name): (&'static str, &str),
    ) -> Result<(), Error> {
        let mut write = self.write(gate).await?;
        match write.execute(sql, values).await {
            Ok(_) => write.commit().await,
            Err(error) if error.is_unique_violation() => Err(name_taken(what, name)),
            Err(error) => Err(error),
        }
    }
}

pub(crate) fn name_taken(what: &str, name: &str) -> Error {
    Error::conflict(
        "name",
        format!("the name `{name}` belongs to another {what} already"),
    )
}

fn flavor_record(row: &Row) -> Result<FlavorRecord, Error> {
    Ok(FlavorRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
        hardware: row.json("hardware")?,
        standby: row.integer("standby")? != 0,
        hand_over: row.name("hand_over")?,
        root_disk_hint: row.optional_json("root_disk_hint")?,
    })
}

fn key_pair_record(row: &Row) -> Result<KeyPairRecord, Error> {
    Ok(KeyPairRecord {
        id: row.parsed("id")?,
        project: row.parsed("project")?,
        name: row.text("name")?,
        public_key: row.text("public_key")?,
    })
}

fn project_record(row: &Row) -> Result<ProjectRecord, Error> {
    Ok(ProjectRecord {
        id: row.parsed("id")?,
        name: row.text("name")?,
    })
}
