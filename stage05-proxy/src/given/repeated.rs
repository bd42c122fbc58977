//! Logs a warning that may come 20,000 times a second. The first one is logged immediately.
//! After that there is at most one log line a second, which says how many times the warning
//! has come.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

const INTERVAL: Duration = Duration::from_secs(1);

/// One kind of warning. The lock is there because a server may have several threads.
#[derive(Default)]
pub struct Repeated(Mutex<State>);

#[derive(Default)]
struct State {
    text: String,
    /// How many times it came since it was last logged.
    pending: usize,
    not_before: Option<Instant>,
}

impl Repeated {
    /// Logs the warning, or counts it if it was logged less than a second ago.
    pub fn warn(&self, text: impl FnOnce() -> String) {
        let mut state = self.lock();
        if state.pending == 0 {
            state.text = text();
        }
        state.pending += 1;
        state.flush();
    }

    /// Logs the count, if a second has passed since the last log line. Without this call, the
    /// count is logged together with the next warning.
    pub fn flush(&self) {
        self.lock().flush();
    }

    /// When to call [`Repeated::flush`], if there is anything to log.
    pub fn due(&self) -> Option<Instant> {
        self.lock().due()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When to log what is pending: now, if the warning has never been logged.
    fn due(&self) -> Option<Instant> {
        (self.pending > 0).then(|| self.not_before.unwrap_or_else(Instant::now))
    }

    fn flush(&mut self) {
        if self.due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        match self.pending {
            1 => warn!("{}", self.text),
            times => warn!("{} ({times} times)", self.text),
        }
        self.pending = 0;
        self.not_before = Some(Instant::now() + INTERVAL);
    }
}
