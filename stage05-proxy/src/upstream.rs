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
    SockFlag, SockType, SockaddrStorage, connect, getsockname, getsockopt, setsockopt, socket,
};
use stage05_proxy::given::listen::family;

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
        let patience = connect_timeout / addresses.len() as u32;
        let name = name.to_owned();
        Ok(Upstream {
            name,
            addresses,
            patience,
        })
    }

    /// Whether the upstream is this very listener. A client would be connected to the proxy
    /// again and again, until all descriptors are used up.
    pub fn is_at(&self, listener: &OwnedFd) -> bool {
        let own = getsockname::<SockaddrStorage>(listener.as_raw_fd());
        own.is_ok_and(|own| self.addresses.iter().any(|&to| own == to.into()))
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
        0 => Ok(()),
        // Reset by one that had accepted: connected, with an answer perhaps, and gone.
        libc::ECONNRESET | libc::EPIPE => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}
