//! What became of `kexec`, by model of machine and kernel.

use bessemer_wire::api::KexecOutcome;
use reqwest::Method;

use crate::transport::Call;
use crate::{Client, Document, Error};

impl Client {
    /// Everything that is remembered.
    ///
    /// # Errors
    /// When the API does not answer with it.
    pub async fn kexec_outcomes(&self) -> Result<Vec<Document<KexecOutcome>>, Error> {
        self.list(&["kexec-outcomes"], &[]).await
    }

    /// Forgets one kernel on one model, so that it is tried again.
    ///
    /// # Errors
    /// When nothing is remembered of them.
    pub async fn forget_kexec(&self, model: &str, kernel: &str) -> Result<(), Error> {
        let mut url = self.at(&["kexec-outcomes"])?;
        url.query_pairs_mut()
            .append_pair("model", model)
            .append_pair("kernel", kernel);
        self.answer(Call::new(Method::DELETE, url)).await.map(drop)
    }
}
