//! What the agent has been told to do and what became of it: the same command again is answered
//! again and not carried out again; one of an older generation, or for another machine, is refused.

use std::collections::HashMap;

use bessemer_core::cause::Cause;
use bessemer_core::hardware::MachineIdentity;
use bessemer_core::id::Generation;
use bessemer_core::lifecycle::IntentKey;
use bessemer_core::reason::Failure;
use bessemer_wire::agent::{AgentStatus, Command};

pub(super) struct Ledger {
    machine: MachineIdentity,
    newest: Generation,
    told: HashMap<IntentKey, AgentStatus>,
}

impl Ledger {
    /// An empty ledger of this machine's agent, which knows of no generation before `newest`.
    pub(super) fn new(machine: MachineIdentity, newest: Generation) -> Self {
        Self {
            machine,
            newest,
            told: HashMap::new(),
        }
    }

    /// What to answer without doing anything; `None` if the command is to be carried out.
    pub(super) fn answer(&mut self, command: &Command) -> Option<AgentStatus> {
        if let Some(status) = self.told.get(&command.id) {
            return Some(status.clone());
        }
        let refusal = if command.generation < self.newest {
            format!(
                "generation {} is over: {} has been seen",
                command.generation, self.newest
            )
        } else if !command.expects.matches(&self.machine) {
            format!("meant for {}, this is {}", command.expects, self.machine)
        } else {
            self.newest = command.generation;
            return None;
        };
        Some(AgentStatus::Failed {
            command: command.id.clone(),
            failure: Failure::permanent(Cause::AgentFailed, refusal),
        })
    }

    /// Notes what became of a command.
    pub(super) fn record(&mut self, command: &Command, status: AgentStatus) -> AgentStatus {
        self.told.insert(command.id.clone(), status.clone());
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_wire::agent::{CommandResult, Work};

    fn machine(serial: &str) -> MachineIdentity {
        MachineIdentity {
            serial: serial.into(),
            uuid: None,
        }
    }

    fn command(id: &str, generation: u64, serial: &str) -> Command {
        Command {
            id: IntentKey(id.into()),
            generation: Generation(generation),
            expects: machine(serial),
            work: Work::Erase,
        }
    }

    #[test]
    fn nothing_is_done_twice_too_late_or_elsewhere() {
        let mut ledger = Ledger::new(machine("A"), Generation(2));
        let first = command("first", 3, "A");
        assert_eq!(ledger.answer(&first), None);
        let done = AgentStatus::Done {
            command: first.id.clone(),
            result: CommandResult::Nothing,
        };
        ledger.record(&first, done.clone());
        assert_eq!(ledger.answer(&first), Some(done));
        for refused in [command("old", 2, "A"), command("other", 3, "B")] {
            assert!(matches!(
                ledger.answer(&refused),
                Some(AgentStatus::Failed { .. })
            ));
        }
    }
}
