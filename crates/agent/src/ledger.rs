//! What has been commanded before, so that a repeated command is not carried out twice and an
//! overtaken one not at all.

use std::collections::VecDeque;

use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::Generation;
use bessemer_core::lifecycle::IntentKey;
use bessemer_wire::agent::{AgentStatus, Command, CommandResult};

use crate::{Error, Result};

/// Results that are remembered. The conductor asks again only for its newest command, so this is
/// generous.
const REMEMBERED: usize = 64;

/// The commands of this boot and what came of them.
#[derive(Debug)]
pub struct Ledger {
    identity: MachineIdentity,
    newest: Generation,
    reports: VecDeque<(IntentKey, AgentStatus)>,
}

impl Ledger {
    /// An empty ledger of the machine with this identity.
    pub fn new(identity: MachineIdentity) -> Self {
        Self {
            identity,
            newest: Generation::default(),
            reports: VecDeque::new(),
        }
    }

    /// The newest generation seen.
    pub fn newest(&self) -> Generation {
        self.newest
    }

    /// A generation was seen; older ones are refused from now on.
    pub fn see(&mut self, generation: Generation) {
        self.newest = self.newest.max(generation);
    }

    /// The report of a command that is over already, or is refused now; `None` for one that must be
    /// carried out. A refusal is recorded, so that it is given again.
    pub fn judge(&mut self, command: &Command) -> Option<AgentStatus> {
        if let Some((_, report)) = self.reports.iter().find(|(key, _)| *key == command.id) {
            return Some(report.clone());
        }
        if command.generation < self.newest {
            let error = Error::OldGeneration {
                found: command.generation,
                newest: self.newest,
            };
            return Some(self.record(&command.id, Err(error)));
        }
        if !command.expects.matches(&self.identity) {
            let expected = command.expects.clone();
            let error = Error::WrongMachine {
                expected,
                found: self.identity.clone(),
            };
            return Some(self.record(&command.id, Err(error)));
        }
        self.see(command.generation);
        None
    }

    /// Records what came of a command and gives the report of it.
    pub fn record(&mut self, key: &IntentKey, outcome: Result<CommandResult>) -> AgentStatus {
        let report = match outcome {
            Ok(result) => AgentStatus::Done {
                command: key.clone(),
                result,
            },
            Err(error) => AgentStatus::Failed {
                command: key.clone(),
                failure: error.failure(),
            },
        };
        self.reports.push_back((key.clone(), report.clone()));
        if self.reports.len() > REMEMBERED {
            self.reports.pop_front();
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::reason::FailureClass;
    use bessemer_wire::agent::Work;

    fn ledger() -> Ledger {
        Ledger::new(MachineIdentity {
            serial: "S1".into(),
            uuid: None,
        })
    }

    fn command(id: &str, generation: u64) -> Command {
        Command {
            id: IntentKey(id.into()),
            generation: Generation(generation),
            expects: MachineIdentity {
                serial: "S1".into(),
                uuid: None,
            },
            work: Work::Inspect,
        }
    }

    fn failure(verdict: Option<AgentStatus>) -> (FailureClass, String) {
        match verdict {
            Some(AgentStatus::Failed { failure, .. }) => (failure.class, failure.message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeated_command_gives_its_recorded_result() {
        let mut ledger = ledger();
        assert_eq!(ledger.judge(&command("a", 1)), None);
        let report = ledger.record(&IntentKey("a".into()), Ok(CommandResult::Nothing));
        assert_eq!(ledger.judge(&command("a", 1)), Some(report.clone()));
        // Even when a newer generation has come in between: it has happened.
        assert_eq!(ledger.judge(&command("b", 2)), None);
        assert_eq!(ledger.judge(&command("a", 1)), Some(report));
    }

    #[test]
    fn an_older_generation_is_refused_for_good() {
        let mut ledger = ledger();
        ledger.see(Generation(5));
        for _ in 0..2 {
            let (class, message) = failure(ledger.judge(&command("a", 3)));
            assert_eq!(class, FailureClass::Permanent);
            assert_eq!(message, "refused: generation 3 is older than 5");
        }
        assert_eq!(ledger.judge(&command("b", 5)), None);
    }

    #[test]
    fn a_command_for_another_machine_is_refused_and_its_generation_not_believed() {
        let mut ledger = ledger();
        let mut other = command("a", 9);
        other.expects.serial = "S2".into();
        let (class, message) = failure(ledger.judge(&other));
        assert_eq!(class, FailureClass::Permanent);
        assert!(
            message.contains("serial S2") && message.contains("serial S1"),
            "{message}"
        );
        assert_eq!(ledger.newest(), Generation(0));
    }

    #[test]
    fn the_ledger_stays_small() {
        let mut ledger = ledger();
        for number in 0..1000 {
            let command = command(&number.to_string(), 1);
            assert_eq!(ledger.judge(&command), None);
            ledger.record(&command.id, Ok(CommandResult::Nothing));
        }
        assert_eq!(ledger.reports.len(), REMEMBERED);
    }
}
