//! How many orders are placed at the same time.
//!
//! An order is a dozen questions to the database and one long transaction, and orders for the same
//! network wait for each other in it. A thousand that all go on a little at a time would all be late;
//! so a few are placed at a time, in the order of their arrival, and each begins at another free node.

use std::sync::Arc;
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
pub struct Placing(Arc<Semaphore>);

impl Default for Placing {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Placing {
    /// Waits for a turn, which lasts until the value is dropped.
    pub(super) async fn turn(&self) -> Result<Turn, Refusal> {
        match timeout(PATIENCE, self.0.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Turn {
                others: (AT_ONCE - 1 - self.0.available_permits().min(AT_ONCE - 1)) as u32,
                _place: place,
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
}

/// An order's turn to be placed.
pub(super) struct Turn {
    others: u32,
    _place: OwnedSemaphorePermit,
}

impl Turn {
    /// How many others had their turn when it began.
    pub(super) fn others(&self) -> u32 {
        self.others
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
        for others in 0..AT_ONCE {
            let turn = turn(&placing).await;
            assert_eq!(turn.others(), others as u32);
            turns.push(turn);
        }
        assert!(placing.turn().now_or_never().is_none(), "a fifth waits");
        turns.clear();
        assert_eq!(turn(&placing).await.others(), 0);
    }

    async fn turn(placing: &Placing) -> Turn {
        let Ok(turn) = placing.turn().await else {
            panic!("nobody comes too late here");
        };
        turn
    }
}
