//! The socket that clients connect to, opened as in stage 1.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow};
use log::info;
use nix::errno::Errno;
use nix::sys::socket::sockopt::{KeepAlive, ReuseAddr, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen,
    setsockopt, socket,
};

/// Opens a socket that clients can connect to. A name may have several addresses: the first
/// one that works is taken.
pub fn open_listener(host: &str, port: u16, backlog: i32, flags: SockFlag) -> Result<OwnedFd> {
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match listen_on(address, backlog, flags) {
            Ok(listener) => return Ok(listener),
            Err(errno) => failure = cannot_listen(address, errno),
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr, backlog: i32, flags: SockFlag) -> nix::Result<OwnedFd> {
    let listener = socket(family(address), SockType::Stream, flags, None)?;
    // Without this, a server that is stopped while a client is connected cannot be
    // restarted for a minute: the side that closes first stays in TIME_WAIT (ip(7)).
    setsockopt(&listener, ReuseAddr, &true)?;
    // Turns off Nagle's algorithm, which holds back a second answer until the first one is
    // acknowledged. With a delayed ACK that takes 40 ms. Accepted sockets inherit the option.
    setsockopt(&listener, TcpNoDelay, &true)?;
    // A client whose machine has lost its power sends no FIN. After two silent hours, our kernel
    // asks whether the client is still there (tcp(7)). This option is inherited, too.
    setsockopt(&listener, KeepAlive, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;

    let bound: SockaddrStorage = getsockname(listener.as_raw_fd())?;
    let bound = bound.to_string();
    let port = bound.rsplit(':').next().unwrap_or_default();
    info!("Server listening on port {port} ({bound})");
    Ok(listener)
}

pub fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn cannot_listen(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::EADDRINUSE => " (`ss -ltnp` shows who has the port)",
        Errno::EACCES => " (ports below 1024 are for root)",
        Errno::EADDRNOTAVAIL => " (`ip address` shows the addresses of this machine)",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {}{hint}", errno.desc())
}
