//! The server behind the proxy: its addresses, and connections to it that are begun without
//! waiting for them.

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

use crate::given::listen::family;

pub struct Upstream {
    /// `HOST:PORT`, as it was given.
    name: String,
    addresses: Vec<SocketAddr>,
    /// How long one address may take to answer: its share of `--connect-timeout`.
    pub patience: Duration,
}

impl Upstream {
    /// Looks the name up, once. A resolver may take seconds, and all clients would wait.
    pub fn resolve(name: &str, connect_timeout: Duration) -> Result<Upstream> {
        let hint = "HOST:PORT, as in localhost:3000";
        let addresses: Vec<SocketAddr> = name
            .to_socket_addrs()
            .map_err(|error| anyhow!("cannot resolve --upstream {name}: {error} ({hint})"))?
            .collect();
        ensure!(!addresses.is_empty(), "--upstream {name} has no address");
        Ok(Upstream {
            name: name.to_owned(),
            patience: connect_timeout / addresses.len() as u32,
            addresses,
        })
    }

    /// Whether the upstream is this very listener. The proxy would connect each client to
    /// itself, and that one again, until all descriptors are used up.
    pub fn is_at(&self, listener: &OwnedFd) -> bool {
        let own = getsockname::<SockaddrStorage>(listener.as_raw_fd());
        own.is_ok_and(|own| self.addresses.iter().any(|&to| own == to.into()))
    }

    /// Begins to connect to the first address from `from` on that lets it begin: the socket, and
    /// the index of the address. If none is left, fails with `failure`, the reason of the one
    /// before.
    pub fn begin(&self, from: usize, mut failure: Errno) -> nix::Result<(OwnedFd, usize)> {
        for (address, &target) in self.addresses.iter().enumerate().skip(from) {
            match begin_connect(target) {
                Ok(socket) => return Ok((socket, address)),
                Err(errno) => failure = errno,
            }
        }
        Err(failure)
    }

    /// The warning for a client that cannot be connected.
    pub fn cannot_reach(&self, errno: Errno) -> String {
        let mut text = format!("cannot reach upstream {}: {}", self.name, errno.desc());
        if errno == Errno::ECONNREFUSED {
            let port = self.addresses[0].port();
            text += &format!(" (start one: `python3 -m http.server {port}`)");
        }
        text
    }
}

fn begin_connect(target: SocketAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family(target), SockType::Stream, flags, None)?;
    setsockopt(&socket, TcpNoDelay, &true)?; // see given/listen.rs
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        // On its way: the socket becomes writable when there is a result.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// How the connect has ended. A socket becomes writable after a failure, too: only SO_ERROR
/// tells which it was (connect(2)).
pub fn connect_result(socket: &OwnedFd) -> nix::Result<()> {
    match getsockopt(socket, SocketError)? {
        0 => Ok(()),
        // It was connected, and reset since. An answer may have come before that.
        libc::ECONNRESET | libc::EPIPE => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}
