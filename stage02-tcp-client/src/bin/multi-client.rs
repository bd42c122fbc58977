//! Stage 2, the experiment: many clients at once, each in its own process.
//!
//! `fork(2)` makes the children, and `waitpid(2)` collects how they ended. A child needs no
//! `poll`: it has only one line under way, so no buffer can fill up.

use std::io::{Write, stdout};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{ExitCode, exit};

use anyhow::{Result, bail};
use clap::Parser;
use log::{debug, error, info};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use stage02_tcp_client::connect::connect_to;
use stage02_tcp_client::given::answers::show_answer;
use stage02_tcp_client::given::cli::MultiArgs;
use stage02_tcp_client::given::escape::escape;
use stage02_tcp_client::given::lines::Lines;
use stage02_tcp_client::given::logger::start_logger;
use stage02_tcp_client::given::reverse::{reverse, split_ending};

fn main() -> ExitCode {
    let args = MultiArgs::parse();
    start_logger(args.verbose, args.quiet);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts all clients before it waits for the first, so that they run at the same time.
fn run(args: &MultiArgs) -> Result<()> {
    keep_exit_statuses();
    // Stop at the first child that cannot be started: the system has no room for the next.
    let children: Vec<Pid> = (1..=args.clients)
        .map_while(|number| fork_client(number, args))
        .collect();
    let not_started = args.clients as usize - children.len();
    let mut failed = Vec::new();
    for (number, child) in (1..).zip(children) {
        if !has_succeeded(child) {
            failed.push(format!("Client {number}"));
        }
    }
    let count = failed.len() + not_started;
    if not_started > 0 {
        failed.push(format!("{not_started} not started"));
    }
    if count > 0 {
        let names = failed.join(", ");
        bail!("{count} of {} clients failed: {names}", args.clients);
    }
    info!("All {} clients got the right answers", args.clients);
    Ok(())
}

/// The program that started us may ignore SIGCHLD, and we inherit that. Then the kernel
/// would drop the exit status of each child before we ask for it (waitpid(2), NOTES).
fn keep_exit_statuses() {
    // SAFETY: this sets the default action, so no code of ours runs on the signal.
    #[allow(unsafe_code)]
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }; // cannot fail
}

/// Starts one client, if the system allows one more process.
fn fork_client(number: u32, args: &MultiArgs) -> Option<Pid> {
    let parent = Pid::this();
    // SAFETY: this process has one thread, so no other thread holds a lock in the copy.
    #[allow(unsafe_code)]
    let forked = unsafe { fork() };
    match forked {
        // Now there are two processes. The child runs as a client and ends here: if it
        // returned, it would go on in `run`, and fork clients too.
        Ok(ForkResult::Child) => {
            end_with(parent);
            exit(be_client(number, args))
        }
        Ok(ForkResult::Parent { child }) => {
            debug!("Client {number} is process {child}");
            Some(child)
        }
        Err(errno) => {
            let hint = match errno {
                Errno::EAGAIN => " (`ulimit -u` shows how many processes you may have)",
                _ => "",
            };
            error!("cannot fork client {number}: {}{hint}", errno.desc());
            None
        }
    }
}

/// When the parent ends, the kernel ends this child as well (prctl(2)), even if the parent was
/// killed. Without this, a child whose server is silent would wait for it forever.
fn end_with(parent: Pid) {
    let _ = set_pdeathsig(Signal::SIGKILL); // fails only for a signal that does not exist
    // The parent may have ended before the call. Then we have another one.
    if getppid() != parent {
        exit(1);
    }
}

/// The whole life of a child. Returns its exit status.
fn be_client(number: u32, args: &MultiArgs) -> i32 {
    match exchange(number, args) {
        Ok(()) => 0,
        Err(error) => {
            error!("Client {number}: {error:#}");
            1
        }
    }
}

/// Connects, sends each line and checks its answer. A test client that accepted any answer
/// would test nothing.
fn exchange(number: u32, args: &MultiArgs) -> Result<()> {
    let socket = connect_to(&args.server)?;
    let line = format!("{}\n", args.text);
    let mut expected = Vec::new();
    reverse(line.as_bytes(), &mut expected);

    let mut lines = Lines::default();
    for message in 1..=args.messages {
        send_all(&socket, line.as_bytes())?;
        let answer = receive_line(&socket, &mut lines)?;
        if answer != expected {
            let (got, expected) = (escaped(&answer), escaped(&expected));
            bail!("Wrong answer to message {message}: got {got}, expected {expected}");
        }
        if !args.quiet {
            let mut shown = format!("[Client {number}] ");
            show_answer(&answer, &mut shown);
            // One write for the whole line: the processes share stdout, and the kernel keeps
            // the bytes of one write together (in a pipe up to 4096 of them, pipe(7)).
            let _ = stdout().write_all(shown.as_bytes()); // a closed stdout is no failure
        }
    }
    Ok(())
}

fn escaped(line: &[u8]) -> String {
    let mut shown = String::new();
    escape(split_ending(line).0, &mut shown);
    shown
}

/// Sends all of `bytes`. One `send` may take only a part of them.
fn send_all(socket: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => continue,
            Err(errno) => bail!("Server closed the connection ({})", errno.desc()),
        }
    }
    Ok(())
}

/// Receives until a whole line is there, because an answer may come in pieces.
fn receive_line(socket: &OwnedFd, lines: &mut Lines) -> Result<Vec<u8>> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(line) = lines.next_line() {
            return Ok(line.to_vec());
        }
        match recv(socket.as_raw_fd(), &mut chunk, MsgFlags::empty()) {
            Ok(0) => bail!("Server closed the connection"),
            Ok(count) => lines.push(&chunk[..count]),
            Err(Errno::EINTR) => continue,
            Err(errno) => bail!("Server closed the connection ({})", errno.desc()),
        }
    }
}

/// Waits until the child has ended. Without this, the kernel keeps an ended child as a
/// zombie (waitpid(2)).
fn has_succeeded(child: Pid) -> bool {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => return status == 0,
            Ok(WaitStatus::Signaled(_, signal, _)) => {
                error!("Process {child} was ended by {signal:?}");
                return false;
            }
            Ok(_) | Err(Errno::EINTR) => continue, // it has not ended yet
            Err(errno) => {
                error!("cannot wait for process {child}: {}", errno.desc());
                return false;
            }
        }
    }
}
