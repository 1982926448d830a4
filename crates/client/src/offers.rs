//! What servers are ordered from, besides images and networks: flavors and keys.

use bessemer_wire::api::{Flavor, FlavorCreate, KeyPair, KeyPairCreate};

use crate::{Client, Document, Error};

/// `flavor` and `key` are names or ids throughout.
impl Client {
    /// Offers a flavor (`POST /v1/flavors`).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_flavor(&self, flavor: &FlavorCreate) -> Result<Document<Flavor>, Error> {
        self.post(&["flavors"], flavor).await
    }

    /// All flavors.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn flavors(&self) -> Result<Vec<Document<Flavor>>, Error> {
        self.list(&["flavors"], &[]).await
    }

    /// One flavor.
    ///
    /// # Errors
    /// When there is no such flavor.
    pub async fn flavor(&self, flavor: &str) -> Result<Document<Flavor>, Error> {
        self.get(&["flavors", flavor]).await
    }

    /// Stops offering a flavor.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_flavor(&self, flavor: &str) -> Result<(), Error> {
        self.delete(&["flavors", flavor]).await
    }

    /// Adds an SSH public key (`POST /v1/keys`).
    ///
    /// # Errors
    /// When it is refused, such as for not being a public key.
    pub async fn create_key(&self, key: &KeyPairCreate) -> Result<Document<KeyPair>, Error> {
        self.post(&["keys"], key).await
    }

    /// All keys of the project.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn keys(&self) -> Result<Vec<Document<KeyPair>>, Error> {
        self.list(&["keys"], &[]).await
    }

    /// Deletes a key. Servers that it opens stay open to it.
    ///
    /// # Errors
    /// When there is no such key.
    pub async fn delete_key(&self, key: &str) -> Result<(), Error> {
        self.delete(&["keys", key]).await
    }
}
