//! Stage 4: a TCP server for many clients on one thread.
//!
//! Nothing here waits for one client. All sockets are non-blocking, the thread
//! sleeps in one place (`epoll_wait`), and there the kernel says which sockets are
//! ready. The work of one wake-up is in proportion to those, not to all clients.

mod cli;
mod client;
mod console;
mod lines;
mod reverse;
mod server;
mod show;

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use log::{debug, error, info};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::sockopt::{ReuseAddr, TcpNoDelay};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockname, listen,
    setsockopt, socket,
};

use cli::Args;
use server::Server;

fn main() -> ExitCode {
    let args = Args::parse();
    console::start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    raise_descriptor_limit();
    let signals = catch_signals().map_err(|e| anyhow!("cannot catch signals: {}", e.desc()))?;
    let listener = open_listener(args)?;
    let mut server = Server::new(listener, signals, args.quiet)
        .map_err(|e| anyhow!("cannot set up epoll: {}", e.desc()))?;
    server.run()
}

/// A client costs one descriptor. Many systems let a process have 1024 of them
/// until it asks for more (getrlimit(2)).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((soft, hard)) => debug!("Descriptor limit raised to {hard}, it was {soft}"),
        Err(errno) => debug!("Descriptor limit stays as it is: {}", errno.desc()),
    }
}

/// Makes SIGINT and SIGTERM readable from a descriptor: one more event in the loop,
/// instead of a handler that interrupts it anywhere (signalfd(2)).
fn catch_signals() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked for good: a second signal finds us on our way out and changes nothing.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Opens a socket that clients can connect to, on the first address of `--host`
/// that can be had (a name may have several).
fn open_listener(args: &Args) -> Result<OwnedFd> {
    let (host, port) = (args.host.as_str(), args.port);
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match listen_on(address, args.backlog) {
            Ok(listener) => return Ok(listener),
            Err(errno) => failure = cannot_listen(address, errno),
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr, backlog: i32) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket(family, SockType::Stream, flags, None)?;
    // Else, ended while a client is connected, the port stays taken for a minute:
    // who closes first keeps the connection in TIME_WAIT (ip(7)).
    setsockopt(&listener, ReuseAddr, &true)?;
    // Answers go out at once. Else a second one waits until the first is
    // acknowledged, which a client may put off for 40 ms. Accepted sockets inherit it.
    setsockopt(&listener, TcpNoDelay, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))?;

    let bound: SockaddrStorage = getsockname(listener.as_raw_fd())?;
    let bound = bound.to_string();
    let port = bound.rsplit(':').next().unwrap_or_default();
    info!("Server listening on port {port} ({bound})");
    Ok(listener)
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
