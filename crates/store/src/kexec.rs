//! What became of `kexec`, by model of machine and kernel: what a failure costs (minutes of waiting
//! for a system that never comes up) is paid once, not with every order.

use bessemer_core::Timestamp;
use bessemer_core::hardware::Inventory;
use bessemer_core::id::{ImageId, NodeId};
use bessemer_core::lifecycle::Goal;

use crate::Error;
use crate::database::{Row, Transaction};
use crate::records::KexecOutcome;
use crate::store::Store;
use crate::value::values;

/// A query for whether `kexec` of the kernel of image `$2` failed on model `$1` the last time.
const FAILED: &str = "SELECT kexec_outcome.kernel FROM kexec_outcome
    JOIN image_kernel ON image_kernel.kernel = kexec_outcome.kernel
    WHERE kexec_outcome.model = $1 AND image_kernel.image = $2 AND last_worked = 0";

impl Store {
    /// Everything that is remembered, by model and kernel.
    pub async fn kexec_outcomes(&self) -> Result<Vec<KexecOutcome>, Error> {
        const SQL: &str = "SELECT model, kernel, worked, failed, last_worked, last_at
            FROM kexec_outcome ORDER BY model, kernel";
        let rows = self.database().rows(SQL, values![]).await?;
        rows.iter().map(kexec_outcome).collect()
    }

    /// Forgets what became of one kernel on one model, so that it is tried again.
    pub async fn forget_kexec(&self, model: &str, kernel: &str) -> Result<(), Error> {
        const SQL: &str = "DELETE FROM kexec_outcome WHERE model = $1 AND kernel = $2";
        let mut write = self.write("forget_kexec").await?;
        if write.execute(SQL, values![model, kernel]).await? == 0 {
            return Err(Error::not_found(
                "kexec outcome",
                format!("{kernel} on {model}"),
            ));
        }
        write.commit().await
    }

    /// Whether `kexec` of what this image starts failed on this model the last time.
    pub async fn kexec_failed(&self, inventory: &Inventory, image: ImageId) -> Result<bool, Error> {
        let values = values![inventory.model(), image];
        Ok(self.database().row(FAILED, values).await?.is_some())
    }
}

/// The same for the image that a node is to be deployed with, if it is.
pub(crate) async fn has_failed(
    read: &mut Transaction,
    goal: &Goal,
    inventory: Option<&Inventory>,
) -> Result<bool, Error> {
    let (Goal::Deployed(deployment), Some(inventory)) = (goal, inventory) else {
        return Ok(false);
    };
    let values = values![inventory.model(), deployment.image];
    Ok(read.row(FAILED, values).await?.is_some())
}

/// Writes down which kernel an image starts.
pub(crate) async fn learn_kernel(
    transaction: &mut Transaction,
    image: ImageId,
    kernel: &str,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO image_kernel (image, kernel)
        SELECT id, $2 FROM image WHERE id = $1
        ON CONFLICT (image) DO UPDATE SET kernel = excluded.kernel";
    transaction.execute(SQL, values![image, kernel]).await?;
    Ok(())
}

/// Writes down what became of the `kexec` of the image's kernel on this node.
pub(crate) async fn remember(
    transaction: &mut Transaction,
    node: NodeId,
    worked: bool,
    now: Timestamp,
) -> Result<(), Error> {
    const NODE: &str = "SELECT goal, inventory FROM node
        JOIN inventory ON inventory.node = node.id WHERE id = $1";
    const SQL: &str = "INSERT INTO kexec_outcome
        (model, kernel, worked, failed, last_worked, last_at)
        SELECT $1, kernel, $3, $4, $3, $5 FROM image_kernel WHERE image = $2
        ON CONFLICT (model, kernel) DO UPDATE SET
        worked = kexec_outcome.worked + excluded.worked,
        failed = kexec_outcome.failed + excluded.failed,
        last_worked = excluded.last_worked, last_at = excluded.last_at";
    let Some(row) = transaction.row(NODE, values![node]).await? else {
        return Ok(());
    };
    let Goal::Deployed(deployment) = row.json("goal")? else {
        return Ok(());
    };
    let inventory: Inventory = row.json("inventory")?;
    let values = values![inventory.model(), deployment.image, worked, !worked, now];
    transaction.execute(SQL, values).await?;
    Ok(())
}

fn kexec_outcome(row: &Row) -> Result<KexecOutcome, Error> {
    Ok(KexecOutcome {
        model: row.text("model")?,
        kernel: row.text("kernel")?,
        worked: row.number("worked")?,
        failed: row.number("failed")?,
        last_worked: row.integer("last_worked")? != 0,
        last_at: row.time("last_at")?,
    })
}
