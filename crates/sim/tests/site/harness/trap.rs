//! Kills a server at a commit of one's choice, or has it panic there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bessemer_store::{Gate, GatePoint};
use tokio::sync::watch;

/// Panics at every commit of this name while `broken`.
pub(crate) fn panics_at(name: &'static str, broken: &Arc<AtomicBool>) -> Gate {
    let broken = broken.clone();
    Arc::new(move |point| {
        let panics = point.name == name && broken.load(Ordering::SeqCst);
        assert!(!panics, "planted");
        true
    })
}

/// Counts commit points once it is set, and stops the server at one of them.
#[derive(Clone, Default)]
pub(crate) struct Trap(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How many more points may be passed; not counted while there is none.
    left: Mutex<Option<usize>>,
    struck: watch::Sender<Option<GatePoint>>,
}

impl Trap {
    /// What a server that is to be caught is started with.
    pub(crate) fn gate(&self) -> Gate {
        let inner = self.0.clone();
        let dead = AtomicBool::new(false);
        Arc::new(move |point| {
            // Dead for good: what it was doing besides must not be committed either.
            !dead.load(Ordering::SeqCst)
                && (inner.lets_pass(point) || {
                    dead.store(true, Ordering::SeqCst);
                    false
                })
        })
    }

    /// The server dies after so many more points, if it is to die.
    pub(crate) fn set(&self, points: Option<usize>) {
        self.0.struck.send_replace(None);
        *self.0.left.lock().unwrap() = points;
    }

    /// Lets servers live from now on; where the last one died, if it did.
    pub(crate) fn disarm(&self) -> Option<GatePoint> {
        let mut left = self.0.left.lock().unwrap();
        *left = None;
        *self.0.struck.borrow()
    }

    /// Waits until it has struck.
    pub(crate) async fn struck(&self) {
        let mut struck = self.0.struck.subscribe();
        // The sender lives as long as this trap.
        let _ = struck.wait_for(Option::is_some).await;
    }
}

impl Inner {
    fn lets_pass(&self, point: GatePoint) -> bool {
        let mut left = self.left.lock().unwrap();
        match left.take() {
            None => true,
            Some(0) => {
                self.struck.send_replace(Some(point));
                false
            }
            Some(more) => {
                *left = Some(more - 1);
                true
            }
        }
    }
}
