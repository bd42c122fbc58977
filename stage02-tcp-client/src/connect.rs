//! How both clients connect to the server: `socket` and `connect`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getpeername, getsockname, socket,
};

use crate::given::cli::Server;

/// Connects to the server. A name may have several addresses: the first one that accepts
/// is taken.
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

/// `connect` waits until the server's kernel has answered. We call no `bind`: our kernel
/// chooses a free port for this side.
fn open_connection(address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if is_connected_to_itself(&socket)? {
        return Err(Errno::ECONNREFUSED);
    }
    Ok(socket)
}

/// Whether both ends of the connection are this socket. If no server listens on the port, our kernel
/// may choose this very port for our side, and TCP allows a connection from a port to itself
/// (RFC 9293, 3.5, simultaneous open).
fn is_connected_to_itself(socket: &OwnedFd) -> nix::Result<bool> {
    let ours: SockaddrStorage = getsockname(socket.as_raw_fd())?;
    let theirs: nix::Result<SockaddrStorage> = getpeername(socket.as_raw_fd());
    Ok(theirs == Ok(ours)) // if it is no longer connected, `recv` says why
}

fn cannot_connect(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::ECONNREFUSED => {
            " (start a server first: `cargo run -p stage01-tcp-server`, or stage04-epoll for many clients)"
        }
        _ => "",
    };
    anyhow!(
        "Failed to connect to tcp server {address}: {}{hint}",
        errno.desc()
    )
}
