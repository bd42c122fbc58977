//! Stage 3: a UDP client. Each line of stdin goes out as one datagram.
//!
//! There is no connection and no promise: a datagram may be lost, and so may its
//! answer. So the client waits for a while only, and then sends the line again.

use std::io::{self, BufRead, ErrorKind, IsTerminal, Read, Write, stdin, stdout};
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
use stage03_udp_threads::given::cli::ClientArgs;
use stage03_udp_threads::given::escape::escape;
use stage03_udp_threads::given::logger::start_logger;
use stage03_udp_threads::given::reverse::split_ending;
use stage03_udp_threads::{MAX_DATAGRAM, words};

/// What a datagram can carry, in bytes: 65,535 less the headers of IPv4 and UDP.
const MAX_PAYLOAD: usize = 65_507;

fn main() -> ExitCode {
    let args = ClientArgs::parse();
    start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE, // each line without an answer has its error
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
        let line = read_line().map_err(|e| anyhow!("cannot read stdin: {}", words(&e)))?;
        let Some(line) = line else {
            break;
        };
        match ask(&servers, &line, args) {
            Ok(answer) => match print_answer(&answer) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break, // nobody reads us
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

/// The next line with its ending, or the head of one that is too long to send.
fn read_line() -> io::Result<Option<Vec<u8>>> {
    let interactive = stdin().is_terminal() && stdout().is_terminal();
    if interactive {
        stdout().write_all(b"> ")?;
        stdout().flush()?;
    }
    let mut line = Vec::new();
    let mut input = stdin().lock();
    let limit = MAX_PAYLOAD as u64 + 1;
    input.by_ref().take(limit).read_until(b'\n', &mut line)?;
    if line.len() > MAX_PAYLOAD && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    if interactive && !line.ends_with(b"\n") {
        stdout().write_all(b"\n")?; // Ctrl-D, unlike Enter, leaves the cursor where it is
    }
    Ok((!line.is_empty()).then_some(line))
}

/// The answer to `line`, from the first server address that can be reached.
fn ask(servers: &[SocketAddr], line: &[u8], args: &ClientArgs) -> Result<Vec<u8>> {
    if line.len() > MAX_PAYLOAD {
        bail!("not sent, a datagram carries at most {MAX_PAYLOAD} bytes");
    }
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
            // The time is over. Was the line lost, or its answer? No way to know.
            Err(Errno::EAGAIN) => warn!("No answer from {server} (try {attempt} of {tries})"),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}

/// A fresh socket for each line: a late answer to an earlier line finds its own socket
/// closed, and cannot be taken for the answer to this one.
fn open_socket(server: SocketAddr, timeout: Duration) -> nix::Result<OwnedFd> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let timeout = TimeVal::microseconds(timeout.as_micros() as i64);
    setsockopt(&socket, ReceiveTimeout, &timeout)?;
    // Sends nothing, for UDP. It sets the address to send to, lets in datagrams from
    // there only, and makes "nobody listens there" an error (udp(7)).
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server))?;
    Ok(socket)
}

fn send_datagram(socket: &OwnedFd, line: &[u8]) -> nix::Result<()> {
    loop {
        match send(socket.as_raw_fd(), line, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => return result.map(drop), // whole or not at all
        }
    }
}

fn receive_datagram(socket: &OwnedFd, answer: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), answer, MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            result => return result,
        }
    }
}

/// On a terminal with a name and escaped, else the bytes as they are.
fn print_answer(answer: &[u8]) -> io::Result<()> {
    let mut stdout = stdout();
    if stdout.is_terminal() {
        let (text, _) = split_ending(answer);
        let mut shown = String::from("[SERVER MESSAGE] ");
        escape(text, &mut shown);
        shown.push('\n');
        stdout.write_all(shown.as_bytes())?;
    } else {
        stdout.write_all(answer)?;
    }
    stdout.flush()
}
