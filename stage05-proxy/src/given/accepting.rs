//! The listener in the event loop, as in stage 4. When descriptors run out, it is not watched for
//! a while: the clients in its queue keep it ready, so epoll would report it again and again.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{debug, warn};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{SockFlag, accept4};

use super::passing::is_passing;

/// How long to stop accepting after running out of descriptors. A client that leaves ends the
/// pause early.
const PAUSE: Duration = Duration::from_secs(1);

pub struct Listener {
    socket: OwnedFd,
    token: u64,
    /// Set while the socket is not watched.
    paused_until: Option<Instant>,
    /// The shortage has been logged; do not log it again.
    warned: bool,
}

impl Listener {
    /// Puts the listening socket into the epoll set.
    pub fn watched(socket: OwnedFd, epoll: &Epoll, token: u64) -> nix::Result<Listener> {
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        Ok(Listener {
            socket,
            token,
            paused_until: None,
            warned: false,
        })
    }

    /// The next client. Fails with EAGAIN when there is none, and during a pause.
    pub fn accept(&mut self) -> nix::Result<OwnedFd> {
        if self.paused_until.is_some() {
            return Err(Errno::EAGAIN);
        }
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        loop {
            match accept4(self.socket.as_raw_fd(), flags) {
                // SAFETY: accept4 has just opened this descriptor, and nothing else owns it.
                #[allow(unsafe_code)]
                Ok(client) => return Ok(unsafe { OwnedFd::from_raw_fd(client) }),
                Err(Errno::EAGAIN) => {
                    self.warned = false; // no client waits: the shortage is over
                    return Err(Errno::EAGAIN);
                }
                Err(errno) if is_passing(errno) => {
                    debug!("A client left before it was accepted: {}", errno.desc());
                }
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Accepts no client for a while, because there are no descriptors left, or no memory.
    pub fn pause(&mut self, epoll: &Epoll, errno: Errno, connected: usize) {
        if !self.warned {
            let why = errno.desc();
            warn!("cannot accept a client: {why} ({connected} connected, others wait)");
            self.warned = true;
        }
        self.paused_until = Some(Instant::now() + PAUSE);
        self.watch(epoll, EpollFlags::empty());
    }

    /// When [`Listener::resume`] has something to do.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends the pause when it is over.
    pub fn resume(&mut self, epoll: &Epoll) {
        if self
            .paused_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.paused_until = None;
            self.watch(epoll, EpollFlags::EPOLLIN);
        }
    }

    /// Descriptors are free again: a pause ends with this turn.
    pub fn end_pause(&mut self) {
        self.paused_until = self.paused_until.map(|_| Instant::now());
    }

    fn watch(&self, epoll: &Epoll, interest: EpollFlags) {
        let mut event = EpollEvent::new(interest, self.token);
        let _ = epoll.modify(&self.socket, &mut event); // it is in the set: cannot fail
    }
}

/// Whether descriptors or memory ran out, which all clients share (accept(2), socket(2)).
pub fn is_exhaustion(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM
    )
}
