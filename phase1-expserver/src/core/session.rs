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

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use nix::errno::Errno;

use super::event_loop::Readiness;
use super::pipe::{Event, Pipe, Progress, Sink, Source, State, Tools};
use super::reverse::Framer;
use super::spare::Spare;
use crate::config::{Config, Role, Service};
use crate::disk::file::{File, FileError, PublicFolder};
use crate::network::connection::Connection;
use crate::network::upstream::{Attempt, Settled};
use crate::utils::repeats::Repeats;

/// How many reads and writes per pipe one step takes while there is something to move. More would
/// make others wait longer, fewer would make bulk pay for more turns.
const ROUNDS: usize = 4;
/// How often it is asked whether the last bytes have arrived, while that is all there is to wait
/// for: the kernel does not tell.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What all sessions of a core find around them.
pub struct Surroundings {
    pub config: Arc<Config>,
    /// Present if a role sends files.
    pub public: Option<PublicFolder>,
    pub spare: Spare,
    pub warnings: Repeats,
    pub tools: Tools,
    /// The server has been told to end.
    pub ending: bool,
}

impl Surroundings {
    fn service(&self, role: u16) -> &Service {
        &self.config.services[usize::from(role)]
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
    /// Remove it at the end of the turn: it is over.
    Bury,
}

/// What an end is still given when both directions are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing: it can be closed.
    Close,
    /// The time to take what was sent to it and to close its side.
    UntilItCloses,
    /// The time to take what was sent to it.
    UntilDelivered,
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
    role: u16,
    /// For core: it has a place in the queue.
    pub queued: bool,
    /// For core: the timer that is set.
    pub timer: Option<Instant>,
    last_moved: Instant,
    /// Both directions are over: how long the ends are waited for, and when to see whether they
    /// still have to be.
    farewell_over: Option<Instant>,
    look_again: Option<Instant>,
}

// ---- the beginning -----------------------------------------------------------------------------

impl Session {
    /// Gives the client the peer that its role asks for. If there is none to be had, nothing can be
    /// sent: the client is closed in order, without a byte.
    pub fn open(client: Connection, role: u16, around: &mut Surroundings) -> Session {
        let now = around.tools.now;
        let threshold = around.config.limits.pipe_threshold;
        let pipe = |state| Pipe::new(threshold, state);
        let mut session = Session {
            client,
            peer: Peer::Nobody,
            up: pipe(State::Open),
            down: pipe(State::Open),
            role,
            queued: false,
            timer: None,
            last_moved: now,
            farewell_over: None,
            look_again: None,
        };
        match &around.service(role).role {
            Role::Echo => {
                session.peer = Peer::Itself;
                session.down = pipe(State::Shut); // the one pipe is `up`
            }
            Role::Reverse => session.peer = Peer::Framer(Box::default()),
            Role::File(_) => {
                session.up = pipe(State::Failed); // nobody wants what the client sends
                session.open_file(around);
            }
            Role::Proxy(_) => session.begin_to_connect(around),
        }
        session
    }

    fn open_file(&mut self, around: &mut Surroundings) {
        let Role::File(path) = &around.config.services[usize::from(self.role)].role else {
            return;
        };
        let opened = match &around.public {
            Some(public) => around.spare.spend_on(|| File::open(public, path)),
            None => Err(FileError::NotFound),
        };
        match opened {
            Ok(file) => self.peer = Peer::File(file),
            Err(error) => {
                let text = format!(
                    "cannot send the {}: {error}",
                    around.service(self.role).role
                );
                self.no_peer(text, around);
            }
        }
    }

    fn begin_to_connect(&mut self, around: &mut Surroundings) {
        let Role::Proxy(route) = &around.config.services[usize::from(self.role)].role else {
            return;
        };
        let deadline = around.tools.now + around.config.limits.connect;
        let begin = || Attempt::begin(&route.addresses, deadline);
        match around.spare.spend_on(begin) {
            Ok(attempt) => self.peer = Peer::Connecting(attempt),
            Err(errno) => self.no_upstream(errno, around),
        }
    }

    /// Finds out what has become of the connection to the upstream. True when the next address is
    /// tried, with a new socket.
    fn settle_attempt(&mut self, around: &mut Surroundings) -> bool {
        let Peer::Connecting(attempt) = &self.peer else {
            return false;
        };
        let decided = attempt.is_decided();
        if !decided && attempt.deadline() > around.tools.now {
            return false;
        }
        let role = &around.config.services[usize::from(self.role)].role;
        let (Peer::Connecting(attempt), Role::Proxy(route)) =
            (mem::replace(&mut self.peer, Peer::Nobody), role)
        else {
            return false;
        };
        let settled = match decided {
            true => attempt.settle(&route.addresses),
            false => Err(Errno::ETIMEDOUT),
        };
        match settled {
            Ok(Settled::Connected(server)) => {
                debug!("Connected to the upstream {route}");
                self.peer = Peer::Upstream(server);
            }
            Ok(Settled::Waiting(attempt)) => self.peer = Peer::Connecting(attempt),
            Ok(Settled::Trying(attempt)) => {
                self.peer = Peer::Connecting(attempt);
                return true;
            }
            Err(errno) => self.no_upstream(errno, around),
        }
        false
    }

    /// There will be no upstream: it could not be reached, or not be watched.
    pub fn no_upstream(&mut self, errno: Errno, around: &mut Surroundings) {
        let role = &around.service(self.role).role;
        let text = format!("cannot connect to the upstream, {role}: {}", errno.desc());
        self.no_peer(text, around);
    }

    fn no_peer(&mut self, why: String, around: &mut Surroundings) {
        around.warnings.warn(why, around.tools.now);
        self.peer = Peer::Nobody;
        self.up.on(Event::SinkGone, &mut around.tools);
        self.down.on(Event::SourceEnded, &mut around.tools);
    }

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
}

// ---- a turn ------------------------------------------------------------------------------------

impl Session {
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
    pub fn step(&mut self, around: &mut Surroundings) -> Next {
        let new_socket = self.settle_attempt(around);
        if self.move_bytes(&mut around.tools) {
            self.last_moved = around.tools.now;
        }
        self.give_up_if_pointless(around);
        match () {
            _ if self.up.settled() && self.down.settled() => self.part(around),
            _ if new_socket => Next::Register,
            _ if self.wants() => Next::Again,
            _ => Next::Wait,
        }
    }

    fn move_bytes(&mut self, tools: &mut Tools) -> bool {
        let mut rounds = 0;
        while rounds < ROUNDS && self.move_some(tools) > 0 {
            rounds += 1;
        }
        rounds > 0
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
        match &self.peer {
            Peer::Itself => flows(client, up, client),
            Peer::Upstream(server) => flows(client, up, server) || flows(server, down, client),
            Peer::Framer(framer) => flows(client, up, &**framer) || flows(&**framer, down, client),
            Peer::File(file) => flows(file, down, client),
            Peer::Connecting(attempt) => {
                attempt.is_decided() || up.can_fill(client) || down.can_drain(client)
            }
            Peer::Nobody => down.can_drain(client),
        }
    }

    /// Cuts off who has been idle for too long; and who has gone without a word while there is no
    /// upstream yet.
    fn give_up_if_pointless(&mut self, around: &mut Surroundings) {
        let pointless = match &self.peer {
            Peer::Connecting(_) => self.client.is_dead() && self.up.held() == 0,
            _ => self
                .idle_at(&around.config)
                .is_some_and(|at| at <= around.tools.now),
        };
        if pointless && self.cut(&mut around.tools) {
            debug!("A client is given up");
        }
    }
}

fn flow(
    source: &mut impl Source,
    pipe: &mut Pipe,
    sink: &mut impl Sink,
    tools: &mut Tools,
) -> usize {
    let moved = pipe.fill(source, tools) + pipe.drain(sink, tools);
    if pipe.state() == State::Failed {
        source.stop(tools);
    }
    moved
}

fn flows(source: &impl Source, pipe: &Pipe, sink: &impl Sink) -> bool {
    pipe.can_fill(source) || pipe.can_drain(sink)
}

// ---- the end -----------------------------------------------------------------------------------

/// What an end is given when both directions are over. `into`: how the direction towards it has
/// ended. `over`: it has ended its side too, or has failed. `ending`: so does the server.
///
/// A socket that is closed while bytes are unread, or that bytes come for later, resets the
/// connection, and a reset destroys what is still on its way to the other side (**lingering
/// close**). What the other kernel has acknowledged is safe.
pub fn farewell(end: End, into: State, over: bool, ending: bool) -> Farewell {
    match (end, into, over, ending) {
        (_, State::Failed, _, _) | (_, _, true, _) => Farewell::Close,
        (End::Client, _, false, false) => Farewell::UntilItCloses,
        (End::Client, _, false, true) => Farewell::UntilDelivered,
        // Nobody wants what it still sends: to read that would be to download it for nothing.
        (End::Upstream, _, false, _) => Farewell::UntilDelivered,
    }
}

impl Session {
    /// Both directions are over: see what the ends are still given, for how long.
    fn part(&mut self, around: &mut Surroundings) -> Next {
        let now = around.tools.now;
        if self.farewell(End::Client, around.ending) != Farewell::Close {
            self.forget_input(&mut around.tools);
        }
        let until = now + around.config.limits.linger;
        let until = *self.farewell_over.get_or_insert(until);
        let looks =
            [End::Client, End::Upstream].map(|end| match self.farewell(end, around.ending) {
                Farewell::Close => None,
                Farewell::UntilItCloses => Some(until),
                Farewell::UntilDelivered => Some(until.min(now + ASK_AGAIN)),
            });
        self.look_again = looks.into_iter().flatten().min();
        match self.look_again {
            Some(_) if until <= now => Next::Bury,
            Some(_) if self.client.readable() => Next::Again,
            Some(_) => Next::Wait,
            None => Next::Bury,
        }
    }

    fn farewell(&self, end: End, ending: bool) -> Farewell {
        let (into, connection) = match (end, &self.peer) {
            (End::Client, Peer::Itself) => (&self.up, &self.client),
            (End::Client, _) => (&self.down, &self.client),
            (End::Upstream, Peer::Upstream(server)) => (&self.up, server),
            (End::Upstream, _) => return Farewell::Close,
        };
        let over = connection.is_ended() || connection.is_dead();
        match farewell(end, into.state(), over, ending) {
            Farewell::UntilDelivered if connection.is_delivered() => Farewell::Close,
            farewell => farewell,
        }
    }

    fn forget_input(&mut self, tools: &mut Tools) {
        for _ in 0..ROUNDS {
            if !self.client.readable()
                || !matches!(self.client.discard(tools), Ok(Progress::Moved(_)))
            {
                return;
            }
        }
    }

    /// When to look at the clock, even if nothing happens.
    pub fn deadline(&self, config: &Config) -> Option<Instant> {
        match &self.peer {
            Peer::Connecting(attempt) => Some(attempt.deadline()),
            _ => self.look_again.or_else(|| self.idle_at(config)),
        }
    }

    fn idle_at(&self, config: &Config) -> Option<Instant> {
        config.limits.idle.map(|idle| self.last_moved + idle)
    }

    /// The server is ending: what the client has sent so far is answered, as if it had half-closed
    /// now. Not for a proxied client: who knows what its upstream owes it?
    pub fn last_call(&mut self) {
        let answered_here = matches!(self.peer, Peer::Itself | Peer::Framer(_));
        if answered_here && self.up.state() == State::Open {
            self.client.last_call();
        }
    }

    /// Ends both directions, whatever is left. True when that loses something.
    pub fn cut(&mut self, tools: &mut Tools) -> bool {
        let loses = !self.up.settled() || !self.down.settled();
        self.up.on(Event::SinkGone, tools);
        self.down.on(Event::SinkGone, tools);
        loses
    }

    /// Gives back what is not its own, before core drops it and so closes its sockets.
    pub fn bury(&mut self, tools: &mut Tools) {
        self.cut(tools);
        if let Peer::Framer(framer) = &mut self.peer {
            framer.stop(tools);
        }
    }
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
