//! The socket that clients connect to, opened as in stage 1.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::{fs, io};

use anyhow::{Context, Result, anyhow};
use log::{info, warn};
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
    if let Some(most) = shorter_queue(backlog, fs::read_to_string(SOMAXCONN)) {
        warn!("Only {most} clients can wait to be accepted, not {backlog}: see {SOMAXCONN}");
    }
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
    // `Backlog` refuses a number above libc's SOMAXCONN, which is 128 in musl. Then the queue
    // gets the kernel's limit.
    let queue = Backlog::new(backlog).unwrap_or(Backlog::MAXALLOWABLE);
    listen(&listener, queue)?;

    let bound: SockaddrStorage = getsockname(listener.as_raw_fd())?;
    let bound = bound.to_string();
    let port = bound.rsplit(':').next().unwrap_or_default();
    info!("Server listening on port {port} ({bound})");
    Ok(listener)
}

/// The kernel's limit for the queue. It cuts a larger backlog silently (listen(2)).
const SOMAXCONN: &str = "/proc/sys/net/core/somaxconn";

/// The length of the queue, if the kernel has cut it.
fn shorter_queue(backlog: i32, limit: io::Result<String>) -> Option<i32> {
    let limit = limit.ok()?.trim().parse().ok()?;
    (limit < backlog).then_some(limit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_the_kernel_has_cut_is_noticed() {
        let limit = |text: &str| Ok(text.to_owned());
        assert_eq!(shorter_queue(300, limit("128\n")), Some(128));
        assert_eq!(shorter_queue(128, limit("128\n")), None);
        assert_eq!(shorter_queue(4096, limit("not a number")), None);
        let no_proc = Err(io::ErrorKind::NotFound.into());
        assert_eq!(shorter_queue(4096, no_proc), None);
    }
}
