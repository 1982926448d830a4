//! Sealed secrets as a whole: finding those that are not under the newest key, and putting the same
//! secret under that one in their place.
//!
//! What is sealed begins with the id of its key (`bessemer-server`'s `keyring`), so this can be told
//! without opening anything: this crate never sees a plain secret here either.

use uuid::Uuid;

use crate::Error;
use crate::store::Store;
use crate::value::{sealed, values};

/// Where sealed secrets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedPlace {
    /// The password of a node's management controller.
    BmcPassword,
    /// The key K_g of a node's management controller.
    IpmiKey,
    /// The private key by which we show ourselves to a switch.
    SwitchKey,
    /// User name and password for an image's source.
    ImageCredentials,
    /// A server's user data.
    UserData,
}

impl SealedPlace {
    /// Every one of them.
    pub const ALL: [Self; 5] = [
        Self::BmcPassword,
        Self::IpmiKey,
        Self::SwitchKey,
        Self::ImageCredentials,
        Self::UserData,
    ];
}

/// A sealed secret, and whose it is.
pub struct SealedValue {
    /// Where it is.
    pub place: SealedPlace,
    /// The node, switch, image or server that it belongs to.
    pub id: Uuid,
    /// As it is stored.
    pub sealed: Vec<u8>,
}

/// How to find and how to replace what is in a column.
macro_rules! texts {
    ($table:literal, $column:literal) => {
        (
            concat!(
                "SELECT id, ",
                $column,
                " AS sealed FROM ",
                $table,
                " WHERE ",
                $column,
                " <> '' AND substr(",
                $column,
                ", 1, 16) <> $1 AND id > $2 ORDER BY id LIMIT $3"
            ),
            concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = $3 WHERE id = $1 AND ",
                $column,
                " = $2"
            ),
        )
    };
}

fn texts(place: SealedPlace) -> (&'static str, &'static str) {
    match place {
        SealedPlace::BmcPassword => texts!("node", "bmc_password"),
        SealedPlace::IpmiKey => texts!("node", "bmc_ipmi_key"),
        SealedPlace::SwitchKey => texts!("switch", "tls_key"),
        SealedPlace::ImageCredentials => texts!("image", "credentials"),
        SealedPlace::UserData => texts!("server", "user_data"),
    }
}

impl Store {
    /// At most `limit` secrets of this place that do not begin with `key`, which has 12 bytes; in
    /// order of their owners, of which `after` was the last one.
    pub async fn sealed_otherwise(
        &self,
        place: SealedPlace,
        key: &[u8; 12],
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<SealedValue>, Error> {
        let (find, _) = texts(place);
        let after = after.map_or_else(String::new, |after| after.to_string());
        // Twelve bytes are sixteen characters, whatever follows them.
        let rows = self
            .database()
            .rows(find, values![sealed(key), after, limit]);
        let value = |row: &crate::database::Row| {
            Ok(SealedValue {
                place,
                id: row.parsed("id")?,
                sealed: row.sealed("sealed")?,
            })
        };
        rows.await?.iter().map(value).collect()
    }

    /// Puts `anew` in the place of a secret, unless that has changed since; whether it has not.
    pub async fn seal_anew(&self, value: &SealedValue, anew: &[u8]) -> Result<bool, Error> {
        let (_, replace) = texts(value.place);
        let mut write = self.write("seal_anew").await?;
        let values = values![value.id.to_string(), sealed(&value.sealed), sealed(anew)];
        let replaced = write.execute(replace, values).await? > 0;
        write.commit_quietly().await?;
        Ok(replaced)
    }
}
