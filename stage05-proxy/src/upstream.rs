//! The server behind the proxy: its addresses, and how to connect to it without waiting.

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

use crate::given::itself::is_connected_to_itself;
use crate::given::listen::family;

pub struct Upstream {
    /// `HOST:PORT`, as it was given.
    name: String,
    addresses: Vec<SocketAddr>,
    /// How long to wait for one address: its share of `--connect-timeout`.
    pub patience: Duration,
}

impl Upstream {
    /// Looks the name up once, before there are clients: it may take seconds.
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

    /// Whether the upstream is our own listener. Then each connection to the upstream would be a
    /// new client of ours, which needs a connection to the upstream, and so on.
    pub fn is_at(&self, listener: &OwnedFd) -> bool {
        let own = getsockname::<SockaddrStorage>(listener.as_raw_fd());
        own.is_ok_and(|own| self.addresses.iter().any(|&to| own == to.into()))
    }

    /// Begins to connect to the address with index `from`, or to a later one if the kernel refuses
    /// that immediately. Returns the socket and the index of its address. If no address is left,
    /// it fails with `failure`, which says why the last address did not work.
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
        let port = self.addresses[0].port();
        let hint = match errno {
            Errno::ECONNREFUSED => format!(" (start one: `python3 -m http.server {port}`)"),
            Errno::EADDRNOTAVAIL => " (no port of ours is free for it)".to_owned(),
            _ => String::new(),
        };
        format!(
            "cannot reach upstream {}: {}{hint}",
            self.name,
            errno.desc()
        )
    }
}

fn begin_connect(target: SocketAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family(target), SockType::Stream, flags, None)?;
    setsockopt(&socket, TcpNoDelay, &true)?; // no Nagle's algorithm, see given/listen.rs
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        // The socket becomes writable when the connect has succeeded or failed.
        Ok(()) | Err(Errno::EINPROGRESS | Errno::EINTR) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// How the connect has ended. The socket becomes writable in either case. Only SO_ERROR says
/// which it is (connect(2)).
pub fn connect_result(socket: &OwnedFd) -> nix::Result<()> {
    match getsockopt(socket, SocketError)? {
        // Nobody listens there, and the kernel has taken the upstream's port for our side.
        0 if is_connected_to_itself(socket)? => Err(Errno::ECONNREFUSED),
        0 => Ok(()),
        // It was connected, and then reset. An answer may have come before the reset.
        libc::ECONNRESET | libc::EPIPE => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}
