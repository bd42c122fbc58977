//! Sockets. Nothing in here knows epoll, roles or sessions.
//!
//! - [`listener`]: where clients come from.
//! - [`connection`]: one socket as a source and a sink.
//! - [`upstream`]: a connection that is still to be made.

pub mod connection;
pub mod listener;
pub mod upstream;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, getsockname, setsockopt, socket,
};

/// A TCP socket of the kind that `address` needs, non-blocking.
fn tcp_socket(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    // What is sent goes out at once, also while what was sent before is not acknowledged (tcp(7)).
    // Accepted sockets inherit it from their listener, which spares a call for each client.
    setsockopt(&fd, TcpNoDelay, &true)?;
    Ok(fd)
}

/// The address that a socket has on this side.
fn local_address(fd: &OwnedFd) -> nix::Result<SocketAddr> {
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    match (bound.as_sockaddr_in(), bound.as_sockaddr_in6()) {
        (Some(address), _) => Ok(SocketAddr::V4((*address).into())),
        (_, Some(address)) => Ok(SocketAddr::V6((*address).into())),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

#[cfg(test)]
pub mod rig;
