//! The practice problem, first program: receives a file over TCP.
//!
//! The bytes go into a temporary file, which takes the name of the real one when it is complete.
//! So no other program ever sees half a file, and a failed transfer leaves the old file as it was.

mod common;
mod partial;

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::{ArgAction, Parser};
use log::{error, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{MsgFlags, SockFlag, accept4, recv};
use stage05_proxy::given::cli::parse_seconds;
use stage05_proxy::given::listen::open_listener;
use stage05_proxy::given::logger::start_logger;
use stage05_proxy::given::passing::is_passing;
use stage05_proxy::given::signals::catch_signals;

use common::{CHUNK, reset_on_close};
use partial::Partial;

/// Receives a file from file-client (or from `nc -N 127.0.0.1 8080 < t1.txt`).
///
/// When a connection ends with a FIN, the file is complete. After a reset the old file stays. A
/// `nc` that is killed also ends its connection with a FIN, so what it has sent becomes the file.
#[derive(Parser)]
struct Args {
    /// Address to listen on: an IPv4 or IPv6 address, or a name
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The file to write. It replaces an old one, and a symbolic link too. It keeps the permissions
    /// of the old file, but not its owner, its access control list or its extended attributes
    #[arg(long, default_value = "t2.txt")]
    out: PathBuf,
    /// Serve one client after the other, instead of ending after the first one
    #[arg(long)]
    keep: bool,
    /// Give up a client after this many seconds without a byte, because the next one waits
    #[arg(long, default_value = "60", value_name = "SECONDS", value_parser = parse_seconds)]
    idle_timeout: Duration,
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
    // We must remove the temporary file before a signal ends us.
    let mut signals = catch_signals()?;
    catch_hangup(&mut signals).map_err(|e| anyhow!("cannot catch SIGHUP: {}", e.desc()))?;
    // Create and remove a file now. If that is not possible, it fails before a client comes.
    drop(Partial::create(&args.out)?);
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = open_listener(&args.host, args.port, 5, flags)?;
    loop {
        let Some(client) = accept_client(&listener, &signals)? else {
            return Ok(()); // a signal came, and there was no transfer
        };
        info!("Client connected to server");
        match receive_file(&client, &signals, args) {
            Ok(Some(size)) => info!("Received {size} bytes into {}", args.out.display()),
            Ok(None) => return Err(failed(anyhow!("interrupted"), &args.out)),
            Err(error) if args.keep => error!("{:#}", failed(error, &args.out)),
            Err(error) => return Err(failed(error, &args.out)),
        }
        if !args.keep {
            return Ok(());
        }
    }
}

/// SIGHUP comes when the terminal is closed. It ends us too, unless it is ignored: `nohup` asks for
/// that.
fn catch_hangup(signals: &mut SignalFd) -> nix::Result<()> {
    // SAFETY: none of these actions runs code of ours.
    #[allow(unsafe_code)]
    let ignored = unsafe {
        let before = signal(Signal::SIGHUP, SigHandler::SigIgn)?;
        let ignored = matches!(before, SigHandler::SigIgn);
        signal(Signal::SIGHUP, before)?;
        ignored
    };
    if ignored {
        return Ok(());
    }
    let all = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    all.thread_block()?;
    signals.set_mask(&all)
}

/// Waits for a client; `None` when a signal came.
fn accept_client(listener: &OwnedFd, signals: &SignalFd) -> Result<Option<OwnedFd>> {
    while wait_for(listener, signals, None)? {
        match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            // SAFETY: accept4 has just opened this descriptor, and nothing else owns it.
            #[allow(unsafe_code)]
            Ok(client) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(client) })),
            // A signal came, or the client gave up while it was in the queue, for instance.
            Err(errno) if errno == Errno::EAGAIN || is_passing(errno) => continue,
            Err(errno) => bail!("cannot accept a client: {}", errno.desc()),
        }
    }
    Ok(None)
}

/// Receives until the client ends the stream. Returns how many bytes came; `None` when a signal
/// came first.
fn receive_file(client: &OwnedFd, signals: &SignalFd, args: &Args) -> Result<Option<u64>> {
    // When we end our side, the client knows that we have the file. Until the file is in place,
    // closing the socket must reset the connection instead, also when this program dies.
    reset_on_close(client, true)?;
    let mut part = Partial::create(&args.out)?;
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    while wait_for(client, signals, Some(args.idle_timeout))? {
        match recv(client.as_raw_fd(), &mut chunk, MsgFlags::empty()) {
            Ok(0) => {
                part.put_in_place(&args.out)?;
                reset_on_close(client, false)?;
                return Ok(Some(total));
            }
            Ok(count) => {
                part.write(&chunk[..count])?;
                total += count as u64;
            }
            Err(Errno::EINTR) => continue,
            Err(errno) => bail!("cut off after {total} bytes: {}", errno.desc()),
        }
    }
    Ok(None)
}

/// Waits until the socket is readable; false when a signal came. It is an error if nothing comes for
/// as long as `patience`.
fn wait_for(socket: &OwnedFd, signals: &SignalFd, patience: Option<Duration>) -> Result<bool> {
    let mut asked = [socket.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = patience.map_or(PollTimeout::NONE, |patience| {
        PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX)
    });
    loop {
        match poll(&mut asked, timeout) {
            Ok(0) => {
                let seconds = patience.unwrap_or_default().as_secs_f64();
                bail!("the client has sent nothing for {seconds} s");
            }
            Ok(_) => return Ok(asked[1].any() != Some(true)),
            Err(Errno::EINTR) => continue,
            Err(errno) => bail!("cannot wait for a client: {}", errno.desc()),
        }
    }
}

fn failed(error: anyhow::Error, out: &Path) -> anyhow::Error {
    error.context(format!(
        "transfer failed, {} was not touched",
        out.display()
    ))
}
