//! What a new server finds on its config drive: OpenStack's metadata documents, as cloud-init and
//! every other first-boot tool read them.
//!
//! Formats: OpenStack Nova's config drive, version `latest` (`meta_data.json`, `vendor_data.json`); see Nova's
//! user guide, "Metadata service". `network_data.json` has a module of its own: [`crate::network_data`].

use serde_json::{Value, json};

use crate::id::ServerId;

/// `meta_data.json`: who the server is and which keys open it.
pub fn meta_data(server: ServerId, name: &str, keys: &[(String, String)]) -> Value {
    let public_keys: serde_json::Map<String, Value> = keys
        .iter()
        .map(|(name, key)| (name.clone(), Value::String(key.clone())))
        .collect();
    json!({
        "uuid": server,
        "name": name,
        "hostname": name,
        "launch_index": 0,
        "availability_zone": "default",
        "public_keys": public_keys,
        "meta": {},
    })
}

/// What a server's operating system writes to its serial console to say that it is up: one line that
/// nobody else's console shows. `token` is derived for the server and its deployment.
pub fn serial_marker(token: &str) -> String {
    format!("bessemer-up-{token}")
}

/// `vendor_data.json` for a system whose report is left to its cloud-init: `script` is what
/// [`crate::report::script`] gives.
///
/// A script rather than cloud-init's `phone_home` module, because the tenant's own user data would
/// override that one: then a good server would never become active.
pub fn vendor_data(script: &str) -> Value {
    json!({ "cloud-init": script })
}
