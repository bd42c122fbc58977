//! What happens with one client, from accept to close: [`Session`].
//!
//! A session owns its client's connection, the **backend** that the listener's role gives it, and the
//! two pipes between them:
//!
//! ```text
//!            up                        up                       up
//!   client ──────► upstream   client ──────► framer    client ──────┐        client     file
//!          ◄──────                   ◄──────                  ◄─────┘               ◄──────
//!           down                      down               (echo: itself)              down
//! ```
//!
//! It joins sources to sinks and knows when the exchange is over; the bytes pass through the pipes,
//! not through here. Core owns it, tells it of events and calls [`step`](Session::step) when it is
//! its turn. It registers, receives and sends nothing itself, and it never sees another session.

pub mod closing;
mod opening;

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::reverse::Framer;
use super::spare::Spare;
use crate::config::{Config, Limits};
use crate::disk::file::{File, PublicFolder};
use crate::flow::{Pipe, Resources, Sink, Source};
use crate::network::connection::Connection;
use crate::network::socket::Readiness;
use crate::network::upstream::Attempt;

/// How many reads and writes per pipe one step takes while there is something to move. More would
/// make others wait longer, fewer would make bulk pay for more turns.
const ROUNDS: usize = 4;
/// And how many bytes, in and out: a kernel pipe takes much at once.
const STEP: usize = 1024 * 1024;

/// What all sessions of a core share.
pub struct Shared {
    pub config: Arc<Config>,
    /// Present if a role sends files.
    pub public: Option<PublicFolder>,
    pub spare: Spare,
    pub resources: Resources,
    /// The server has been told to end.
    pub ending: bool,
}

/// The other end, as seen from the client.
enum Backend {
    Echo,
    Connecting(Attempt),
    Upstream(Connection),
    File(File),
    Framer(Box<Framer>),
    /// There was none to be had.
    Unavailable,
}

/// Which socket of a session an event is about.
#[derive(Clone, Copy)]
pub enum End {
    Client,
    Upstream,
}

/// What core has to do after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, until there is an event or the deadline has come.
    Wait,
    /// Give it another turn: it has work left.
    Again,
    /// Register the backend's new socket, and give it another turn.
    Register,
    /// Destroy it at the end of the turn: it is over.
    Destroy,
}

/// See the [module](self).
pub struct Session {
    client: Connection,
    backend: Backend,
    /// From the client to the backend. An echo has only this one.
    up: Pipe,
    /// From the backend to the client.
    down: Pipe,
    /// Index of the service whose listener accepted the client.
    service: u16,
    /// For core: it has a place in the queue.
    pub queued: bool,
    /// For core: the timer that is set.
    pub timer: Option<Instant>,
    last_moved: Instant,
    /// What the kernel had not delivered when it was last asked.
    undelivered: u64,
    /// Both directions are over: how long the ends are waited for, and when to see whether they
    /// still have to be.
    linger_until: Option<Instant>,
    look_again: Option<Instant>,
}

impl Session {
    /// The backend's socket, for core to register.
    pub fn upstream_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.backend {
            Backend::Connecting(attempt) => Some(attempt.as_fd()),
            Backend::Upstream(server) => Some(server.as_fd()),
            _ => None,
        }
    }

    /// The client's socket, for core to register.
    pub fn client_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    /// Takes in an event. What it means comes to light in the next step.
    pub fn notice(&mut self, end: End, seen: Readiness) {
        match (end, &mut self.backend) {
            (End::Client, _) => self.client.notice(seen),
            (End::Upstream, Backend::Connecting(attempt)) => attempt.notice(seen),
            (End::Upstream, Backend::Upstream(server)) => server.notice(seen),
            (End::Upstream, _) => {} // it has just been given up
        }
    }

    /// Moves what can be moved, within bounds, and finds out what is over. A timer only leads here:
    /// it is the step that looks at the clock.
    pub fn step(&mut self, shared: &mut Shared) -> Next {
        let new_socket = self.settle_attempt(shared);
        if self.move_bytes(&mut shared.resources) {
            self.last_moved = shared.resources.now;
        }
        if self.one_direction_failed() {
            self.after_failure(shared);
        }
        self.cut_if_idle(shared);
        if self.is_over() {
            self.linger(shared)
        } else if new_socket {
            Next::Register
        } else if self.has_work() {
            Next::Again
        } else {
            Next::Wait
        }
    }

    fn move_bytes(&mut self, resources: &mut Resources) -> bool {
        let mut moved = 0;
        for _ in 0..ROUNDS {
            let count = self.move_some(resources);
            moved += count;
            if count == 0 || moved >= STEP {
                break;
            }
        }
        moved > 0
    }

    /// At most one read and what it takes to write it, per pipe.
    fn move_some(&mut self, resources: &mut Resources) -> usize {
        let (client, up, down) = (&mut self.client, &mut self.up, &mut self.down);
        match &mut self.backend {
            Backend::Echo => up.fill(client, resources) + up.drain(client, resources),
            Backend::Upstream(server) => {
                flow(client, up, server, resources) + flow(server, down, client, resources)
            }
            Backend::Framer(framer) => {
                let framer = &mut **framer;
                flow(client, up, framer, resources) + flow(framer, down, client, resources)
            }
            Backend::File(file) => flow(file, down, client, resources),
            // What the client sends meanwhile waits in the pipe, up to its threshold.
            Backend::Connecting(_) => up.fill(client, resources) + down.drain(client, resources),
            Backend::Unavailable => down.drain(client, resources),
        }
    }

    /// Whether a step would do anything. The same pipes and ends as in `move_some`.
    pub fn has_work(&self) -> bool {
        let (client, up, down) = (&self.client, &self.up, &self.down);
        let moves = match &self.backend {
            Backend::Echo => can_flow(client, up, client),
            Backend::Upstream(server) => {
                can_flow(client, up, server) || can_flow(server, down, client)
            }
            Backend::Framer(framer) => {
                can_flow(client, up, &**framer) || can_flow(&**framer, down, client)
            }
            Backend::File(file) => can_flow(file, down, client),
            Backend::Connecting(attempt) => {
                attempt.is_decided() || up.can_fill(client) || down.can_drain(client)
            }
            Backend::Unavailable => down.can_drain(client),
        };
        moves || self.one_direction_failed() && self.has_input_to_discard()
    }

    /// Whether both directions are over.
    fn is_over(&self) -> bool {
        self.up.settled() && self.down.settled()
    }

    /// Whether one direction has failed, and the other one is not over.
    fn one_direction_failed(&self) -> bool {
        !self.is_over() && (self.up.failed() || self.down.failed())
    }
}

// ---- its clock ---------------------------------------------------------------------------------

impl Session {
    /// When to look at the clock, even if nothing happens.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match &self.backend {
            Backend::Connecting(attempt) => Some(attempt.deadline()),
            _ => self.look_again.or_else(|| self.idle_at(limits)),
        }
    }

    /// When the idle timeout is over. An attempt to connect has a timeout of its own.
    fn idle_at(&self, limits: &Limits) -> Option<Instant> {
        match &self.backend {
            Backend::Connecting(_) => None,
            _ => limits.idle.map(|idle| self.last_moved + idle),
        }
    }

    fn cut_if_idle(&mut self, shared: &mut Shared) {
        if !self.is_over()
            && let Some(at) = self.idle_at(&shared.config.limits)
            && self.has_stalled(at, shared.resources.now)
        {
            self.cut(&mut shared.resources);
            let text = "a client is cut off: nothing has moved for --idle-timeout";
            shared.resources.warn(text.to_owned());
        }
    }

    /// Whether it is `at` or later, and still nothing has moved.
    fn has_stalled(&mut self, at: Instant, now: Instant) -> bool {
        if at > now {
            return false;
        }
        let moved = self.more_was_delivered();
        if moved {
            self.last_moved = now;
        }
        !moved
    }

    /// Bytes that the kernel holds go out without a word to us, megabytes of them: only to ask it now
    /// and then shows that. Whether some have, since this was asked last.
    fn more_was_delivered(&mut self) -> bool {
        let left = match &self.backend {
            Backend::Upstream(server) => self.client.undelivered() + server.undelivered(),
            _ => self.client.undelivered(),
        };
        mem::replace(&mut self.undelivered, left) != left
    }
}

fn flow(
    source: &mut impl Source,
    pipe: &mut Pipe,
    sink: &mut impl Sink,
    resources: &mut Resources,
) -> usize {
    let over = pipe.settled();
    let moved = pipe.fill(source, resources) + pipe.drain(sink, resources);
    if !over && pipe.failed() {
        source.stop(resources);
        if !sink.gone() {
            sink.break_off(); // it is the source that failed
        }
    }
    moved
}

fn can_flow(source: &impl Source, pipe: &Pipe, sink: &impl Sink) -> bool {
    pipe.can_fill(source) || pipe.can_drain(sink)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_client_costs_little() {
        let size = size_of::<Session>();
        assert!(size <= 240, "{size} bytes");
    }
}
