//! What happens to a session that waits: its timers, the idle timeout, and acknowledgements that are
//! missing.

use std::mem;
use std::time::{Duration, Instant};

use log::debug;

use super::{Backend, Session, Shared};
use crate::config::Limits;
use crate::flow::Resources;

/// How often to ask the kernel whether the bytes that the pipes hold can go on.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Session {
    /// When the session needs a step, even if there is no event.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match &self.backend {
            Backend::Connecting(attempt) => Some(attempt.deadline()),
            _ if self.is_over() => self.look_again,
            _ => {
                let both = [self.look_again, self.idle_at(limits)];
                both.into_iter().flatten().min()
            }
        }
    }

    /// When the idle timeout is over. It does not apply while the upstream is being connected: the
    /// connect timeout does.
    fn idle_at(&self, limits: &Limits) -> Option<Instant> {
        match &self.backend {
            Backend::Connecting(_) => None,
            _ => limits.idle.map(|idle| self.last_moved + idle),
        }
    }

    /// Cuts off a session that has exceeded the idle timeout.
    pub(super) fn cut_if_idle(&mut self, shared: &mut Shared) {
        if !self.is_over()
            && let Some(at) = self.idle_at(&shared.config.limits)
            && self.has_stalled(at, shared.resources.now)
        {
            self.cut(&mut shared.resources);
            let text = "Idle timeout: client cut off";
            shared.resources.warn(text.to_owned());
        }
    }

    /// While a pipe holds bytes that do not go on, asks every second whether acknowledgements are
    /// missing, and then reads early.
    ///
    /// A server that waits for acknowledgements before it reads may wait for ever. When the receive
    /// buffer is full, Linux may close the receive window in front of a segment that it had
    /// announced room for. Then it refuses every later segment, and those also carry the
    /// acknowledgements of what we have sent. Only reading opens the window.
    pub(super) fn ask_about_what_is_held(&mut self, resources: &mut Resources) {
        if self.up.held() == 0 && self.down.held() == 0 {
            self.look_again = None;
            return;
        }
        let now = resources.now;
        if *self.look_again.get_or_insert(now + ASK_EVERY) > now {
            return;
        }
        self.look_again = Some(now + ASK_EVERY);
        let upstream = match &mut self.backend {
            Backend::Upstream(server) => Some(server),
            _ => None,
        };
        for end in [Some(&mut self.client), upstream].into_iter().flatten() {
            if end.is_unanswered() {
                let count = end.read_early(resources);
                debug!("Acknowledgements are missing: {count} bytes were read early");
            }
        }
    }

    /// Whether `at` has come, and the kernel has delivered nothing since the last check.
    pub(super) fn has_stalled(&mut self, at: Instant, now: Instant) -> bool {
        if at > now {
            return false;
        }
        let moved = self.more_was_delivered();
        if moved {
            self.last_moved = now;
        }
        !moved
    }

    /// Whether the kernel has delivered bytes since the last call. It may hold megabytes of ours,
    /// and it reports no event when they go out, so it has to be asked.
    pub(super) fn more_was_delivered(&mut self) -> bool {
        let left = match &self.backend {
            Backend::Upstream(server) => self.client.undelivered() + server.undelivered(),
            _ => self.client.undelivered(),
        };
        mem::replace(&mut self.undelivered, left) != left
    }
}
