//! Stage 1: a TCP server for one client.
//!
//! The life of a blocking server, in the order of its system calls: `socket`, `bind`,
//! `listen`, `accept`, then `recv` and `send` until the client leaves. The server answers
//! each line with the line reversed.
//!
//! `lines.rs` finds the lines in the bytes that arrive, and `reverse.rs` reverses one. You
//! may skip the folder `given`: this stage needs it, but does not teach it.

mod given;
mod lines;
mod reverse;

use std::io::{Write, stdout};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use log::{error, info, warn};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, accept4, bind,
    getsockname, listen, recv, send, setsockopt, socket,
};

use given::cli::Args;
use given::logger::start_logger;
use given::passing::is_passing;
use given::show::show_message;
use lines::Lines;
use reverse::reverse;

fn main() -> ExitCode {
    let args = Args::parse();
    start_logger(args.verbose, args.quiet);
    if let Err(error) = run(&args) {
        error!("{error:#}");
    }
    // Status 1 even if nothing failed: a server that has ended serves no client any more.
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<()> {
    let listener = open_listener(args)?;
    loop {
        let client = accept_client(&listener)?;
        info!("Client connected to server");
        if let Err(errno) = serve(&client, args.quiet) {
            warn!("Lost the client: {}", errno.desc());
        }
        if !args.iterative {
            info!("Client disconnected. Closing server");
            return Ok(());
        }
        info!("Client disconnected");
    }
}

/// Opens a socket that clients can connect to. A name may have several addresses: the
/// first one that works is taken.
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
    let listener = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Without this, a server that is stopped while a client is connected cannot be
    // restarted for a minute: the side that closes first stays in TIME_WAIT (ip(7)).
    setsockopt(&listener, ReuseAddr, &true)?;
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

fn cannot_listen(address: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::EADDRINUSE => " (`ss -ltnp` shows who has the port)",
        Errno::EACCES => " (ports below 1024 are for root)",
        Errno::EADDRNOTAVAIL => " (`ip address` shows the addresses of this machine)",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {}{hint}", errno.desc())
}

/// Waits until a client has connected.
fn accept_client(listener: &OwnedFd) -> Result<OwnedFd> {
    loop {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 has just opened this descriptor, and nothing else owns it.
            #[allow(unsafe_code)]
            Ok(client) => return Ok(unsafe { OwnedFd::from_raw_fd(client) }),
            // A signal came, or the client gave up while it was in the queue, for instance.
            Err(errno) if is_passing(errno) => continue,
            Err(errno) => bail!("cannot accept a client: {}", errno.desc()),
        }
    }
}

/// Answers the lines of one client until the client sends no more.
fn serve(client: &OwnedFd, quiet: bool) -> nix::Result<()> {
    let mut lines = Lines::default();
    let mut chunk = [0; 16 * 1024];
    loop {
        let count = receive(client, &mut chunk)?;
        lines.push(&chunk[..count]);

        // One `send` for all answers to the chunk. Many small sends would be slow: Nagle's
        // algorithm holds back a packet until the one before it is acknowledged (tcp(7)).
        let (mut answers, mut shown) = (Vec::new(), String::new());
        let mut answer = |line: &[u8]| {
            reverse(line, &mut answers);
            show_message(line, &mut shown);
        };
        while let Some(line) = lines.next_line() {
            answer(line);
        }
        let end_of_stream = count == 0;
        if end_of_stream && let Some(line) = lines.last_line() {
            answer(line);
        }

        if !quiet {
            // `println!` would panic if stdout is closed. This server goes on.
            let _ = stdout().write_all(shown.as_bytes());
        }
        send_all(client, &answers)?;
        if end_of_stream {
            return Ok(());
        }
    }
}

/// One `recv`: waits for bytes and returns how many came. 0 is the end of the stream.
fn receive(client: &OwnedFd, chunk: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(client.as_raw_fd(), chunk, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue, // a signal interrupted the call (signal(7))
            result => return result,
        }
    }
}

/// Sends all of `bytes`. One `send` may take only a part of them.
fn send_all(client: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        // If the client is gone, `send` fails. Without NOSIGNAL the kernel would also send
        // us SIGPIPE, which ends a C program. Rust's start-up code ignores that signal.
        match send(client.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
