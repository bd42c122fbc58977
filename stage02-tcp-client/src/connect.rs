//! The way to the server: `socket` and `connect`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket,
};

use crate::cli::Server;

/// A connection to the first address of `--host` that has one (a name may have
/// several).
pub fn connect_to(server: &Server) -> Result<OwnedFd> {
    let (host, port) = (server.host.as_str(), server.port);
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match open_connection(address) {
            Ok(socket) => return Ok(socket),
            Err(errno) => failure = cannot_connect(address, errno),
        }
    }
    Err(failure)
}

fn open_connection(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        // A signal came first. The kernel goes on connecting: asking again would be
        // an error (connect(2)).
        Err(Errno::EINTR) => wait_until_connected(&socket)?,
        result => result?,
    }
    Ok(socket)
}

fn wait_until_connected(socket: &OwnedFd) -> nix::Result<()> {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    while let Err(Errno::EINTR) = poll(&mut asked, PollTimeout::NONE) {}
    // Writable means decided, and not yet connected (connect(2), EINPROGRESS).
    match getsockopt(socket, SocketError)? {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)),
    }
}

fn cannot_connect(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::ECONNREFUSED => " (start a server first: `cargo run -p stage01-tcp-server`)",
        _ => "",
    };
    anyhow!(
        "Failed to connect to tcp server {address}: {}{hint}",
        errno.desc()
    )
}
