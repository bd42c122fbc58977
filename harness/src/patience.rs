//! How long a check waits, and at what interval it looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static PATIENCE_MS: AtomicU64 = AtomicU64::new(10_000);

/// The interval at which a check looks at a state that causes no event.
pub const LOOK: Duration = Duration::from_millis(2);

/// How long one step may take unless the check says otherwise: far more than a
/// working server needs, even on a busy machine.
pub fn patience() -> Duration {
    Duration::from_millis(PATIENCE_MS.load(Ordering::Relaxed))
}

/// Sets the patience of this process. Tests of programs that are known to be broken need
/// not wait that long.
pub fn set_patience(patience: Duration) {
    PATIENCE_MS.store(patience.as_millis() as u64, Ordering::Relaxed);
}
