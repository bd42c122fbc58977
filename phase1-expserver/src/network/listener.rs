//! Where clients come from: [`Listener`], a listening TCP socket.
//!
//! It owns the descriptor, and the number of the service that its clients get. Core accepts one
//! client after the other from it. It never waits, and knows no epoll, roles or pipes.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{KeepAlive, ReuseAddr, ReusePort};
use nix::sys::socket::{Backlog, SockFlag, SockaddrStorage, accept4, bind, listen, setsockopt};

use super::socket::{local_address, tcp_socket};

/// A socket that clients connect to.
pub struct Listener {
    fd: OwnedFd,
    /// Index of the configured service that its clients get.
    pub service: u16,
    /// Clients may be waiting. Cleared only by [`Accept::WouldBlock`], because epoll does not
    /// repeat its event after the server has run out of descriptors.
    pub pending: bool,
    /// For core: whether this listener is in the queue.
    pub queued: bool,
    address: SocketAddr,
}

/// The result of one call of `accept`.
#[derive(Debug)]
pub enum Accept {
    Client(OwnedFd),
    /// No client is waiting. The next one causes an event.
    WouldBlock,
    /// One client left while it was waiting: go on with the next one.
    Passed(Errno),
    /// Out of descriptors or memory. Clients are waiting, and no event will report them: try again
    /// when a descriptor has been closed, or after a second.
    NoDescriptor(Errno),
}

impl Listener {
    /// Opens a socket bound to `at`; port 0 takes a free port. With `reuse_port` several sockets
    /// can share a port, if all of them set the option, and the kernel spreads the clients among
    /// them.
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

    /// Lets clients connect from now on. `backlog` + 1 of them may wait to be accepted, if the kernel
    /// allows it: see [`shorter_queue`].
    ///
    /// # Errors
    /// EADDRINUSE: two sockets can be bound to one port, but only one of them can listen.
    pub fn listen(&self, backlog: i32) -> nix::Result<()> {
        // `Backlog` refuses a number above libc's SOMAXCONN, which is 128 in musl. Then the queue
        // gets the kernel's limit.
        listen(
            &self.fd,
            Backlog::new(backlog).unwrap_or(Backlog::MAXALLOWABLE),
        )
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
            // SAFETY: accept4 has just opened this descriptor, and nothing else owns it.
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

/// The kernel's limit for the queue of clients that wait. It cuts a larger backlog silently
/// (`listen(2)`).
pub const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// The length of the queue, if the kernel cuts it.
pub fn shorter_queue(backlog: i32) -> Option<i32> {
    cut_to(backlog, fs::read_to_string(SOMAXCONN))
}

fn cut_to(backlog: i32, limit: io::Result<String>) -> Option<i32> {
    let limit = limit.ok()?.trim().parse().ok()?;
    (limit < backlog).then_some(limit)
}

/// Separates the failures that concern one client from all others. Through `accept` Linux also
/// reports errors of the network between us and the client (`accept(2)`). After such an error the
/// next client may be fine. Any other error would come again for the next client.
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
    // Without this, a server that is stopped while a client is connected cannot be restarted for a
    // minute: the side that closes first stays in TIME_WAIT (ip(7)).
    setsockopt(&fd, ReuseAddr, &true)?;
    // A client whose machine has lost its power sends no FIN. After two silent hours, our kernel asks
    // whether the client is still there (tcp(7)). Accepted sockets inherit the option.
    setsockopt(&fd, KeepAlive, &true)?;
    if reuse_port {
        setsockopt(&fd, ReusePort, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    Ok(fd)
}

#[cfg(test)]
mod tests;
