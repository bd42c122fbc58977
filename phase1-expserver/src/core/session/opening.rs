//! How a session begins: opens the backend that the role of its listener asks for.

use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use log::debug;
use nix::errno::Errno;

use super::{Backend, Session, Shared};
use crate::config::{Role, Route};
use crate::disk::file::{File, FileError};
use crate::flow::{Event, Pipe, State};
use crate::network::connection::Connection;
use crate::network::upstream::{Attempt, Settled};

impl Session {
    /// Opens the session of a client, with the backend that its role asks for. If the backend
    /// cannot be opened, the client gets the end of the stream, without a byte before it.
    pub fn open(client: Connection, service: u16, shared: &mut Shared) -> Session {
        let config = Arc::clone(&shared.config);
        let threshold = config.limits.pipe_threshold;
        let pipe = |state| match config.role(service) {
            Role::Reverse => Pipe::new(threshold, state), // the framer must see the bytes
            Role::Echo | Role::File(_) | Role::Proxy(_) => Pipe::opaque(threshold, state),
        };
        let mut session = Session {
            client,
            backend: Backend::Unavailable,
            up: pipe(State::Open),
            down: pipe(State::Open),
            service,
            queued: false,
            timer: None,
            last_moved: shared.resources.now,
            undelivered: 0,
            linger_until: None,
            look_again: None,
        };
        match config.role(service) {
            Role::Echo => {
                session.backend = Backend::Echo;
                session.down = pipe(State::Shut); // only `up` is used
            }
            Role::Reverse => session.backend = Backend::Framer(Box::default()),
            Role::File(path) => {
                session.up = pipe(State::Failed); // what the client sends is discarded
                session.open_file(path, shared);
            }
            Role::Proxy(route) => session.begin_to_connect(route, shared),
        }
        session
    }

    fn open_file(&mut self, path: &Path, shared: &mut Shared) {
        let opened = match &shared.public {
            Some(public) => shared.spare.spend_on(|| File::open(public, path)),
            None => Err(FileError::NotFound), // cannot happen: core opens the folder if a role needs it
        };
        match opened {
            Ok(file) => self.backend = Backend::File(file),
            Err(error) => {
                let role = shared.config.role(self.service);
                let text = format!("cannot send the {role}: {error}");
                self.backend_unavailable(text, shared);
            }
        }
    }

    fn begin_to_connect(&mut self, route: &Route, shared: &mut Shared) {
        let deadline = connect_deadline(route, shared);
        let begin = || Attempt::begin(&route.addresses, deadline);
        match shared.spare.spend_on(begin) {
            Ok(attempt) => self.backend = Backend::Connecting(attempt),
            Err(errno) => self.upstream_unavailable(errno, shared),
        }
    }

    /// Finds out whether the upstream is connected, if the attempt has a result or is too late. Returns
    /// true if the next address is tried, with a new socket.
    pub(super) fn settle_attempt(&mut self, shared: &mut Shared) -> bool {
        let now = shared.resources.now;
        let due = |attempt: &Attempt| attempt.is_decided() || attempt.deadline() <= now;
        if !matches!(&self.backend, Backend::Connecting(attempt) if due(attempt)) {
            return false;
        }
        let config = Arc::clone(&shared.config);
        let backend = mem::replace(&mut self.backend, Backend::Unavailable);
        let (Backend::Connecting(attempt), Role::Proxy(route)) =
            (backend, config.role(self.service))
        else {
            return false; // cannot happen: both were checked above
        };
        match attempt.settle(&route.addresses, connect_deadline(route, shared)) {
            Ok(Settled::Connected(server)) => {
                debug!("Connected to the upstream {route}");
                self.backend = Backend::Upstream(server);
                self.last_moved = now;
            }
            Ok(Settled::Trying(attempt)) => {
                self.backend = Backend::Connecting(attempt);
                return true;
            }
            Err(errno) => self.upstream_unavailable(errno, shared),
        }
        false
    }

    /// The upstream cannot be reached, or its socket cannot be registered.
    pub fn upstream_unavailable(&mut self, errno: Errno, shared: &mut Shared) {
        let Role::Proxy(route) = shared.config.role(self.service) else {
            return; // cannot happen: other roles have no upstream
        };
        let hint = match errno {
            Errno::ECONNREFUSED => format!(" (start one: `python3 -m http.server {}`)", route.port),
            Errno::EADDRNOTAVAIL => " (no port of ours is free for it)".to_owned(),
            _ => String::new(),
        };
        let text = format!("cannot reach upstream {route}: {}{hint}", errno.desc());
        self.backend_unavailable(text, shared);
    }

    /// There is no backend; `text` says why. Both directions end, so the client gets the end of the
    /// stream, and no reset.
    fn backend_unavailable(&mut self, text: String, shared: &mut Shared) {
        shared.resources.warn(text);
        self.backend = Backend::Unavailable;
        self.up.on(Event::SinkGone, &mut shared.resources);
        self.down.on(Event::SourceEnded, &mut shared.resources);
    }
}

/// The deadline for an address that is tried now: an equal share of the connect timeout, so that
/// one silent address cannot use up the time of the others.
fn connect_deadline(route: &Route, shared: &Shared) -> Instant {
    let addresses = route.addresses.len().max(1) as u32;
    shared.resources.now + shared.config.limits.connect / addresses
}
