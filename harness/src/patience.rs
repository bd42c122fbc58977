//! How long a check waits, and how often it looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static PATIENCE_MS: AtomicU64 = AtomicU64::new(10_000);

/// How often a condition without an event of its own is looked at.
pub const LOOK: Duration = Duration::from_millis(2);

/// How long one step may take unless the check says otherwise: far more than any
/// living server needs, also on a busy machine.
pub fn patience() -> Duration {
    Duration::from_millis(PATIENCE_MS.load(Ordering::Relaxed))
}

/// Sets the patience of this process: for programs that are known to be broken there
/// is no need to wait that long.
pub fn set_patience(patience: Duration) {
    PATIENCE_MS.store(patience.as_millis() as u64, Ordering::Relaxed);
}
