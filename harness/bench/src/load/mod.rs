//! The load: what the clients send, and what the upstream behind a proxy answers. One thread
//! with one level-triggered epoll instance does both, so that the load costs less than any
//! server. Everything that comes back is counted and compared.

pub mod bulk;
pub mod datagrams;
pub mod fetch;
pub mod pingpong;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness::interrupt;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::socket::{Backlog, listen};

/// How long a server may leave all clients without an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listener for the upstream's side, on a free port.
pub fn upstream() -> Result<TcpListener> {
    upstream_on(0)
}

/// A listener on this port, with as long a queue as the system allows.
pub fn upstream_on(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    listen(&listener, Backlog::MAXALLOWABLE)?; // std asks for 128
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Waits for events. It is an error if none comes within `PATIENCE`.
fn wait(epoll: &Epoll, events: &mut [EpollEvent], server: SocketAddr) -> Result<usize> {
    let patience = EpollTimeout::try_from(PATIENCE)?;
    loop {
        interrupt::check()?;
        match epoll.wait(events, patience) {
            Err(nix::Error::EINTR) => {}
            Ok(0) => bail!("nothing came from {server} within {PATIENCE:?}"),
            other => return Ok(other?),
        }
    }
}

/// Random-looking bytes, the same in each run (xorshift).
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(next).collect()
}
