//! What happens with one client, from accept to close: [`Session`].
//!
//! A session owns its client's connection, the **peer** that the listener's role gives it, and the
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
use std::time::{Duration, Instant};

use log::debug;

use super::reverse::Framer;
use super::spare::Spare;
use crate::config::Config;
use crate::disk::file::{File, PublicFolder};
use crate::flow::{Pipe, Sink, Source, State, Tools};
use crate::network::connection::Connection;
use crate::network::socket::Readiness;
use crate::network::upstream::Attempt;

/// How many reads and writes per pipe one step takes while there is something to move. More would
/// make others wait longer, fewer would make bulk pay for more turns.
const ROUNDS: usize = 4;
/// And how many bytes, in and out: a kernel pipe takes much at once.
const STEP: usize = 1024 * 1024;

/// What all sessions of a core share.
pub struct Context {
    pub config: Arc<Config>,
    /// Present if a role sends files.
    pub public: Option<PublicFolder>,
    pub spare: Spare,
    pub tools: Tools,
    /// The server has been told to end.
    pub ending: bool,
}

impl Context {
    /// Takes a descriptor into reserve. To accept clients goes before keeping unused pipes.
    pub fn retake_spare(&mut self) -> bool {
        self.spare.retake() || self.tools.kernel_pipes.close_unused() && self.spare.retake()
    }
}

/// The other end, as seen from the client.
enum Peer {
    Itself,
    Connecting(Attempt),
    Upstream(Connection),
    File(File),
    Framer(Box<Framer>),
    /// There was none to be had.
    Nobody,
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
    /// Register the peer's new socket, and give it another turn.
    Register,
    /// Destroy it at the end of the turn: it is over.
    Destroy,
}

/// See the [module](self).
pub struct Session {
    client: Connection,
    peer: Peer,
    /// From the client to the peer. An echo has only this one.
    up: Pipe,
    /// From the peer to the client.
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
    /// The peer's socket, for core to register.
    pub fn peer_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Peer::Connecting(attempt) => Some(attempt.as_fd()),
            Peer::Upstream(server) => Some(server.as_fd()),
            _ => None,
        }
    }

    /// The client's socket, for core to register.
    pub fn client_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    /// Takes in an event. What it means comes to light in the next step.
    pub fn notice(&mut self, end: End, seen: Readiness) {
        match (end, &mut self.peer) {
            (End::Client, _) => self.client.notice(seen),
            (End::Upstream, Peer::Connecting(attempt)) => attempt.notice(seen),
            (End::Upstream, Peer::Upstream(server)) => server.notice(seen),
            (End::Upstream, _) => {} // it has just been given up
        }
    }

    /// Moves what can be moved, within bounds, and finds out what is over. A timer only leads here:
    /// it is the step that looks at the clock.
    pub fn step(&mut self, context: &mut Context) -> Next {
        let new_socket = self.settle_attempt(context);
        if self.move_bytes(&mut context.tools) {
            self.last_moved = context.tools.now;
        }
        let in_vain = self.forget_unwanted(&mut context.tools);
        self.break_off_file(&mut context.tools);
        self.give_up_if_pointless(in_vain, context);
        if self.is_over() {
            self.linger(context)
        } else if new_socket {
            Next::Register
        } else if self.wants() {
            Next::Again
        } else {
            Next::Wait
        }
    }

    fn move_bytes(&mut self, tools: &mut Tools) -> bool {
        let mut moved = 0;
        for _ in 0..ROUNDS {
            let count = self.move_some(tools);
            moved += count;
            if count == 0 || moved >= STEP {
                break;
            }
        }
        moved > 0
    }

    /// At most one read and what it takes to write it, per pipe.
    fn move_some(&mut self, tools: &mut Tools) -> usize {
        let (client, up, down) = (&mut self.client, &mut self.up, &mut self.down);
        match &mut self.peer {
            Peer::Itself => up.fill(client, tools) + up.drain(client, tools),
            Peer::Upstream(server) => {
                flow(client, up, server, tools) + flow(server, down, client, tools)
            }
            Peer::Framer(framer) => {
                let framer = &mut **framer;
                flow(client, up, framer, tools) + flow(framer, down, client, tools)
            }
            Peer::File(file) => flow(file, down, client, tools),
            // What the client sends meanwhile waits in the pipe, up to its threshold.
            Peer::Connecting(_) => up.fill(client, tools) + down.drain(client, tools),
            Peer::Nobody => down.drain(client, tools),
        }
    }

    /// Whether a step would do anything. The same pipes and ends as in `move_some`.
    pub fn wants(&self) -> bool {
        let (client, up, down) = (&self.client, &self.up, &self.down);
        let moves = match &self.peer {
            Peer::Itself => flows(client, up, client),
            Peer::Upstream(server) => flows(client, up, server) || flows(server, down, client),
            Peer::Framer(framer) => flows(client, up, &**framer) || flows(&**framer, down, client),
            Peer::File(file) => flows(file, down, client),
            Peer::Connecting(attempt) => {
                attempt.is_decided() || up.can_fill(client) || down.can_drain(client)
            }
            Peer::Nobody => down.can_drain(client),
        };
        moves || self.has_unwanted()
    }

    /// Cuts off who has been idle for too long; who has gone without a word while there is no
    /// upstream yet; and who has died, if its upstream talks `in_vain` and takes nothing any more of
    /// what it is owed.
    fn give_up_if_pointless(&mut self, in_vain: bool, context: &mut Context) {
        if self.is_over() {
            return; // what is left is to linger, which has a clock of its own
        }
        let (limits, now) = (&context.config.limits, context.tools.now);
        let connecting = matches!(self.peer, Peer::Connecting(_));
        let pointless = match connecting {
            true => self.client.is_dead() && self.up.held() == 0,
            false => in_vain && self.stands_still(Some(limits.linger), now),
        };
        if pointless {
            self.cut(&mut context.tools);
            debug!("A client is given up");
        } else if !connecting && self.stands_still(limits.idle, now) {
            self.cut(&mut context.tools);
            let text = "a client is cut off: nothing has moved for --idle-timeout";
            context.tools.warn(text.to_owned());
        }
    }

    /// Whether both directions are over.
    fn is_over(&self) -> bool {
        self.up.settled() && self.down.settled()
    }

    /// Whether nothing has moved for the time that is allowed.
    fn stands_still(&mut self, allowed: Option<Duration>, now: Instant) -> bool {
        if allowed.is_none_or(|allowed| self.last_moved + allowed > now) {
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
        let left = match &self.peer {
            Peer::Upstream(server) => self.client.undelivered() + server.undelivered(),
            _ => self.client.undelivered(),
        };
        mem::replace(&mut self.undelivered, left) != left
    }
}

fn flow(
    source: &mut impl Source,
    pipe: &mut Pipe,
    sink: &mut impl Sink,
    tools: &mut Tools,
) -> usize {
    let over = pipe.settled();
    let moved = pipe.fill(source, tools) + pipe.drain(sink, tools);
    if !over && pipe.state() == State::Failed {
        source.stop(tools);
    }
    moved
}

fn flows(source: &impl Source, pipe: &Pipe, sink: &impl Sink) -> bool {
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
