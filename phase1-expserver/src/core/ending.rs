//! How a core ends. After the first signal it finishes the exchanges under way, up to a time limit.
//! After the second signal it ends immediately.

use log::{info, warn};

use super::admission::ACCEPTS;
use super::token::{Kind, Token};
use super::{Core, Ended, Phase};
use crate::vec::XpsVec;
use crate::vec::slots::Slots;

impl Core {
    /// Signals have arrived. The first one begins an orderly end, the second one forces the end.
    pub(super) fn begin_to_end(&mut self) {
        for _ in 0..self.events.signals() {
            match self.phase {
                Phase::Serving => self.begin_drain(),
                _ => self.phase = Phase::Forced,
            }
        }
    }

    fn begin_drain(&mut self) {
        self.accept_the_last();
        info!("Stopping ({} connected)", clients(self.sessions.len()));
        self.phase = Phase::Draining;
        self.shared.ending = true;
        self.listeners = Slots::new();
        let until = self.shared.resources.now + self.shared.config.limits.drain;
        self.events.arm(until, Token::plain(Kind::DrainOver));
        let mut keys = XpsVec::new();
        for (key, session) in self.sessions.iter_mut() {
            session.last_call();
            keys.push(key);
        }
        for key in keys {
            self.queue_session(key);
        }
    }

    /// Accepts the clients that are still in the listen queues. The kernel has completed their
    /// connections, and they may have sent data. Closing the listeners would reset them.
    fn accept_the_last(&mut self) {
        let listeners: XpsVec<_> = self.listeners.iter().map(|(key, _)| key).collect();
        let most = self.shared.config.limits.backlog as usize;
        for key in listeners {
            for _ in 0..=most / ACCEPTS {
                self.accept(key);
                if !self.listeners.get(key).is_some_and(|it| it.queued) {
                    break; // its queue is empty
                }
            }
        }
    }

    /// Closes all sessions now; the log gives `why` as the reason. A connection with undelivered
    /// data is reset.
    pub(super) fn cut_off(&mut self, why: &str) {
        let mut lost = 0;
        for (key, session) in self.sessions.iter_mut() {
            lost += usize::from(session.cut(&mut self.shared.resources));
            self.doomed.push(key);
        }
        if lost > 0 {
            warn!("{why}: {} cut off", clients(lost));
        }
    }

    /// Writes the last log lines. Debug builds also check that nothing has leaked.
    pub(super) fn end(mut self, ended: Ended) -> Ended {
        self.shared.resources.transcript.resume();
        self.shared.resources.warnings.flush_all();
        info!("Server has ended, clients served: {}", self.admitted);
        if ended == Ended::Clean {
            debug_assert_eq!(self.admitted, self.destroyed, "sessions");
            debug_assert!(self.sessions.is_empty(), "sessions");
            debug_assert_eq!(self.shared.resources.chunks.lent(), 0, "chunks");
            debug_assert_eq!(self.shared.resources.kernel_pipes.lent(), 0, "kernel pipes");
        }
        ended
    }
}

fn clients(count: usize) -> String {
    format!("{count} client{}", if count == 1 { "" } else { "s" })
}
