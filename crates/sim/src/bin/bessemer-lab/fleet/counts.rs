//! How many nodes a server has in which phase, read from what it tells Prometheus: for a large fleet,
//! that is a thousandth of what a list of its nodes would cost the server.

use std::collections::BTreeMap;

/// Nodes by phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Reads the lines `bessemer_nodes{phase="…"} N` of Prometheus's text format 0.0.4.
    pub(super) fn read(text: &str) -> Self {
        let line = |line: &str| {
            let rest = line.strip_prefix("bessemer_nodes{phase=\"")?;
            let (phase, count) = rest.split_once("\"} ")?;
            Some((phase.to_owned(), count.trim().parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// How many are in this phase.
    pub(super) fn of(&self, phase: &str) -> u64 {
        self.0.get(phase).copied().unwrap_or_default()
    }

    /// Phases with nodes in them.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (&str, u64)> {
        let all = self.0.iter().map(|(phase, count)| (phase.as_str(), *count));
        all.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_and_the_rest_is_left() {
        let counts = Counts::read(
            "# TYPE bessemer_nodes gauge\nbessemer_nodes{phase=\"available\"} 98\n\
             bessemer_nodes{phase=\"failed\"} 0\nbessemer_nodes{phase=\"x\"} many\nbessemer_servers 7\n",
        );
        assert_eq!(counts.of("available"), 98);
        assert_eq!(counts.of("cleaning"), 0);
        assert_eq!(counts.occupied().collect::<Vec<_>>(), [("available", 98)]);
    }
}
