//! Inventories that were read a moment ago.
//!
//! An inventory is most of what there is to read of a node, and changes with an inspection; a node that is
//! on its way is read dozens of times. So what its text meant the last time is kept beside the text, and
//! told again if that is the same: nothing told here can be out of date.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bessemer_core::hardware::Inventory;
use bessemer_core::id::NodeId;

use crate::Error;
use crate::database::from_json;

/// Nodes whose inventories are kept, some 25 kB each in resident memory; then all are forgotten.
const MOST_KEPT: usize = 1024;

/// One for all stores of the process: what a text means depends on nothing else.
static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

type Kept = HashMap<NodeId, (Box<str>, Arc<Inventory>)>;

/// What the stored inventory of a node says.
pub(crate) fn read(node: NodeId, text: &str) -> Result<Arc<Inventory>, Error> {
    // A panicking holder has left out one at worst.
    let kept = || KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, inventory)) = kept().get(&node)
        && **known == *text
    {
        return Ok(inventory.clone());
    }
    let inventory: Arc<Inventory> = Arc::new(from_json("inventory", text)?);
    let mut kept = kept();
    if kept.len() >= MOST_KEPT && !kept.contains_key(&node) {
        kept.clear();
    }
    kept.insert(node, (text.into(), inventory.clone()));
    Ok(inventory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(serial: &str) -> String {
        let inventory = serde_json::json!({
            "identity": { "serial": serial }, "manufacturer": "", "product": "",
            "firmware_version": "", "firmware_mode": "uefi",
            "cpu": { "model": "", "architecture": "", "sockets": 1, "cores": 1, "threads": 1 },
            "memory_mib": 1, "disks": [], "nics": [],
        });
        inventory.to_string()
    }

    #[test]
    fn an_inventory_is_what_its_text_says_now() {
        let node = NodeId(uuid::Uuid::now_v7());
        let first = read(node, &text("one")).unwrap();
        assert_eq!(first.identity.serial, "one");
        let again = read(node, &text("one")).unwrap();
        assert!(Arc::ptr_eq(&first, &again), "it is read once");
        assert_eq!(read(node, &text("two")).unwrap().identity.serial, "two");
        assert!(read(node, "{").is_err());
    }
}
