//! An instance of the server: [`Core`].
//!
//! It owns the event loop, the listeners and the sessions, and it is the only one that creates and
//! destroys sessions. It turns tokens back into things, gives each session its turn and does what
//! the session asks for. It never touches a byte. Started by [`workers`], one per thread.
//!
//! - [`event_loop`]: epoll, timers, the queue of those who have work to do.
//! - [`token`]: what an event carries, and which thing that names.
//! - [`session`]: what happens with one client.
//! - [`pipe`]: one direction of it, and the rules of closing.
//! - [`reverse`]: the line framer.
//! - [`spare`]: the descriptor kept in reserve.
//! - [`workers`]: from a configuration to running cores, and the signals that end them.

pub mod event_loop;
pub mod pipe;
pub mod reverse;
pub mod session;
pub mod spare;
pub mod token;
pub mod workers;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use log::{debug, info, warn};
use nix::errno::Errno;

use crate::config::{Config, Role};
use crate::disk::file::PublicFolder;
use crate::network::connection::Connection;
use crate::network::listener::{Accept, Listener};
use crate::utils::logger::Transcript;
use crate::utils::repeats::Repeats;
use crate::vec::{Key, Slots, XpsVec};
use event_loop::{EventLoop, Readiness, Wake};
use pipe::Tools;
use session::{End, Next, Session, Surroundings};
use spare::Spare;
use token::{Kind, Token};

/// Clients accepted per listener and turn: a rush of new ones must not make the others wait.
const ACCEPTS: usize = 64;
/// How long no one is accepted after descriptors ran out, unless some become free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// When to look again at a stdout that took nothing.
const STDOUT_PAUSE: Duration = Duration::from_millis(20);

/// How a core has ended. The worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// In order, or as far as there was time for it.
    Clean,
    /// At once, by a second signal.
    Forced,
}

enum Phase {
    Serving,
    Draining,
    Over(Ended),
}

/// See the [module](self).
pub struct Core {
    events: EventLoop,
    listeners: Slots<Listener>,
    sessions: Slots<Session>,
    /// Those that are over, until the end of the turn.
    dying: XpsVec<Key<Session>>,
    around: Surroundings,
    phase: Phase,
    /// When to try to accept again.
    retry: Option<Instant>,
    admitted: u64,
    buried: u64,
}

impl Core {
    /// A core that will accept from `listeners`, which listen already, until `wake` is rung.
    pub fn new(config: Arc<Config>, listeners: XpsVec<Listener>, wake: Wake) -> Result<Core> {
        let failed = |errno: Errno| anyhow!("cannot set up epoll: {}", errno.desc());
        let events = EventLoop::new(wake, Token::plain(Kind::Wake)).map_err(failed)?;
        let mut table = Slots::new();
        for listener in listeners {
            let key = table.insert(listener);
            if let Some(listener) = table.get(key) {
                events
                    .register(listener, Token::new(Kind::Listener, key))
                    .map_err(failed)?;
            }
        }
        let sends_files = config
            .services
            .iter()
            .any(|s| matches!(s.role, Role::File(_)));
        let public = sends_files.then(|| PublicFolder::open(&config.public));
        Ok(Core {
            events,
            listeners: table,
            sessions: Slots::new(),
            dying: XpsVec::new(),
            around: Surroundings {
                public: public.transpose()?,
                spare: Spare::default(),
                warnings: Repeats::default(),
                tools: Tools::new(Transcript::new(!config.quiet)),
                ending: false,
                config,
            },
            phase: Phase::Serving,
            retry: None,
            admitted: 0,
            buried: 0,
        })
    }

    /// Says what is served where: clients can connect now.
    pub fn announce(&self) {
        for (_, listener) in self.listeners.iter() {
            let role = &self.around.config.services[usize::from(listener.role)].role;
            info!("listening on tcp://{} ({role})", listener.address());
        }
    }

    /// Serves until it is told to end, and has.
    pub fn run(mut self) -> Result<Ended> {
        loop {
            self.turn()?;
            match self.phase {
                Phase::Over(ended) => return Ok(self.end(ended)),
                Phase::Draining if self.sessions.is_empty() => return Ok(self.end(Ended::Clean)),
                _ => {}
            }
        }
    }

    /// One turn: what has happened is noted first, then those whose turn it is get one step each,
    /// then what is over goes. So nothing dies while somebody may still be told of it, and the work
    /// is in proportion to what is ready, however many sessions there are.
    fn turn(&mut self) -> Result<()> {
        debug!("Epoll wait");
        let waited = self.events.wait();
        let count = waited
            .map_err(|e| anyhow!(e.desc()))
            .context("cannot wait for events")?;
        self.around.tools.now = self.events.now();
        for index in 0..count {
            let (token, seen) = self.events.event(index);
            self.note(token, seen);
        }
        while let Some(token) = self.events.expired() {
            self.expire(token);
        }
        for index in 0..self.events.begin_round() {
            let token = self.events.in_round(index);
            match token.kind() {
                Some(Kind::Listener) => self.accept(token.key()),
                _ => self.step(token.key()),
            }
        }
        self.sweep();
        self.report();
        Ok(())
    }

    /// An event: sets flags and queues, nothing else. A key that finds nothing is of something that
    /// has gone.
    fn note(&mut self, token: Token, seen: Readiness) {
        match token.kind() {
            Some(Kind::Wake) => self.ring(),
            Some(Kind::Listener) => self.queue_listener(token.key()),
            Some(Kind::Client) => self.note_session(token.key(), End::Client, seen),
            Some(Kind::Upstream) => self.note_session(token.key(), End::Upstream, seen),
            _ => {}
        }
    }

    fn note_session(&mut self, key: Key<Session>, end: End, seen: Readiness) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.notice(end, seen);
            self.queue_session(key);
        }
    }

    fn queue_session(&mut self, key: Key<Session>) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.queued
        {
            session.queued = true;
            self.events.queue(Token::new(Kind::Client, key));
        }
    }

    fn queue_listener(&mut self, key: Key<Listener>) {
        if let Some(listener) = self.listeners.get_mut(key)
            && !listener.queued
        {
            listener.queued = true;
            self.events.queue(Token::new(Kind::Listener, key));
        }
    }

    /// A timer is due.
    fn expire(&mut self, token: Token) {
        match token.kind() {
            Some(Kind::Deadline) => {
                let key = token.key();
                if let Some(session) = self.sessions.get_mut(key) {
                    session.timer = None;
                    self.queue_session(key);
                }
            }
            Some(Kind::Retry) => self.resume_accepting(),
            Some(Kind::DrainOver) => self.cut_off(),
            _ => {} // Output: it was enough to wake up
        }
    }
}

// ---- a client comes ----------------------------------------------------------------------------

impl Core {
    /// Accepts those who wait, up to a limit.
    fn accept(&mut self, key: Key<Listener>) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.queued = false;
        }
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(key) else {
                return;
            };
            if !self.around.spare.retake() {
                listener.pending = true;
                return self.pause_accepting(Errno::EMFILE);
            }
            let role = listener.role;
            match listener.accept() {
                Accept::Client(client) => self.admit(client, role),
                Accept::WouldBlock => return,
                Accept::Passed(errno) => debug!("A client left early: {}", errno.desc()),
                Accept::NoDescriptor(errno) => return self.pause_accepting(errno),
            }
        }
        self.queue_listener(key); // more may be waiting, and no edge will tell
    }

    /// Takes in a client. The only place where a session begins.
    fn admit(&mut self, client: OwnedFd, role: u16) {
        let session = Session::open(Connection::new(client), role, &mut self.around);
        let key = self.sessions.insert(session);
        self.admitted += 1;
        debug!("Client connected to server");
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let token = Token::new(Kind::Client, key);
        let next = match self.events.register(session.client_fd(), token) {
            Ok(()) if session.peer_fd().is_some() => Next::Register,
            Ok(()) if session.wants() => Next::Again,
            Ok(()) => Next::Wait,
            Err(errno) => {
                let text = format!("cannot watch a client: {}", errno.desc());
                self.around.warnings.warn(text, self.around.tools.now);
                session.cut(&mut self.around.tools);
                Next::Bury
            }
        };
        self.follow(key, next);
    }

    /// Descriptors ran out, or memory. The clients wait in the kernel's queue, and no edge tells of
    /// them again.
    fn pause_accepting(&mut self, errno: Errno) {
        let text = format!("cannot accept clients, they wait: {}", errno.desc());
        self.around.warnings.warn(text, self.around.tools.now);
        if self.retry.is_none() {
            let at = self.around.tools.now + ACCEPT_PAUSE;
            self.retry = Some(at);
            self.events.arm(at, Token::plain(Kind::Retry));
        }
    }

    fn resume_accepting(&mut self) {
        let Some(at) = self.retry.take() else {
            return;
        };
        self.events.disarm(at, Token::plain(Kind::Retry));
        let pending = self
            .listeners
            .iter()
            .filter(|(_, listener)| listener.pending);
        let keys: XpsVec<_> = pending.map(|(key, _)| key).collect();
        for key in keys {
            self.queue_listener(key);
        }
    }
}

// ---- its turns ---------------------------------------------------------------------------------

impl Core {
    fn step(&mut self, key: Key<Session>) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.queued = false;
            let next = session.step(&mut self.around);
            self.follow(key, next);
        }
    }

    /// Does what a session asks for.
    fn follow(&mut self, key: Key<Session>, next: Next) {
        match next {
            Next::Wait => {}
            Next::Again => self.queue_session(key),
            Next::Register => self.register_upstream(key),
            Next::Bury => return self.dying.push(key),
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        // A timer that is set too early does no harm: the step finds nothing due, and here the
        // next one is set. So bytes that move do not cost a timer each.
        let token = Token::new(Kind::Deadline, key);
        if let Some(at) = session.deadline(&self.around.config)
            && session.timer.is_none_or(|set| at < set)
        {
            if let Some(set) = session.timer.replace(at) {
                self.events.disarm(set, token);
            }
            self.events.arm(at, token);
        }
    }

    fn register_upstream(&mut self, key: Key<Session>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(fd) = session.peer_fd()
            && let Err(errno) = self.events.register(fd, Token::new(Kind::Upstream, key))
        {
            session.no_upstream(errno, &mut self.around);
        }
        if session.wants() {
            self.queue_session(key);
        }
    }
}

// ---- it goes -----------------------------------------------------------------------------------

impl Core {
    /// Buries what is over. The only place where a session ends.
    fn sweep(&mut self) {
        if self.dying.is_empty() {
            return;
        }
        while let Some(key) = self.dying.pop() {
            self.remove(key);
        }
        self.resume_accepting(); // there are descriptors again
    }

    fn remove(&mut self, key: Key<Session>) {
        if let Some(mut session) = self.sessions.remove(key) {
            session.bury(&mut self.around.tools);
            if let Some(at) = session.timer {
                self.events.disarm(at, Token::new(Kind::Deadline, key));
            }
            self.buried += 1;
            debug!("Client disconnected");
        }
    }

    /// Writes what clients said, and the warnings that were held back.
    fn report(&mut self) {
        let Surroundings {
            tools, warnings, ..
        } = &mut self.around;
        let output = Token::plain(Kind::Output);
        if !tools.transcript.flush() {
            self.events.arm(tools.now + STDOUT_PAUSE, output);
        }
        if let Some(due) = warnings.due() {
            warnings.flush(tools.now);
            self.events.arm(due, output);
        }
    }

    /// Somebody wants the server to end. The first time in order, the second time at once.
    fn ring(&mut self) {
        for _ in 0..self.events.rings() {
            match self.phase {
                Phase::Serving => self.begin_drain(),
                _ => self.phase = Phase::Over(Ended::Forced),
            }
        }
    }

    fn begin_drain(&mut self) {
        info!(
            "Server ends, {} clients are still served",
            self.sessions.len()
        );
        self.phase = Phase::Draining;
        self.around.ending = true;
        self.listeners = Slots::new();
        let until = self.around.tools.now + self.around.config.limits.drain;
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

    fn cut_off(&mut self) {
        let mut lost = 0;
        for (key, session) in self.sessions.iter_mut() {
            lost += usize::from(session.cut(&mut self.around.tools));
            self.dying.push(key);
        }
        if lost > 0 {
            warn!("{lost} clients cut off: they did not end in time");
        }
    }

    /// The last words. In debug builds it is checked that nothing was forgotten.
    fn end(mut self, ended: Ended) -> Ended {
        self.around.tools.transcript.flush();
        self.around.warnings.flush_all();
        info!("Server has ended, {} clients were served", self.admitted);
        if ended == Ended::Clean {
            debug_assert_eq!(self.admitted, self.buried, "sessions");
            debug_assert!(self.sessions.is_empty(), "sessions");
            debug_assert_eq!(self.around.tools.chunks.lent(), 0, "chunks");
        }
        ended
    }
}
