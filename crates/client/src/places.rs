//! Sites, racks and switches: operators only.

use bessemer_wire::api::{
    Rack, RackCreate, RackUpdate, Site, SiteCreate, SiteUpdate, Switch, SwitchCreate, SwitchPort,
    SwitchUpdate,
};

use crate::networks::{Query, whole};
use crate::{Client, Document, Error};

/// `site`, `rack` and `switch` are names or ids throughout. `query` narrows and sorts a list, as the
/// API's document says.
impl Client {
    /// Makes a site (`POST /v1/sites`).
    ///
    /// # Errors
    /// When it is refused, such as for a name that is taken.
    pub async fn create_site(&self, site: &SiteCreate) -> Result<Document<Site>, Error> {
        self.post(&["sites"], site).await
    }

    /// All sites.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn sites(&self, query: &Query<'_>) -> Result<Vec<Document<Site>>, Error> {
        self.list(&["sites"], &whole(query)).await
    }

    /// One site.
    ///
    /// # Errors
    /// When there is no such site.
    pub async fn site(&self, site: &str) -> Result<Document<Site>, Error> {
        self.get(&["sites", site]).await
    }

    /// Changes a site (`PATCH /v1/sites/{site}`).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn update_site(
        &self,
        site: &str,
        update: &SiteUpdate,
    ) -> Result<Document<Site>, Error> {
        self.patch(&["sites", site], update).await
    }

    /// Deletes a site.
    ///
    /// # Errors
    /// When it is refused, such as while a rack is in it.
    pub async fn delete_site(&self, site: &str) -> Result<(), Error> {
        self.delete(&["sites", site]).await
    }

    /// Makes a rack (`POST /v1/racks`).
    ///
    /// # Errors
    /// When it is refused, such as for a name that is taken.
    pub async fn create_rack(&self, rack: &RackCreate) -> Result<Document<Rack>, Error> {
        self.post(&["racks"], rack).await
    }

    /// All racks.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn racks(&self, query: &Query<'_>) -> Result<Vec<Document<Rack>>, Error> {
        self.list(&["racks"], &whole(query)).await
    }

    /// One rack.
    ///
    /// # Errors
    /// When there is no such rack.
    pub async fn rack(&self, rack: &str) -> Result<Document<Rack>, Error> {
        self.get(&["racks", rack]).await
    }

    /// Changes a rack (`PATCH /v1/racks/{rack}`).
    ///
    /// # Errors
    /// When it is refused.
    pub async fn update_rack(
        &self,
        rack: &str,
        update: &RackUpdate,
    ) -> Result<Document<Rack>, Error> {
        self.patch(&["racks", rack], update).await
    }

    /// Deletes a rack.
    ///
    /// # Errors
    /// When it is refused, such as while a switch is in it.
    pub async fn delete_rack(&self, rack: &str) -> Result<(), Error> {
        self.delete(&["racks", rack]).await
    }

    /// Makes a switch (`POST /v1/switches`).
    ///
    /// # Errors
    /// When it is refused, such as for an address that its driver does not understand.
    pub async fn create_switch(&self, switch: &SwitchCreate) -> Result<Document<Switch>, Error> {
        self.post(&["switches"], switch).await
    }

    /// All switches.
    ///
    /// # Errors
    /// When the API does not answer with them.
    pub async fn switches(&self, query: &Query<'_>) -> Result<Vec<Document<Switch>>, Error> {
        self.list(&["switches"], &whole(query)).await
    }

    /// One switch.
    ///
    /// # Errors
    /// When there is no such switch.
    pub async fn switch(&self, switch: &str) -> Result<Document<Switch>, Error> {
        self.get(&["switches", switch]).await
    }

    /// Changes a switch (`PATCH /v1/switches/{switch}`).
    ///
    /// # Errors
    /// When it is refused, such as when a network has one of its VLANs.
    pub async fn update_switch(
        &self,
        switch: &str,
        update: &SwitchUpdate,
    ) -> Result<Document<Switch>, Error> {
        self.patch(&["switches", switch], update).await
    }

    /// Deletes a switch.
    ///
    /// # Errors
    /// When it is refused, such as while a node is cabled to it.
    pub async fn delete_switch(&self, switch: &str) -> Result<(), Error> {
        self.delete(&["switches", switch]).await
    }

    /// The ports of a switch that nodes are cabled to; with `read`, as the switch has them now.
    ///
    /// # Errors
    /// When the API does not answer with them, or the switch does not.
    pub async fn switch_ports(
        &self,
        switch: &str,
        read: bool,
    ) -> Result<Vec<Document<SwitchPort>>, Error> {
        let read = if read { "true" } else { "false" };
        self.list(&["switches", switch, "ports"], &[("read", read)])
            .await
    }
}
