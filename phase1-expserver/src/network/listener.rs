//! Where clients come from: [`Listener`], a listening TCP socket.
//!
//! Owns the descriptor and knows, as a plain number, what its clients are to be served with.
//! Opened at start-up, asked by the core for one client after the other. It never waits, and knows
//! no epoll, roles or pipes.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{Backlog, SockFlag, SockaddrStorage, accept4, bind, listen, setsockopt};

use super::socket::{local_address, tcp_socket};

/// A socket that clients connect to.
pub struct Listener {
    fd: OwnedFd,
    /// Which of the configured services its clients get.
    pub service: u16,
    /// Clients may be waiting. Cleared only by [`Accept::WouldBlock`]: the edge that told of them
    /// does not come again when the server was out of descriptors meanwhile.
    pub pending: bool,
    /// Whether the core has it in its queue.
    pub queued: bool,
    address: SocketAddr,
}

/// What one try to accept a client has brought.
#[derive(Debug)]
pub enum Accept {
    Client(OwnedFd),
    /// Nobody is waiting any more. The next to come makes an event.
    WouldBlock,
    /// One client left while it was waiting: go on with the next.
    Passed(Errno),
    /// Out of descriptors or memory. Clients wait, and no event will tell: try again when a
    /// descriptor has been closed, or a second later.
    NoDescriptor(Errno),
}

impl Listener {
    /// Opens a socket bound to `at`; port 0 takes a free one. With `reuse_port` several sockets may
    /// be bound to the same port, if all of them say so, and the kernel deals clients out to them.
    ///
    /// # Errors
    /// Those of `bind(2)`.
    pub fn bind(at: SocketAddr, reuse_port: bool, service: u16) -> nix::Result<Self> {
        let fd = open(at, reuse_port)?;
        let address = local_address(&fd)?;
        Ok(Listener {
            fd,
            service,
            pending: false,
            queued: false,
            address,
        })
    }

    /// From here on clients can connect; `backlog` of them and one may wait to be accepted (at most
    /// 4,096, and net.core.somaxconn).
    ///
    /// # Errors
    /// EADDRINUSE: two sockets may be bound to one port, as long as neither listens.
    pub fn listen(&self, backlog: i32) -> nix::Result<()> {
        listen(&self.fd, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))
    }

    /// The address it is bound to, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes one client out of the backlog (`accept(2)`).
    pub fn accept(&mut self) -> Accept {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let accepted = loop {
            match accept4(self.fd.as_raw_fd(), flags) {
                Err(Errno::EINTR) => continue,
                accepted => break accepted,
            }
        };
        match accepted {
            // SAFETY: accept4 has just opened this descriptor, nobody else has it.
            #[allow(unsafe_code)]
            Ok(client) => Accept::Client(unsafe { OwnedFd::from_raw_fd(client) }),
            Err(Errno::EAGAIN) => {
                self.pending = false;
                Accept::WouldBlock
            }
            Err(errno) => {
                self.pending = true;
                refused(errno)
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Which failures of accept are one client's: its own, and those of the network on the way to it,
/// which Linux reports here (`accept(2)`). All others would only repeat themselves at once.
fn refused(errno: Errno) -> Accept {
    match errno {
        Errno::ECONNABORTED
        | Errno::EPERM // a rule of the firewall
        | Errno::EPROTO
        | Errno::ENOPROTOOPT
        | Errno::EOPNOTSUPP
        | Errno::ENETDOWN
        | Errno::ENETUNREACH
        | Errno::EHOSTDOWN
        | Errno::EHOSTUNREACH
        | Errno::ENONET => Accept::Passed(errno),
        _ => Accept::NoDescriptor(errno),
    }
}

fn open(at: SocketAddr, reuse_port: bool) -> nix::Result<OwnedFd> {
    let fd = tcp_socket(at)?;
    // Else, ended while a client is connected, the port would stay taken for a minute: who closes
    // first keeps the connection in TIME_WAIT (ip(7)).
    setsockopt(&fd, ReuseAddr, &true)?;
    if reuse_port {
        setsockopt(&fd, ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(fd)
}

#[cfg(test)]
mod tests;
