//! How many orders are placed at the same time.
//!
//! An order is a dozen questions to the database and one long transaction, and orders for the same
//! network wait for each other in it. A thousand that all go on a little at a time would all be late;
//! so a few are placed at a time, in the order of their arrival, and each looks at other free nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::problem::{Kind, Refusal};

/// Orders that one server places at the same time.
const AT_ONCE: usize = 4;

/// The longest wait for a turn: by then most clients have given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lets orders in.
#[derive(Clone)]
pub struct Placing(Arc<Places>);

struct Places {
    free: Arc<Semaphore>,
    /// A bit for each place that is taken.
    taken: AtomicU64,
}

impl Default for Placing {
    fn default() -> Self {
        Self(Arc::new(Places {
            free: Arc::new(Semaphore::new(AT_ONCE)),
            taken: AtomicU64::new(0),
        }))
    }
}

impl Placing {
    /// Waits for a turn, which lasts until the value is dropped.
    pub(super) async fn turn(&self) -> Result<Turn, Refusal> {
        match timeout(PATIENCE, self.0.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn {
                place: self.take_lowest(),
                placing: self.clone(),
                _permit: permit,
            }),
            Ok(Err(_)) | Err(_) => Err(Refusal::new(
                Kind::Unavailable,
                format!(
                    "So many orders are being placed that this one had no turn within {} s.",
                    PATIENCE.as_secs()
                ),
            )
            .remedy("Order again in a minute, under the same Idempotency-Key.")),
        }
    }

    /// Who has a permit finds a place.
    fn take_lowest(&self) -> u32 {
        let taken = &self.0.taken;
        let take = |taken: u64| Some(taken | (1 << taken.trailing_ones()));
        let before = taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        before.unwrap_or_else(|before| before).trailing_ones()
    }
}

/// An order's turn to be placed.
pub(super) struct Turn {
    place: u32,
    placing: Placing,
    /// Given back after the place.
    _permit: OwnedSemaphorePermit,
}

impl Turn {
    /// Which of the places it has: the lowest that was free. Orders that are placed at the same time have
    /// different ones.
    pub(super) fn place(&self) -> u32 {
        self.place
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let place = 1 << self.place;
        self.placing.0.taken.fetch_and(!place, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_comes_alone_begins_at_the_first_and_who_is_too_many_waits() {
        let placing = Placing::default();
        let mut turns = Vec::new();
        for place in 0..AT_ONCE {
            let turn = turn(&placing).await;
            assert_eq!(turn.place(), place as u32);
            turns.push(turn);
        }
        assert!(placing.turn().now_or_never().is_none(), "a fifth waits");
        turns.remove(1);
        let next = turn(&placing).await;
        assert_eq!(next.place(), 1, "no two have the same");
        drop((turns, next));
        assert_eq!(turn(&placing).await.place(), 0);
    }

    async fn turn(placing: &Placing) -> Turn {
        let Ok(turn) = placing.turn().await else {
            panic!("nobody comes too late here");
        };
        turn
    }
}
