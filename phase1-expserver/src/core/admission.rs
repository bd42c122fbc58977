//! How clients come in: accepting them, within the descriptor limit of the process.

use std::os::fd::OwnedFd;
use std::time::Duration;

use log::debug;
use nix::errno::Errno;

use super::Core;
use super::session::{Next, Session, Shared};
use super::token::{Kind, Token};
use crate::network::connection::Connection;
use crate::network::listener::{Accept, Listener};
use crate::vec::{Key, XpsVec};

/// At most this many clients are accepted per listener and turn, so that a rush of new clients does
/// not starve the connected ones.
pub(super) const ACCEPTS: usize = 64;
/// How long to stop accepting after running out of descriptors. A session that ends also ends the
/// pause.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

impl Core {
    /// Accepts waiting clients, up to a limit.
    pub(super) fn accept(&mut self, key: Key<Listener>) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.queued = false;
        }
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get_mut(key) else {
                return;
            };
            if !retake_spare(&mut self.shared) {
                listener.pending = true;
                return self.pause_accepting(Errno::EMFILE);
            }
            let service = listener.service;
            match listener.accept() {
                Accept::Client(client) => self.admit(client, service),
                Accept::WouldBlock => return,
                Accept::Passed(errno) => debug!("A client left early: {}", errno.desc()),
                Accept::NoDescriptor(_) if self.shared.resources.kernel_pipes.close_unused() => {}
                Accept::NoDescriptor(errno) => return self.pause_accepting(errno),
            }
        }
        self.queue_listener(key); // more may be waiting, and epoll will not report them again
    }

    /// Opens a session for a new client. The only place where a session begins.
    fn admit(&mut self, client: OwnedFd, service: u16) {
        let session = Session::open(Connection::new(client), service, &mut self.shared);
        let key = self.sessions.insert(session);
        self.admitted += 1;
        debug!("Client connected to server");
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let token = Token::new(Kind::Client, key);
        let next = match self.events.register(session.client_fd(), token) {
            Ok(()) if session.upstream_fd().is_some() => Next::Register,
            Ok(()) if session.has_work() => Next::Again,
            Ok(()) => Next::Wait,
            Err(errno) => {
                let text = format!("cannot watch a client: {}", errno.desc());
                self.shared.resources.warn(text);
                session.cut(&mut self.shared.resources);
                Next::Destroy
            }
        };
        self.follow(key, next);
    }

    /// Stops accepting for a while: descriptors or memory ran out. The clients wait in the kernel's
    /// queue, and epoll does not report them again.
    fn pause_accepting(&mut self, errno: Errno) {
        let text = format!("cannot accept clients, they wait: {}", errno.desc());
        self.shared.resources.warn(text);
        if self.retry.is_none() {
            let at = self.shared.resources.now + ACCEPT_PAUSE;
            self.retry = Some(at);
            self.events.arm(at, Token::plain(Kind::Retry));
        }
    }

    /// Accepts clients again, because descriptors may have become free.
    pub(super) fn resume_accepting(&mut self) {
        let Some(at) = self.retry.take() else {
            return;
        };
        self.events.disarm(at, Token::plain(Kind::Retry));
        let listeners = self.listeners.iter();
        let pending = listeners.filter(|(_, listener)| listener.pending);
        let keys: XpsVec<_> = pending.map(|(key, _)| key).collect();
        for key in keys {
            self.queue_listener(key);
        }
    }
}

/// Takes a descriptor into reserve, if necessary by closing unused kernel pipes: accepting clients
/// is more important than keeping those.
fn retake_spare(shared: &mut Shared) -> bool {
    let pipes = &mut shared.resources.kernel_pipes;
    shared.spare.retake() || pipes.close_unused() && shared.spare.retake()
}
