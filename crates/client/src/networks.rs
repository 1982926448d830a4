//! Networks, subnets and addresses.

use std::net::IpAddr;

use bessemer_wire::api::{
    Address, AddressHistoryEntry, AddressMove, AddressReserve, Network, NetworkCreate,
    NetworkUpdate, Subnet, SubnetCreate, SubnetUpdate,
};

use crate::transport::MOST_PER_PAGE;
use crate::{Client, Document, Error};

/// Words of a query: names of parameters with their values.
pub type Query<'a> = [(&'a str, &'a str)];

/// `network` and `server` are names or ids throughout, `subnet` is an id or a CIDR. `query` narrows
/// and sorts a list, as the API's document says.
impl Client {
    /// Makes a network (`POST /v1/networks`).
    ///
    /// # Errors
    /// When it is refused, such as for a VLAN that is taken.
    pub async fn create_network(
        &self,
        network: &NetworkCreate,
    ) -> Result<Document<Network>, Error> {
        self.post(&["networks"], network).await
    }

    /// All networks that the project may use; for operators, all.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn networks(&self, query: &Query<'_>) -> Result<Vec<Document<Network>>, Error> {
        self.list(&["networks"], &whole(query)).await
    }

    /// One network.
    ///
    /// # Errors
    /// When there is no such network.
    pub async fn network(&self, network: &str) -> Result<Document<Network>, Error> {
        self.get(&["networks", network]).await
    }

    /// Changes a network (`PATCH /v1/networks/{network}`).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn update_network(
        &self,
        network: &str,
        update: &NetworkUpdate,
    ) -> Result<Document<Network>, Error> {
        self.patch(&["networks", network], update).await
    }

    /// Deletes a network.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_network(&self, network: &str) -> Result<(), Error> {
        self.delete(&["networks", network]).await
    }

    /// Adds a subnet to a network (`POST /v1/networks/{network}/subnets`).
    ///
    /// # Errors
    /// When it is refused, such as for overlapping another one.
    pub async fn create_subnet(
        &self,
        network: &str,
        subnet: &SubnetCreate,
    ) -> Result<Document<Subnet>, Error> {
        self.post(&["networks", network, "subnets"], subnet).await
    }

    /// All subnets, with their use.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn subnets(&self, query: &Query<'_>) -> Result<Vec<Document<Subnet>>, Error> {
        self.list(&["subnets"], &whole(query)).await
    }

    /// One subnet.
    ///
    /// # Errors
    /// When there is no such subnet.
    pub async fn subnet(&self, subnet: &str) -> Result<Document<Subnet>, Error> {
        self.get(&["subnets", subnet]).await
    }

    /// Changes a subnet (`PATCH /v1/subnets/{subnet}`).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn update_subnet(
        &self,
        subnet: &str,
        update: &SubnetUpdate,
    ) -> Result<Document<Subnet>, Error> {
        self.patch(&["subnets", subnet], update).await
    }

    /// Deletes a subnet.
    ///
    /// # Errors
    /// When it is in use.
    pub async fn delete_subnet(&self, subnet: &str) -> Result<(), Error> {
        self.delete(&["subnets", subnet]).await
    }

    /// All addresses of the project that are not free; for operators, of all projects.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn addresses(&self, query: &Query<'_>) -> Result<Vec<Document<Address>>, Error> {
        self.list(&["addresses"], &whole(query)).await
    }

    /// Reserves an address (`POST /v1/addresses`).
    ///
    /// # Errors
    /// When it is refused, such as for being taken.
    pub async fn reserve_address(
        &self,
        request: &AddressReserve,
    ) -> Result<Document<Address>, Error> {
        self.post(&["addresses"], request).await
    }

    /// One address that is not free.
    ///
    /// # Errors
    /// When it is free, or somebody else's.
    pub async fn address(
        &self,
        network: &str,
        address: IpAddr,
    ) -> Result<Document<Address>, Error> {
        let address = address.to_string();
        self.get(&["networks", network, "addresses", &address])
            .await
    }

    /// Releases a reserved address.
    ///
    /// # Errors
    /// When it is not reserved.
    pub async fn release_address(&self, network: &str, address: IpAddr) -> Result<(), Error> {
        let address = address.to_string();
        self.delete(&["networks", network, "addresses", &address])
            .await
    }

    /// Moves a reserved address to a server.
    ///
    /// # Errors
    /// When it is refused, such as for a server that is not on the network.
    pub async fn move_address(
        &self,
        network: &str,
        address: IpAddr,
        server: &str,
    ) -> Result<Document<Address>, Error> {
        let address = address.to_string();
        let request = AddressMove {
            server: server.to_owned(),
        };
        let path = ["networks", network, "addresses", &address, "move"];
        self.post(&path, &request).await
    }

    /// Who had which address when, the latest first.
    ///
    /// # Errors
    /// When the API does not answer with it.
    pub async fn address_history(
        &self,
        query: &Query<'_>,
    ) -> Result<Vec<Document<AddressHistoryEntry>>, Error> {
        self.list(&["addresses", "history"], &whole(query)).await
    }
}

/// A query for a whole list, in as few pages as can be.
pub(crate) fn whole<'a>(query: &Query<'a>) -> Vec<(&'a str, &'a str)> {
    let mut whole = query.to_vec();
    whole.push(("limit", MOST_PER_PAGE));
    whole
}
