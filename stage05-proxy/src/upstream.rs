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
    SockFlag, SockType, SockaddrStorage, bind, connect, getpeername, getsockname, getsockopt,
    setsockopt, socket,
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
        self.addresses.iter().any(|&to| arrives_at(to, own))
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

/// Whether who connects to `upstream` gets to the listener on `own`.
fn arrives_at(upstream: SocketAddr, own: SocketAddr) -> bool {
    // ::ffff:127.0.0.1 is 127.0.0.1, written as an IPv6 address (ipv6(7)).
    let (to, at) = (upstream.ip().to_canonical(), own.ip().to_canonical());
    // To listen on 0.0.0.0 is to listen on every IPv4 address of this machine, and on
    // [::] on all there are; to connect to them is to connect to this machine.
    let is_everywhere = at.is_unspecified() && (at.is_ipv6() || to.is_ipv4());
    own.port() == upstream.port()
        && (at == to || to.is_unspecified() || is_everywhere && is_of_this_machine(upstream))
}

/// Only addresses of this machine can be bound (ip(7)).
fn is_of_this_machine(mut address: SocketAddr) -> bool {
    address.set_port(0); // any that is free
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(family(address), SockType::Stream, flags, None);
    socket.is_ok_and(|s| bind(s.as_raw_fd(), &SockaddrStorage::from(address)).is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// An address of this machine that other machines may know; none without a network.
    fn known_outside() -> Option<SocketAddr> {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.connect("192.0.2.1:9").ok()?; // asks for a route, sends nothing
        let address = socket.local_addr().ok()?;
        Some(SocketAddr::new(address.ip(), 9))
    }

    #[test]
    fn a_proxy_knows_itself() {
        for (own, upstream, expected) in [
            ("127.0.0.1:9", "127.0.0.1:9", true),
            ("127.0.0.1:9", "127.0.0.1:8", false),
            ("127.0.0.1:9", "127.0.0.2:9", false),
            ("127.0.0.1:9", "0.0.0.0:9", true), // to connect to it is to connect to the loopback
            ("0.0.0.0:9", "127.3.2.1:9", true),
            ("0.0.0.0:9", "192.0.2.1:9", false), // another machine's
            ("[::]:9", "192.0.2.1:9", false),
            ("[::]:9", "127.0.0.1:9", true),
            ("0.0.0.0:9", "[::1]:9", false),
            // IPv4, written as IPv6.
            ("127.0.0.1:9", "[::ffff:127.0.0.1]:9", true),
            ("[::ffff:127.0.0.1]:9", "127.0.0.1:9", true),
            ("[::ffff:0.0.0.0]:9", "127.3.2.1:9", true),
            ("0.0.0.0:9", "[::ffff:192.0.2.1]:9", false),
        ] {
            let (own, upstream) = (own.parse().unwrap(), upstream.parse().unwrap());
            assert_eq!(arrives_at(upstream, own), expected, "{own} {upstream}");
        }
        if let Some(outside) = known_outside() {
            for own in ["0.0.0.0:9", "[::]:9"] {
                assert!(arrives_at(outside, own.parse().unwrap()), "{own} {outside}");
            }
        }
    }
}
