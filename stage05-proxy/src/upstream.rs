//! The server behind the proxy: its addresses, and connections to it that are
//! begun without waiting for them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::{SocketError, TcpNoDelay};
use nix::sys::socket::{
    SockFlag, SockType, SockaddrStorage, connect, getpeername, getsockname, getsockopt, setsockopt,
    socket,
};
use stage05_proxy::listen::family;

pub struct Upstream {
    /// `HOST:PORT`, as it was given.
    pub name: String,
    addresses: Vec<SocketAddr>,
    /// How long one address may take to answer: its share of `--connect-timeout`.
    pub patience: Duration,
}

/// A connection that has been begun, to the address of this index.
pub struct Attempt {
    pub socket: OwnedFd,
    pub address: usize,
}

impl Upstream {
    /// Looks the name up, once: a resolver may take seconds, in which the loop
    /// would stand still.
    pub fn resolve(name: &str, connect_timeout: Duration) -> Result<Upstream> {
        let addresses: Vec<SocketAddr> = name
            .to_socket_addrs()
            .map_err(|error| {
                anyhow!(
                    "cannot resolve --upstream {name}: {error} (HOST:PORT, as in localhost:3000)"
                )
            })?
            .collect();
        ensure!(!addresses.is_empty(), "--upstream {name} has no address");
        let reachable = addresses.iter().all(|address| address.port() != 0);
        ensure!(reachable, "--upstream {name}: nobody can listen on port 0");
        let patience = connect_timeout / addresses.len() as u32;
        let name = name.to_owned();
        Ok(Upstream {
            name,
            addresses,
            patience,
        })
    }

    /// Whether the upstream is this very listener: a client would be connected to the
    /// proxy again and again, until all descriptors are used up.
    pub fn is_at(&self, listener: &OwnedFd) -> bool {
        let own = getsockname::<SockaddrStorage>(listener.as_raw_fd());
        let own = own.map(|own| own.to_string().parse::<SocketAddr>());
        let Ok(Ok(own)) = own else {
            return false;
        };
        // To listen on 0.0.0.0 is to listen on 127.0.0.1 too; to connect to it is to
        // connect to this machine.
        let same = |upstream: &SocketAddr| {
            own.port() == upstream.port()
                && (own.ip() == upstream.ip()
                    || own.ip().is_unspecified() && upstream.ip().is_loopback()
                    || upstream.ip().is_unspecified())
        };
        self.addresses.iter().any(same)
    }

    /// Begins to connect to the first address from `from` on that lets it begin.
    /// Fails with `failure`, the one of the address before, when none is left.
    pub fn begin(&self, from: usize, mut failure: Errno) -> nix::Result<Attempt> {
        for (address, &target) in self.addresses.iter().enumerate().skip(from) {
            match begin_connect(target) {
                Ok(socket) => return Ok(Attempt { socket, address }),
                Err(errno) => failure = errno,
            }
        }
        Err(failure)
    }
}

fn begin_connect(target: SocketAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family(target), SockType::Stream, flags, None)?;
    setsockopt(&socket, TcpNoDelay, &true)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        // On its way: the socket becomes writable when there is a result.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// How the connect has ended: a socket is writable after a failure as well, only
/// SO_ERROR tells (connect(2)).
pub fn connect_result(socket: &OwnedFd) -> nix::Result<()> {
    match getsockopt(socket, SocketError)? {
        0 if is_connected_to_itself(socket)? => Err(Errno::ECONNREFUSED),
        0 => Ok(()),
        // Reset by one that had accepted: connected, with an answer perhaps, and gone.
        libc::ECONNRESET | libc::EPIPE => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// With nobody at the upstream's port, the kernel may give that very port to the
/// socket that asks for it: TCP allows a connection from a port to itself (RFC 9293,
/// 3.5, simultaneous open).
fn is_connected_to_itself(socket: &OwnedFd) -> nix::Result<bool> {
    let own: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    match getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(peer) => Ok(own == peer),
        Err(_) => Ok(false), // gone again: recv will tell
    }
}
