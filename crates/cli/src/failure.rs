//! How failures are told: what is wrong, where, and what to do about it; no more.

use std::io;
use std::process::ExitCode;

use bessemer_client::Error as ClientError;
use bessemer_core::reason::Reason;
use bessemer_wire::problem::Problem;
use jiff::Timestamp;

use crate::words::until;

use crate::words::printable;

/// The exit code of a wait that a person has ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// A wait that ended otherwise than hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfinished {
    /// What was waited for has failed.
    #[error("{what} failed: {}", tell(reason, Timestamp::now()))]
    Failed {
        /// What.
        what: String,
        /// Why.
        reason: Box<Reason>,
    },
    /// Somebody did not want to wait any longer.
    #[error("{what} goes on without you; to follow it again: {again}")]
    Interrupted {
        /// What is under way.
        what: String,
        /// The command that follows it.
        again: String,
    },
}

/// Tells on standard error what went wrong; gives the exit code for it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    if let Some(interrupted @ Unfinished::Interrupted { .. }) = error.downcast_ref() {
        eprintln!("{}", printable(&interrupted.to_string()));
        return ExitCode::from(INTERRUPTED);
    }
    eprintln!("error: {}", printable(&describe(error)));
    ExitCode::FAILURE
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// The error, its innermost cause, and what to do.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let client_error = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<ClientError>());
    if let Some(ClientError::Problem(document)) = client_error {
        return problem(document);
    }
    let mut text = error.to_string();
    // What lies between says the same in more technical words.
    if error.chain().len() > 1 {
        let cause = error.root_cause().to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if let Some(ClientError::Unreachable { .. }) = client_error {
        text.push_str(
            "\nStart it with `bessemer serve`, or say where it is with --api URL or BESSEMER_API.",
        );
    }
    text
}

/// A problem document: which kind, what is wrong, which field, what to do.
fn problem(problem: &Problem) -> String {
    let Problem { title, detail, .. } = problem;
    let colon = if title.ends_with(['?', '!', '.']) {
        ""
    } else {
        ":"
    };
    let mut text = format!("{title}{colon} {detail}");
    if let Some(field) = &problem.field {
        text.push_str(&format!(" (field `{field}`)"));
    }
    if let Some(remedy) = &problem.remedy {
        text.push_str(&format!("\n{remedy}"));
    }
    // Ours to mend, not the caller's: then the server's log says more.
    if let (500.., Some(id)) = (problem.status, &problem.request_id) {
        text.push_str(&format!("\nIn the server's log this is request {id}."));
    }
    text
}

/// A reason over several lines.
pub(crate) fn tell(reason: &Reason, now: Timestamp) -> String {
    let next = reason.next.as_ref().map(|next| match reason.at {
        Some(at) => format!("{next} ({})", until(at, now)),
        None => next.clone(),
    });
    let cause = reason
        .cause
        .map(|cause| format!("{} ({})", cause.summary(), cause.code()));
    let mut text = reason.summary.clone();
    for (label, part) in [
        ("cause", &cause),
        ("expected", &reason.expected),
        ("seen", &reason.seen),
        ("next", &next),
        ("what you can do", &reason.remedy),
    ] {
        if let Some(part) = part {
            text.push_str(&format!("\n  {label}: {part}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::cause::Cause;

    #[test]
    fn a_problem_is_told_with_field_and_remedy_and_without_technicalities() {
        let problem = Problem {
            kind: "urn:bessemer:problem:conflict".into(),
            title: "That is not possible now".into(),
            status: 409,
            detail: "The MAC address is that of node `a`.".into(),
            field: Some("ports[0].mac".into()),
            remedy: Some("Use another one.".into()),
            request_id: Some("r-1".into()),
        };
        let error = anyhow::Error::new(ClientError::Problem(Box::new(problem)));
        assert_eq!(
            describe(&error),
            "That is not possible now: The MAC address is that of node `a`. (field \
             `ports[0].mac`)\nUse another one."
        );
    }

    #[test]
    fn a_failed_wait_says_what_was_expected_and_seen() {
        let reason = Reason::new("the agent did not call")
            .cause(Some(Cause::NoDhcpRequest))
            .expected_seen("a call within 300 s", "nothing")
            .remedy("look at the console");
        let error = anyhow::Error::new(Unfinished::Failed {
            what: "server web-1".into(),
            reason: Box::new(reason),
        });
        assert_eq!(
            describe(&error),
            "server web-1 failed: the agent did not call\n  cause: the machine does not ask for \
             an address (no-dhcp-request)\n  expected: a call within 300 s\n  \
             seen: nothing\n  what you can do: look at the console"
        );
    }

    #[test]
    fn the_innermost_cause_is_told_once() {
        let cause = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::new(cause)
            .context("middle")
            .context("cannot read `x`");
        assert_eq!(describe(&error), "cannot read `x`: no such file");
    }
}
