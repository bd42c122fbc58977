//! The practice problem, second program: sends a file over TCP.
//!
//! The end of the stream is the end of the file. So the two ways in which a connection ends must
//! mean different things: a FIN means a whole file, a reset means a file that was cut off.

mod common;
mod progress;

use std::fs::File;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgAction, Parser};
use log::{error, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage, connect, recv, send, shutdown, socket,
};
use stage05_proxy::given::itself::is_connected_to_itself;
use stage05_proxy::given::listen::family;
use stage05_proxy::given::logger::start_logger;
use stage05_proxy::given::words::words;

use common::{CHUNK, reset_on_close};
use progress::Progress;

/// Sends a file to file-server.
///
/// Exit status 0 means that the server has the whole file, 1 that it does not.
#[derive(Parser)]
struct Args {
    /// The file to send
    file: PathBuf,
    /// The server's address: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The server's port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Log more: -v debug, -vv trace
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Log warnings only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let (mut file, size) = open_file(&args.file)?;
    let server = connect_to(&args.host, args.port)?;
    let sent = send_file(&mut file, size, &server, &args.file)?;
    reset_on_close(&server, false)?;
    finish(&server)?;
    info!("Sent {sent} bytes, the server has them");
    Ok(())
}

fn open_file(path: &Path) -> Result<(File, u64)> {
    let cannot = |error| anyhow!("cannot read {}: {}", path.display(), words(&error));
    let file = File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if about.is_dir() {
        return Err(cannot(Errno::EISDIR.into())); // a folder can be opened, but not read
    }
    Ok((file, about.len()))
}

/// Connects to the first address of the host that answers.
fn connect_to(host: &str, port: u16) -> Result<OwnedFd> {
    let addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve --host {host}"))?;
    let mut failure = anyhow!("--host {host} has no address");
    for address in addresses {
        match connect_one(address) {
            Ok(server) => return Ok(server),
            Err(errno) => {
                let hint = match errno {
                    Errno::ECONNREFUSED => " (is file-server running there?)",
                    _ => "",
                };
                failure = anyhow!("cannot connect to {address}: {}{hint}", errno.desc());
            }
        }
    }
    Err(failure)
}

fn connect_one(address: SocketAddr) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let server = socket(family(address), SockType::Stream, flags, None)?;
    // From now on closing the socket resets the connection, also when this program dies. So the
    // server learns that the file is not complete.
    reset_on_close(&server, true)?;
    connect(server.as_raw_fd(), &SockaddrStorage::from(address))?;
    if is_connected_to_itself(&server)? {
        return Err(Errno::ECONNREFUSED); // nobody listens there
    }
    Ok(server)
}

/// Sends the file up to its end. Returns its length in bytes.
fn send_file(file: &mut File, size: u64, server: &OwnedFd, path: &Path) -> Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut progress = Progress::new(size);
    let mut sent = 0;
    loop {
        // The file may be larger than the memory, so we read it in chunks.
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok(sent),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => bail!("cannot read {}: {}", path.display(), words(&error)),
        };
        send_all(server, &chunk[..count])?;
        sent += count as u64;
        progress.show(sent);
    }
}

/// Sends all of `bytes`. One `send` may take only a part of them. While we wait for room, we also
/// receive, because a server of another kind may send answers. If we did not read them, it could
/// stop reading, and both sides would wait forever.
fn send_all(server: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    // If the server is gone, `send` fails. Without NOSIGNAL the kernel would also send us SIGPIPE,
    // which ends a C program. Rust's start-up code ignores that signal.
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    while !bytes.is_empty() {
        match send(server.as_raw_fd(), bytes, flags) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EAGAIN) => {
                if server_speaks(server)? && has_ended(server)? {
                    bail!("the server has ended the connection before it had the file");
                }
            }
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(lost(errno)),
        }
    }
    Ok(())
}

/// Waits until the server takes more, or sends something. True if it has sent something, or has
/// ended its side.
fn server_speaks(server: &OwnedFd) -> Result<bool> {
    let mut asked = [PollFd::new(
        server.as_fd(),
        PollFlags::POLLIN | PollFlags::POLLOUT,
    )];
    match poll(&mut asked, PollTimeout::NONE) {
        Ok(_) => Ok(asked[0]
            .revents()
            .is_some_and(|is| is.contains(PollFlags::POLLIN))),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => bail!("cannot wait for the server: {}", errno.desc()),
    }
}

/// Ends the stream, and waits until the server ends its side: only then the server has the file.
/// Bytes that `send` took may still be on their way, or the server's disk may be full.
fn finish(server: &OwnedFd) -> Result<()> {
    shutdown(server.as_raw_fd(), Shutdown::Write).map_err(lost)?;
    while !has_ended(server)? {}
    Ok(())
}

/// Receives. A file-server sends nothing but the end of the stream.
fn has_ended(server: &OwnedFd) -> Result<bool> {
    match recv(server.as_raw_fd(), &mut [0], MsgFlags::empty()) {
        Ok(0) => Ok(true),
        Ok(_) => bail!("the server answers, which file-server never does: it is something else"),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(lost(errno)),
    }
}

fn lost(errno: Errno) -> anyhow::Error {
    anyhow!("the server does not have the file: {}", errno.desc())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_answers_instead_of_reading_does_not_block_us() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let server = connect_one(listener.local_addr().unwrap()).unwrap();
        let (mut another, _) = listener.accept().unwrap();
        another.write_all(b"reven\n").unwrap();
        let (tell, told) = mpsc::channel();
        // More than both kernels can hold.
        thread::spawn(move || tell.send(send_all(&server, &vec![0; 64 << 20])));
        let sent = told.recv_timeout(Duration::from_secs(60));
        let error = sent.expect("it still waits").unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
    }
}
