//! Stage 3: a UDP client. It sends each line of stdin as one datagram.
//!
//! UDP promises nothing: the datagram may be lost, and so may the answer. So the client
//! waits only for a while, and then sends the line again.

use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use log::{error, warn};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, connect, recv, send, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use stage03_udp_threads::MAX_DATAGRAM;
use stage03_udp_threads::given::cli::ClientArgs;
use stage03_udp_threads::given::console::{print_answer, read_line};
use stage03_udp_threads::given::logger::start_logger;
use stage03_udp_threads::given::words::words;

/// The most that a datagram can carry, in bytes: 65,535 minus the headers of IPv4 and UDP.
const MAX_PAYLOAD: usize = 65_507;

fn main() -> ExitCode {
    let args = ClientArgs::parse();
    start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE, // `run` has logged an error for each such line
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the lines of stdin one by one. False when one of them got no answer.
fn run(args: &ClientArgs) -> Result<bool> {
    let (host, port) = (args.host.as_str(), args.port);
    let servers: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?
        .collect();
    let mut all_answered = true;
    for number in 1.. {
        let line = read_line(MAX_PAYLOAD);
        let line = line.map_err(|error| anyhow!("cannot read stdin: {}", words(&error)))?;
        let Some(line) = line else {
            break;
        };
        match ask(&servers, &line, args) {
            Ok(answer) => match print_answer(&answer) {
                Ok(()) => {}
                // Our reader has left, as in `udp-client | head -1`.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                Err(error) => bail!("cannot write to stdout: {}", words(&error)),
            },
            Err(error) => {
                error!("Line {number}: {error:#}");
                all_answered = false;
            }
        }
    }
    Ok(all_answered)
}

/// Returns the server's answer to `line`.
fn ask(servers: &[SocketAddr], line: &[u8], args: &ClientArgs) -> Result<Vec<u8>> {
    if line.len() > MAX_PAYLOAD {
        bail!("not sent, because a datagram carries at most {MAX_PAYLOAD} bytes");
    }
    // A name may have several addresses: the first one that answers is taken.
    let mut failure = anyhow!("--host {} has no address", args.host);
    for &server in servers {
        match exchange(server, line, args) {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => failure = anyhow!("gave up, no answer from {server}"),
            Err(errno) => failure = cannot_reach(server, errno),
        }
    }
    Err(failure)
}

fn cannot_reach(server: SocketAddr, errno: Errno) -> anyhow::Error {
    let hint = match errno {
        Errno::ECONNREFUSED => " (start the server first: `cargo run -p stage03-udp-threads`)",
        _ => "",
    };
    anyhow!("cannot reach {server}: {}{hint}", errno.desc())
}

/// Sends `line` until an answer comes; gives up after the last retry.
fn exchange(server: SocketAddr, line: &[u8], args: &ClientArgs) -> nix::Result<Option<Vec<u8>>> {
    let socket = open_socket(server, args.timeout)?;
    let mut answer = vec![0; MAX_DATAGRAM];
    let tries = args.retries + 1;
    for attempt in 1..=tries {
        send_datagram(&socket, line)?;
        match receive_datagram(&socket, &mut answer) {
            Ok(count) => {
                answer.truncate(count);
                return Ok(Some(answer));
            }
            // The time is over. We cannot know which was lost: the line, or its answer.
            Err(Errno::EAGAIN) => warn!("No answer from {server} (try {attempt} of {tries})"),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// Opens a new socket for each line. A late answer to an earlier line goes to the socket
/// of that line, which is closed. So it cannot be mistaken for the answer to this line.
fn open_socket(server: SocketAddr, timeout: Duration) -> nix::Result<OwnedFd> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // Without a timeout, `recv` would wait forever for an answer that is lost. With it,
    // `recv` fails with EAGAIN when the time is over (socket(7)).
    let timeout = TimeVal::microseconds(timeout.as_micros() as i64);
    setsockopt(&socket, ReceiveTimeout, &timeout)?;
    // For UDP, `connect` sends nothing. It sets the address to send to, and only datagrams
    // from there are received. If no program listens there, the next call fails (udp(7)).
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(socket)
}

/// One `send` is enough, because a datagram is sent as a whole or not at all.
fn send_datagram(socket: &OwnedFd, line: &[u8]) -> nix::Result<()> {
    loop {
        match send(socket.as_raw_fd(), line, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => return result.map(drop),
        }
    }
}

/// One `recv`: waits for a datagram and returns its size, or EAGAIN when the time is over.
fn receive_datagram(socket: &OwnedFd, answer: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), answer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => return result,
        }
    }
}
