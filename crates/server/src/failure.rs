//! What went wrong with the store, as what happened to an attempt. BMCs and switches say it of
//! themselves (`bessemer_bmc::Error::failure`, `bessemer_fabric::Error::failure`).

use bessemer_core::cause::Cause;
use bessemer_core::reason::Failure;

/// What the store cannot do at this moment it may in the next.
pub(crate) fn store_failure(error: bessemer_store::Error) -> Failure {
    Failure::transient(Cause::DatabaseUnavailable, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessemer_core::reason::FailureClass;

    #[test]
    fn what_the_store_cannot_do_may_pass() {
        let error = bessemer_store::Error::Corrupt {
            what: "state",
            message: "no JSON".into(),
        };
        let failure = store_failure(error);
        assert_eq!(failure.class, FailureClass::Transient);
        assert_eq!(failure.cause.unwrap().code(), "database-unavailable");
    }
}
