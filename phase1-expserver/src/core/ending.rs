//! How the server ends: in order when it is told once, at once when it is told again.

use log::{info, warn};

use super::admission::ACCEPTS;
use super::token::{Kind, Token};
use super::{Core, Ended, Phase};
use crate::vec::XpsVec;
use crate::vec::slots::Slots;

impl Core {
    /// Somebody wants the server to end. The first time in order, the second time at once.
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
        info!("Server ends, clients: {}", self.sessions.len());
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

    /// Those in the kernel's queue were let in by it, and may have spoken. To close the listeners
    /// would reset them.
    fn accept_the_last(&mut self) {
        let listeners: XpsVec<_> = self.listeners.iter().map(|(key, _)| key).collect();
        let most = self.shared.config.limits.backlog as usize;
        for key in listeners {
            for _ in 0..=most / ACCEPTS {
                self.accept(key);
                if !self.listeners.get(key).is_some_and(|it| it.queued) {
                    break; // nobody waits any more
                }
            }
        }
    }

    /// Ends all sessions, whatever is left. Who is owed something is reset.
    pub(super) fn cut_off(&mut self) {
        let mut lost = 0;
        for (key, session) in self.sessions.iter_mut() {
            lost += usize::from(session.cut(&mut self.shared.resources));
            self.doomed.push(key);
        }
        if lost > 0 {
            warn!("Clients cut off, for they did not end in time: {lost}");
        }
    }

    /// The last words. In debug builds it is checked that nothing was forgotten.
    pub(super) fn end(mut self, ended: Ended) -> Ended {
        self.shared.resources.transcript.flush();
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
