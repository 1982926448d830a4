//! What a server has counted, as it tells Prometheus.

use anyhow::Context;

use crate::connection::Connection;

/// All counters of one moment.
pub(crate) struct Counted(String);

impl Counted {
    /// Asks for them.
    pub(crate) async fn by(api: &mut Connection) -> anyhow::Result<Self> {
        let answer = api.get("/metrics").await?;
        Ok(Self(String::from_utf8(answer.to_vec())?))
    }

    /// The value of one, by its name with its labels.
    pub(crate) fn get(&self, name: &str) -> anyhow::Result<f64> {
        let value = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = value.with_context(|| format!("the server has no metric {name}"))?;
        Ok(value.trim().parse()?)
    }

    /// How many nodes are in this phase.
    pub(crate) fn nodes(&self, phase: &str) -> anyhow::Result<f64> {
        self.get(&format!("bessemer_nodes{{phase=\"{phase}\"}}"))
    }
}
