//! A connection to an upstream, until it is established: [`Attempt`].
//!
//! Connecting takes at least one round trip. [`begin`](Attempt::begin) only starts it. When an
//! event has reported that it has succeeded or failed, [`settle`](Attempt::settle) finds out which
//! (`connect(2)`, EINPROGRESS). If an upstream has several addresses, they are tried one after the
//! other, each with its own deadline. The session whose client is waiting owns the attempt. An
//! attempt never waits, knows no epoll, and does not choose the upstream.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{SockaddrStorage, connect, getpeername, getsockopt};

use super::connection::Connection;
use super::socket::{Readiness, local_address, tcp_socket};

/// An attempt to connect to one of several addresses.
pub struct Attempt {
    fd: OwnedFd,
    /// Index of the address after the one that is being tried.
    next: usize,
    /// All that epoll has reported so far. It reports an edge only once, and the edge that reports
    /// the connection may also report bytes from the upstream, or even the end of its stream. So
    /// this is passed on to the connection.
    seen: Readiness,
    deadline: Instant,
}

/// The result of an attempt.
pub enum Settled {
    Connected(Connection),
    /// One address has failed, the next one is being tried. Its new descriptor is not registered
    /// yet.
    Trying(Attempt),
}

impl Attempt {
    /// Begins to connect to the first of `addresses` that does not fail immediately. `deadline` is
    /// for that address; the caller watches it.
    ///
    /// # Errors
    /// All addresses have failed; or there is no descriptor (EMFILE, ENFILE), and there would be
    /// none for the next address either.
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

    /// Takes note of an event.
    pub fn notice(&mut self, seen: Readiness) {
        self.seen.readable |= seen.readable;
        self.seen.writable |= seen.writable;
        self.seen.closing |= seen.closing;
        self.seen.failed |= seen.failed;
        self.seen.urgent |= seen.urgent;
    }

    /// Whether [`settle`](Attempt::settle) has something to do. As long as a socket is connecting,
    /// it is neither writable nor failed.
    pub fn is_decided(&self) -> bool {
        self.seen.writable || self.seen.failed || self.seen.closing
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Finds out the result, when the attempt is decided or its deadline is over. `addresses` are
    /// the same as before. If this address has failed, the next one is tried until `next_deadline`.
    ///
    /// # Errors
    /// The last address has failed as well.
    pub fn settle(self, addresses: &[SocketAddr], next_deadline: Instant) -> nix::Result<Settled> {
        let failure = match getsockopt(&self.fd, SocketError) {
            // The deadline is over. SO_ERROR is 0 in this case, too.
            _ if !self.is_decided() => Errno::ETIMEDOUT,
            Ok(0) if is_connected_to_itself(&self.fd, addresses[self.next - 1]) => {
                Errno::ECONNREFUSED
            }
            // Connected. ECONNRESET and EPIPE: the upstream has accepted the connection and then
            // reset it. It may have sent something before, so no other address is tried.
            Ok(0 | libc::ECONNRESET | libc::EPIPE) => {
                let mut connection = Connection::new(self.fd);
                connection.notice(self.seen);
                return Ok(Settled::Connected(connection));
            }
            Ok(number) => Errno::from_raw(number),
            Err(errno) => errno,
        };
        // Close this descriptor first: at the descriptor limit the next address gets no other one.
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
        Ok(()) => seen.writable = true, // connected already, without an event
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    Ok((fd, seen))
}

/// Whether a socket is connected to itself. If no server listens on the upstream's port, the kernel
/// may choose this very port for our side, and TCP allows a connection from a port to itself
/// (RFC 9293, 3.5, simultaneous open).
fn is_connected_to_itself(fd: &OwnedFd, to: SocketAddr) -> bool {
    match local_address(fd) {
        Ok(own) if own.port() == to.port() => {
            let peer = getpeername::<SockaddrStorage>(fd.as_raw_fd());
            peer.is_ok_and(|peer| peer == own.into())
        }
        _ => false, // nearly always; if there is an error, recv will report it
    }
}

#[cfg(test)]
mod tests;
