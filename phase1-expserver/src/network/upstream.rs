//! A connection to an upstream that is still to be made: [`Attempt`].
//!
//! Connecting takes a round trip or more, so it is begun here and settled when an event has told
//! that it is decided (`connect(2)`, EINPROGRESS). An upstream may have several addresses: they are
//! tried one after the other, each until a deadline of its own. Owned by the session whose client is
//! waiting. It never waits, knows no epoll and does not choose who is connected to what.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{SockaddrStorage, connect, getpeername, getsockopt};

use super::connection::Connection;
use super::socket::{Readiness, local_address, tcp_socket};

/// A connection on its way to the address before `next`.
pub struct Attempt {
    fd: OwnedFd,
    next: usize,
    /// All that was seen so far. The event that tells of the connection is an edge, and may tell
    /// as well of bytes that the upstream has sent first, or even of its end: it is the connection
    /// that must hear of these.
    seen: Readiness,
    deadline: Instant,
}

/// What has become of an attempt.
pub enum Settled {
    Connected(Connection),
    /// One address has failed, the next is tried: with a new descriptor, not yet registered.
    Trying(Attempt),
}

impl Attempt {
    /// Begins to connect to the first of `addresses` for which that does not fail at once.
    /// `deadline` is for that one; watching it is the caller's.
    ///
    /// # Errors
    /// All addresses have failed; or there is no descriptor (EMFILE, ENFILE), which would be the
    /// same for all of them.
    pub fn begin(addresses: &[SocketAddr], deadline: Instant) -> nix::Result<Self> {
        Attempt::start_with(0, addresses, deadline, Errno::EADDRNOTAVAIL)
    }

    fn start_with(
        first: usize,
        addresses: &[SocketAddr],
        deadline: Instant,
        mut failure: Errno,
    ) -> nix::Result<Self> {
        for (index, &address) in addresses.iter().enumerate().skip(first) {
            match start(address) {
                Ok((fd, seen)) => {
                    return Ok(Attempt {
                        fd,
                        next: index + 1,
                        seen,
                        deadline,
                    });
                }
                Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => return Err(errno),
                Err(errno) => failure = errno,
            }
        }
        Err(failure)
    }

    /// Takes in an event.
    pub fn notice(&mut self, seen: Readiness) {
        self.seen.readable |= seen.readable;
        self.seen.writable |= seen.writable;
        self.seen.closing |= seen.closing;
        self.seen.failed |= seen.failed;
        self.seen.urgent |= seen.urgent;
    }

    /// Whether [`settle`](Attempt::settle) has something to do: a socket that is connecting is
    /// neither writable nor failed.
    pub fn is_decided(&self) -> bool {
        self.seen.writable || self.seen.failed || self.seen.closing
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Finds out what has become of it, once it is decided or its deadline has come. `addresses` are
    /// those it was begun with, `next_deadline` is for the next of them.
    ///
    /// # Errors
    /// The last address has failed as well.
    pub fn settle(self, addresses: &[SocketAddr], next_deadline: Instant) -> nix::Result<Settled> {
        let failure = match getsockopt(&self.fd, SocketError) {
            // SO_ERROR is 0 here as well.
            _ if !self.is_decided() => Errno::ETIMEDOUT,
            Ok(0) if is_connected_to_itself(&self.fd, addresses[self.next - 1]) => {
                Errno::ECONNREFUSED
            }
            // Nothing has failed. Or reset by an upstream that had accepted already: connected, with
            // an answer perhaps, and dead. To try the next one would be to ask twice.
            Ok(0 | libc::ECONNRESET | libc::EPIPE) => {
                let mut connection = Connection::new(self.fd);
                connection.notice(self.seen);
                return Ok(Settled::Connected(connection));
            }
            Ok(number) => Errno::from_raw(number),
            Err(errno) => errno,
        };
        // Closed first: at the descriptor limit there is only this one for the next address.
        drop(self.fd);
        Attempt::start_with(self.next, addresses, next_deadline, failure).map(Settled::Trying)
    }
}

impl AsFd for Attempt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn start(address: SocketAddr) -> nix::Result<(OwnedFd, Readiness)> {
    let fd = tcp_socket(address)?;
    let mut seen = Readiness::default();
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => seen.writable = true, // at once: then no event is needed
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    Ok((fd, seen))
}

/// With nobody at the upstream's port, the kernel may give that very port to the socket that asks for
/// it: TCP allows a connection from a port to itself (RFC 9293, 3.5, simultaneous open).
fn is_connected_to_itself(fd: &OwnedFd, to: SocketAddr) -> bool {
    match local_address(fd) {
        Ok(own) if own.port() == to.port() => {
            let peer = getpeername::<SockaddrStorage>(fd.as_raw_fd());
            peer.is_ok_and(|peer| peer == own.into())
        }
        _ => false, // as nearly always, or gone again: recv will tell
    }
}

#[cfg(test)]
mod tests;
