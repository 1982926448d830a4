//! Kills a server at a commit of one's choice.

use std::sync::{Arc, Mutex};

use bessemer_store::{Gate, GatePoint};
use tokio::sync::watch;

/// Counts commit points once it is set, and stops the server at one of them.
#[derive(Clone, Default)]
pub(crate) struct Trap(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    struck: watch::Sender<Option<GatePoint>>,
}

#[derive(Default)]
struct State {
    /// How many more points may be passed; not counted while there is none.
    left: Option<usize>,
    dead: bool,
}

impl Trap {
    /// What a server that is to be caught is started with.
    pub(crate) fn gate(&self) -> Gate {
        let inner = self.0.clone();
        Arc::new(move |point| inner.lets_pass(point))
    }

    /// The server dies at the point after `points` more.
    pub(crate) fn set(&self, points: usize) {
        *self.0.state.lock().unwrap() = State {
            left: Some(points),
            dead: false,
        };
        self.0.struck.send_replace(None);
    }

    /// Lets the next server live.
    pub(crate) fn disarm(&self) {
        *self.0.state.lock().unwrap() = State::default();
    }

    /// Waits until it has struck, and tells where.
    pub(crate) async fn struck(&self) -> GatePoint {
        let mut struck = self.0.struck.subscribe();
        let point = struck.wait_for(Option::is_some).await;
        point.unwrap().expect("waited for it")
    }
}

impl Inner {
    fn lets_pass(&self, point: GatePoint) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.dead {
            return false;
        }
        match &mut state.left {
            None => true,
            Some(0) => {
                state.dead = true;
                self.struck.send_replace(Some(point));
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}
