//! Where the time of a run went.

use std::time::{Duration, Instant};

/// Where the time of a run went.
pub(crate) struct Clock {
    pub(crate) trained: Duration,
    /// Time in which there was no batch.
    pub(super) waited: Duration,
    /// Time in which training stood still for a record.
    pub(super) saving: Duration,
    /// When the last record was saved.
    pub(super) saved: Instant,
}

impl Clock {
    /// The clock of a run that was trained for so long before.
    pub(crate) fn after(trained: Duration) -> Self {
        Self {
            trained,
            waited: Duration::ZERO,
            saving: Duration::ZERO,
            saved: Instant::now(),
        }
    }
}
