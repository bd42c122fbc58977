//! Sockets. Nothing in here knows epoll, roles or sessions.
//!
//! - [`listener`]: where clients come from.
//! - [`connection`]: one socket as a source and a sink.
//! - [`upstream`]: a connection that is still to be made.

pub mod connection;
pub mod listener;
pub mod upstream;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::sys::socket::sockopt::TcpNoDelay;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket};

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

#[cfg(test)]
mod rig;
