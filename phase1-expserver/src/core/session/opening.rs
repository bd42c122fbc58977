//! How a session begins: its peer, from what the listener's role says to what is there.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use log::debug;
use nix::errno::Errno;

use super::{Context, Peer, Session};
use crate::config::{Role, Route};
use crate::disk::file::{File, FileError};
use crate::flow::{Event, Pipe, State};
use crate::network::connection::Connection;
use crate::network::upstream::{Attempt, Settled};

impl Session {
    /// Gives the client the peer that its role asks for. If there is none to be had, nothing can be
    /// sent: the client is closed in order, without a byte.
    pub fn open(client: Connection, service: u16, context: &mut Context) -> Session {
        let config = Arc::clone(&context.config);
        let threshold = config.limits.pipe_threshold;
        let pipe = |state| match config.role(service) {
            Role::Reverse => Pipe::new(threshold, state), // the framer has to see the bytes
            _ => Pipe::opaque(threshold, state),
        };
        let mut session = Session {
            client,
            peer: Peer::Nobody,
            up: pipe(State::Open),
            down: pipe(State::Open),
            service,
            queued: false,
            timer: None,
            last_moved: context.tools.now,
            undelivered: 0,
            linger_until: None,
            look_again: None,
        };
        match config.role(service) {
            Role::Echo => {
                session.peer = Peer::Itself;
                session.down = pipe(State::Shut); // the one pipe is `up`
            }
            Role::Reverse => session.peer = Peer::Framer(Box::default()),
            Role::File(path) => {
                session.up = pipe(State::Failed); // nobody wants what the client sends
                session.open_file(path, context);
            }
            Role::Proxy(route) => session.begin_to_connect(route, context),
        }
        session
    }

    fn open_file(&mut self, path: &Path, context: &mut Context) {
        let opened = match &context.public {
            Some(public) => context.spare.spend_on(|| File::open(public, path)),
            None => Err(FileError::NotFound), // cannot be: core opens it if a role needs it
        };
        match opened {
            Ok(file) => self.peer = Peer::File(file),
            Err(error) => {
                let role = context.config.role(self.service);
                let text = format!("cannot send the {role}: {error}");
                self.no_peer(text, context);
            }
        }
    }

    fn begin_to_connect(&mut self, route: &Route, context: &mut Context) {
        let deadline = connect_deadline(route, context);
        let begin = || Attempt::begin(&route.addresses, deadline);
        match context.spare.spend_on(begin) {
            Ok(attempt) => self.peer = Peer::Connecting(attempt),
            Err(errno) => self.no_upstream(errno, context),
        }
    }

    /// Finds out what has become of the connection to the upstream. True when the next address is
    /// tried, with a new socket.
    pub(super) fn settle_attempt(&mut self, context: &mut Context) -> bool {
        let now = context.tools.now;
        let due = |attempt: &Attempt| attempt.is_decided() || attempt.deadline() <= now;
        if !matches!(&self.peer, Peer::Connecting(attempt) if due(attempt)) {
            return false;
        }
        let config = Arc::clone(&context.config);
        let peer = mem::replace(&mut self.peer, Peer::Nobody);
        let (Peer::Connecting(attempt), Role::Proxy(route)) = (peer, config.role(self.service))
        else {
            return false; // cannot be: it was looked at just now
        };
        match attempt.settle(&route.addresses, connect_deadline(route, context)) {
            Ok(Settled::Connected(server)) => {
                debug!("Connected to the upstream {route}");
                self.peer = Peer::Upstream(server);
                self.last_moved = now;
            }
            Ok(Settled::Trying(attempt)) => {
                self.peer = Peer::Connecting(attempt);
                return true;
            }
            Err(errno) => self.no_upstream(errno, context),
        }
        false
    }

    /// The upstream cannot be reached, or its socket not be watched.
    pub fn no_upstream(&mut self, errno: Errno, context: &mut Context) {
        let Role::Proxy(route) = context.config.role(self.service) else {
            return; // cannot be: nobody else has one
        };
        let hint = match errno {
            Errno::ECONNREFUSED => format!(" (start one: `python3 -m http.server {}`)", route.port),
            _ => String::new(),
        };
        let text = format!("cannot reach upstream {route}: {}{hint}", errno.desc());
        self.no_peer(text, context);
    }

    /// There will be no peer, `text` says why.
    fn no_peer(&mut self, text: String, context: &mut Context) {
        context.tools.warn(text);
        self.peer = Peer::Nobody;
        self.up.on(Event::SinkGone, &mut context.tools);
        self.down.on(Event::SourceEnded, &mut context.tools);
    }
}

/// Until when an address that is tried now may take: its equal share of the whole time. Else one
/// that does not answer would leave nothing to the others.
fn connect_deadline(route: &Route, context: &Context) -> Instant {
    let addresses = route.addresses.len().max(1) as u32;
    context.tools.now + context.config.limits.connect / addresses
}
