//! Redfish sessions (DSP0266, section "Redfish session login authentication").
//!
//! Few and mortal, as on real controllers: a client that logs in again and again without logging out
//! is locked out after [`SESSION_LIMIT`] logins, and finds that out here instead of in a data centre.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Simultaneous sessions; real controllers allow 6 to 64.
const SESSION_LIMIT: usize = 8;

#[derive(Debug)]
struct Session {
    id: String,
    token: String,
    username: String,
    expires: Instant,
}

/// What a client learns about a new session, once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewSession {
    pub(super) id: String,
    pub(super) token: String,
}

/// The sessions of one controller.
#[derive(Debug)]
pub(super) struct Sessions {
    timeout: Duration,
    open: Mutex<Vec<Session>>,
}

impl Sessions {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            open: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Opens a session, unless there are too many.
    pub(super) fn open(&self, username: &str, now: Instant) -> Option<NewSession> {
        let mut open = self.live(now);
        if open.len() >= SESSION_LIMIT {
            return None;
        }
        let new = NewSession {
            id: Uuid::new_v4().simple().to_string()[..8].to_owned(),
            token: Uuid::new_v4().simple().to_string(),
        };
        open.push(Session {
            id: new.id.clone(),
            token: new.token.clone(),
            username: username.to_owned(),
            expires: now + self.timeout,
        });
        Some(new)
    }

    /// Whether `token` belongs to a live session, which it prolongs.
    pub(super) fn accept(&self, token: &str, now: Instant) -> bool {
        let mut open = self.live(now);
        match open.iter_mut().find(|session| session.token == token) {
            Some(session) => {
                session.expires = now + self.timeout;
                true
            }
            None => false,
        }
    }

    /// Ends a session; `false` if there is none of this id.
    pub(super) fn close(&self, id: &str, now: Instant) -> bool {
        let mut open = self.live(now);
        let before = open.len();
        open.retain(|session| session.id != id);
        open.len() < before
    }

    /// Ids of the live sessions.
    pub(super) fn ids(&self, now: Instant) -> Vec<String> {
        self.live(now)
            .iter()
            .map(|session| session.id.clone())
            .collect()
    }

    /// Whose session this is.
    pub(super) fn username(&self, id: &str, now: Instant) -> Option<String> {
        let open = self.live(now);
        let session = open.iter().find(|session| session.id == id)?;
        Some(session.username.clone())
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn live(&self, now: Instant) -> MutexGuard<'_, Vec<Session>> {
        let mut open = self.lock();
        open.retain(|session| session.expires > now);
        open
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn a_session_expires_after_its_last_use() {
        let sessions = Sessions::new(TIMEOUT);
        let start = Instant::now();
        let new = sessions.open("admin", start).expect("a first session");
        assert!(sessions.accept(&new.token, start + TIMEOUT / 2));
        assert!(
            sessions.accept(&new.token, start + TIMEOUT),
            "use prolongs it"
        );
        assert!(!sessions.accept(&new.token, start + TIMEOUT * 2));
        assert_eq!(
            sessions.ids(start),
            Vec::<String>::new(),
            "an expired session is gone"
        );
    }

    #[test]
    fn sessions_are_bounded_and_expired_ones_make_room() {
        let sessions = Sessions::new(TIMEOUT);
        let start = Instant::now();
        for _ in 0..SESSION_LIMIT {
            sessions.open("admin", start).expect("below the limit");
        }
        assert_eq!(sessions.open("admin", start), None);
        assert!(sessions.open("admin", start + TIMEOUT).is_some());
    }

    #[test]
    fn a_closed_session_is_no_longer_accepted() {
        let sessions = Sessions::new(TIMEOUT);
        let now = Instant::now();
        let new = sessions.open("admin", now).expect("a first session");
        assert!(sessions.close(&new.id, now));
        assert!(!sessions.close(&new.id, now), "it can be closed once");
        assert!(!sessions.accept(&new.token, now));
    }
}
