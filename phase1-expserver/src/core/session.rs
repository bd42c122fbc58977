//! One client, from accept to close: [`Session`].
//!
//! A session owns the connection to its client, the **backend** that its role asks for, and the two
//! pipes between them:
//!
//! ```text
//!            up                        up                       up
//!   client ──────► upstream   client ──────► framer    client ──────┐        client     file
//!          ◄──────                   ◄──────                  ◄─────┘               ◄──────
//!           down                      down               (echo: itself)              down
//! ```
//!
//! The session connects sources to sinks and knows when the exchange is over. The bytes go through
//! the pipes, not through this file. Core owns the sessions. It passes events to a session, and
//! calls [`step`](Session::step) while the session is in the queue. A session registers no
//! descriptor, calls neither recv nor send, and never sees another session.

pub mod closing;
mod opening;
mod waiting;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use super::reverse::Framer;
use super::spare::Spare;
use crate::config::Config;
use crate::disk::file::{File, PublicFolder};
use crate::flow::{Pipe, Resources, Sink, Source};
use crate::network::connection::Connection;
use crate::network::socket::Readiness;
use crate::network::upstream::Attempt;

/// How many times one step reads and writes per pipe, while there is something to move. If it is
/// larger, other sessions wait longer. If it is smaller, bulk transfers need more turns.
const ROUNDS: usize = 4;
/// The same limit in bytes, because a kernel pipe moves many bytes at once. A byte counts when it
/// is read, and again when it is written.
const STEP: usize = 1024 * 1024;

/// What all sessions of a core share.
pub struct Shared {
    pub config: Arc<Config>,
    /// `Some` if a role sends files.
    pub public: Option<PublicFolder>,
    pub spare: Spare,
    pub resources: Resources,
    /// The first signal has arrived: the server is draining.
    pub ending: bool,
}

/// What the client exchanges bytes with.
enum Backend {
    /// Nothing: the client gets its own bytes back.
    Echo,
    /// An upstream that is not connected yet.
    Connecting(Attempt),
    Upstream(Connection),
    File(File),
    Framer(Box<Framer>),
    /// The upstream cannot be reached, or the file cannot be opened.
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
    /// Nothing, until there is an event or the deadline is reached.
    Wait,
    /// Queue the session for the next turn: it has work left.
    Again,
    /// Register the new socket of its upstream, and queue the session if it has work left.
    Register,
    /// Destroy the session at the end of the turn: it is over.
    Destroy,
}

/// See the [module](self).
pub struct Session {
    client: Connection,
    backend: Backend,
    /// From the client to the backend. An echo uses only this one.
    up: Pipe,
    /// From the backend to the client.
    down: Pipe,
    /// Index of the service whose listener accepted the client.
    service: u16,
    /// For core: whether this session is in the queue.
    pub queued: bool,
    /// For core: the timer that is set for this session.
    pub timer: Option<Instant>,
    last_moved: Instant,
    /// How many bytes the kernel had not delivered when it was last asked.
    undelivered: u64,
    /// Set when both directions are over: the latest time at which the sockets are closed.
    linger_until: Option<Instant>,
    /// When to ask the kernel next: whether these sockets are still needed, or whether the bytes
    /// that the pipes hold can go on.
    look_again: Option<Instant>,
}

impl Session {
    /// The socket of the connection to the upstream, for core to register.
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

    /// Takes note of an event. The next step finds out what it means.
    pub fn notice(&mut self, end: End, seen: Readiness) {
        match (end, &mut self.backend) {
            (End::Client, _) => self.client.notice(seen),
            (End::Upstream, Backend::Connecting(attempt)) => attempt.notice(seen),
            (End::Upstream, Backend::Upstream(server)) => server.notice(seen),
            (End::Upstream, _) => {} // the upstream was given up in this turn
        }
    }

    /// Moves bytes, up to a limit, and finds out what is over. A timer only causes a step. The step
    /// itself checks which time is over.
    pub fn step(&mut self, shared: &mut Shared) -> Next {
        let new_socket = self.settle_attempt(shared);
        if self.move_bytes(&mut shared.resources) {
            self.last_moved = shared.resources.now;
        }
        if self.one_direction_failed() {
            self.after_failure(shared);
        }
        self.cut_if_idle(shared);
        self.ask_about_what_is_held(&mut shared.resources);
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

    /// Per pipe, at most one read and the writes that it needs. Returns the number of bytes moved.
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
            // Meanwhile the client's bytes wait in the pipe, up to its threshold.
            Backend::Connecting(_) => up.fill(client, resources) + down.drain(client, resources),
            Backend::Unavailable => down.drain(client, resources),
        }
    }

    /// Whether a step would do anything. Each pipe has the same source and sink as in `move_some`.
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
            sink.break_off(); // the source has failed, not the sink
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
        assert!(size <= 256, "{size} bytes");
    }
}
