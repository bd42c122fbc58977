//! What all TCP sockets have in common: how they are made, and what the kernel reports about them.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, getsockname, setsockopt, socket,
};

/// What the kernel reports about a socket (epoll(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, or the end of the stream, can be received.
    pub readable: bool,
    /// The send buffer has room.
    pub writable: bool,
    /// The peer has shut down its sending side, or both sides are shut down.
    pub closing: bool,
    /// The connection has failed: a reset, a timeout, a connect that did not succeed.
    pub failed: bool,
    /// A byte of urgent data has been announced. A `recv` stops there, even if more bytes follow.
    pub urgent: bool,
}

/// A TCP socket of the kind that `address` needs, non-blocking.
pub(super) fn tcp_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // Turns off Nagle's algorithm (tcp(7)), which holds back small sends until the bytes before
    // them are acknowledged. The peer may put that off: a delayed ACK can take 40 ms. Accepted
    // sockets inherit the option from their listener, which saves a system call per client.
    setsockopt(&fd, TcpNoDelay, &true)?;
    Ok(fd)
}

/// The address of our side of a socket.
pub(super) fn local_address(fd: &OwnedFd) -> nix::Result<SocketAddr> {
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    match (bound.as_sockaddr_in(), bound.as_sockaddr_in6()) {
        (Some(address), _) => Ok(SocketAddr::V4((*address).into())),
        (_, Some(address)) => Ok(SocketAddr::V6((*address).into())),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
