//! An instance of the server: [`Core`].
//!
//! A core owns the event loop, the listeners and the sessions, and it alone creates and destroys
//! sessions. One pass through its loop is called a **turn**. In a turn the core looks up what each
//! event is about, lets each session in the queue take one step, and does what the session asks
//! for. It never touches a byte. [`workers`] starts one core per thread.
//!
//! The methods of [`Core`] are in three files: the loop is here, accepting clients is in
//! `admission`, ending is in `ending`.
//!
//! The other modules:
//!
//! - [`event_loop`]: epoll, the timers, and the queue of sessions and listeners with work to do.
//! - [`token`]: what an event carries: the name of the thing that it is about.
//! - [`session`]: one client, from accept to close.
//! - [`reverse`]: finds the lines in a stream and reverses them.
//! - [`spare`]: the descriptor kept in reserve.
//! - `listening`: binds all listeners before the first client is served.
//! - [`workers`]: starts the cores and passes signals on to them.

mod admission;
mod ending;
pub mod event_loop;
mod listening;
pub mod reverse;
pub mod session;
pub mod spare;
pub mod token;
pub mod workers;

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use log::debug;
use nix::errno::Errno;

use crate::config::{Config, Role};
use crate::disk::file::PublicFolder;
use crate::flow::Resources;
use crate::network::listener::Listener;
use crate::network::socket::Readiness;
use crate::utils::logger::Transcript;
use crate::vec::slots::Slots;
use crate::vec::{Key, XpsVec};
use event_loop::{EventLoop, Wake};
use session::{End, Next, Session, Shared};
use spare::Spare;
use token::{Kind, Token};

/// How long unused kernel pipes are kept. Making a new one for each transfer of 1 MiB costs nearly
/// as much as the transfer.
const PIPES_KEPT: Duration = Duration::from_secs(1);

/// How a core has ended. The values are ordered: the worse way to end is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// After the last session, or when the drain timeout was over.
    Clean,
    /// Immediately, because a second signal arrived.
    Forced,
}

enum Phase {
    Serving,
    Draining,
    Forced,
}

/// See the [module](self).
pub struct Core {
    events: EventLoop,
    listeners: Slots<Listener>,
    sessions: Slots<Session>,
    /// Sessions that are over. They are destroyed at the end of the turn.
    doomed: XpsVec<Key<Session>>,
    shared: Shared,
    phase: Phase,
    /// When to accept again, after running out of descriptors.
    retry: Option<Instant>,
    /// When to log the counts of repeated warnings.
    warnings_due: Option<Instant>,
    /// Whether the timer for unused kernel pipes is set.
    pipes_timed: bool,
    admitted: u64,
    destroyed: u64,
}

impl Core {
    /// Makes a core. It accepts clients from `listeners`, until `wake` brings a signal. The listeners
    /// must be listening already.
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
        let mut spare = Spare::default();
        spare.retake(); // may fail: `accept` tries again
        let mut services = config.services.iter();
        let sends_files = services.any(|service| matches!(service.role, Role::File(_)));
        let public = sends_files.then(|| open_public(&config.public));
        let mut resources = Resources::new(Transcript::new(!config.quiet));
        resources.kernel_pipes.share(config.workers);
        Ok(Core {
            events,
            listeners: table,
            sessions: Slots::new(),
            doomed: XpsVec::new(),
            shared: Shared {
                public: public.transpose()?,
                spare,
                resources,
                ending: false,
                config,
            },
            phase: Phase::Serving,
            retry: None,
            warnings_due: None,
            pipes_timed: false,
            admitted: 0,
            destroyed: 0,
        })
    }

    /// Serves clients until a signal ends it.
    pub fn run(mut self) -> Result<Ended> {
        loop {
            self.turn()?;
            match self.phase {
                Phase::Forced => {
                    self.cut_off("Second signal");
                    return Ok(self.end(Ended::Forced));
                }
                Phase::Draining if self.sessions.is_empty() => return Ok(self.end(Ended::Clean)),
                _ => {}
            }
        }
    }

    /// One turn: first take note of all events, then give one step to each session in the queue,
    /// then destroy the sessions that are over. No session is destroyed while an event or a step
    /// may still refer to it. The work is in proportion to what is ready, not to the number of
    /// sessions.
    fn turn(&mut self) -> Result<()> {
        debug!("Epoll wait");
        let failed = |errno: Errno| anyhow!("cannot wait for events: {}", errno.desc());
        let count = self.events.wait().map_err(failed)?;
        self.shared.resources.now = self.events.now();
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
        self.time_pipes();
        self.report();
        Ok(())
    }

    /// Takes note of an event: sets flags and queues the session or listener. Only a signal takes
    /// effect here. If no session has the key, the session is gone, and the event is ignored.
    fn note(&mut self, token: Token, seen: Readiness) {
        match token.kind() {
            Some(Kind::Wake) => self.begin_to_end(),
            Some(Kind::Listener) => self.queue_listener(token.key()),
            Some(Kind::Client) => self.note_session(token.key(), End::Client, seen),
            Some(Kind::Upstream) => self.note_session(token.key(), End::Upstream, seen),
            Some(Kind::Stdout) => self.shared.resources.transcript.resume(),
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
            Some(Kind::DrainOver) => self.cut_off("Drain timeout"),
            Some(Kind::Pipes) => {
                self.pipes_timed = false;
                self.shared.resources.kernel_pipes.close_idle();
            }
            _ => {} // Warnings: waking up was enough, `report` does the rest
        }
    }
}

fn open_public(path: &Path) -> Result<PublicFolder> {
    let folder = path.display();
    PublicFolder::open(path)
        .map_err(|errno| anyhow!("cannot open the public folder {folder}: {}", errno.desc()))
}

// ---- steps -------------------------------------------------------------------------------------

impl Core {
    fn step(&mut self, key: Key<Session>) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.queued = false;
            let next = session.step(&mut self.shared);
            self.follow(key, next);
        }
    }

    /// Does what a session asks for.
    fn follow(&mut self, key: Key<Session>, next: Next) {
        match next {
            Next::Wait => {}
            Next::Again => self.queue_session(key),
            Next::Register => self.register_upstream(key),
            Next::Destroy => return self.doomed.push(key),
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        // A timer that is set too early stays as it is. It causes a step that finds nothing due, and
        // then the next timer is set here. So a session that moves bytes does not set a new timer
        // each time. A timer that is no longer needed is removed, because it would wake the server
        // for nothing.
        let wanted = session.deadline(&self.shared.config.limits);
        let enough = match (session.timer, wanted) {
            (Some(set), Some(at)) => set <= at,
            (set, at) => set == at,
        };
        if enough {
            return;
        }
        let token = Token::new(Kind::Deadline, key);
        if let Some(set) = mem::replace(&mut session.timer, wanted) {
            self.events.disarm(set, token);
        }
        if let Some(at) = wanted {
            self.events.arm(at, token);
        }
    }

    fn register_upstream(&mut self, key: Key<Session>) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(fd) = session.upstream_fd()
            && let Err(errno) = self.events.register(fd, Token::new(Kind::Upstream, key))
        {
            session.upstream_unavailable(errno, &mut self.shared);
        }
        if session.has_work() {
            self.queue_session(key);
        }
    }
}

// ---- the end of a turn -------------------------------------------------------------------------

impl Core {
    /// Destroys the sessions that are over. The only place where a session ends.
    fn sweep(&mut self) {
        if self.doomed.is_empty() {
            return;
        }
        while let Some(key) = self.doomed.pop() {
            self.remove(key);
        }
        self.resume_accepting(); // descriptors have become free
    }

    fn remove(&mut self, key: Key<Session>) {
        if let Some(mut session) = self.sessions.remove(key) {
            session.release(&mut self.shared.resources);
            if let Some(at) = session.timer {
                self.events.disarm(at, Token::new(Kind::Deadline, key));
            }
            self.destroyed += 1;
            debug!("Client disconnected");
        }
    }

    /// Sets the timer for unused kernel pipes, if there are any.
    fn time_pipes(&mut self) {
        if !self.pipes_timed && self.shared.resources.kernel_pipes.any_unused() {
            self.pipes_timed = true;
            let at = self.shared.resources.now + PIPES_KEPT;
            self.events.arm(at, Token::plain(Kind::Pipes));
        }
    }

    /// Writes the messages of clients to stdout, and the counts of repeated warnings to the log.
    fn report(&mut self) {
        let resources = &mut self.shared.resources;
        resources.transcript.flush();
        let full = resources.transcript.is_full();
        self.events.watch_stdout(full, Token::plain(Kind::Stdout));
        resources.warnings.flush(resources.now);
        if let Some(at) = resources.warnings.due()
            && self
                .warnings_due
                .is_none_or(|set| set <= resources.now || at < set)
        {
            self.warnings_due = Some(at);
            self.events.arm(at, Token::plain(Kind::Warnings));
        }
    }
}
