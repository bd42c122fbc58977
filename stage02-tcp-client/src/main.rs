//! Stage 2: a TCP client.
//!
//! `socket` and `connect`, then two flows at once: from stdin to the server, from the
//! server to stdout. A client that sends everything first and reads the answers after
//! that waits for ever when the server does the same: so `poll(2)` tells what is ready.

mod output;

use std::io::stdin;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use log::{debug, error, info};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use nix::unistd::read;
use stage02_tcp_client::connect::connect_to;
use stage02_tcp_client::given::cli::Args;
use stage02_tcp_client::given::logger::start_logger;

use output::Output;

/// What one read takes at most, in bytes.
const CHUNK: usize = 64 * 1024;
/// While so many bytes wait to be sent, stdin is not read.
const MAX_UNSENT: usize = 64 * 1024;

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
    let socket = connect_to(&args.server)?;
    info!("Connected to tcp server");
    let mut conversation = Conversation {
        socket,
        input: Input::Open,
        unsent: Vec::new(),
        output: Output::new(),
    };
    let result = conversation.hold();
    conversation.output.end_of_answers();
    let _ = conversation.output.flush(); // its errors are in `result`
    result
}

struct Conversation {
    socket: OwnedFd,
    input: Input,
    /// Read from stdin, not yet taken by the socket.
    unsent: Vec<u8>,
    output: Output,
}

#[derive(PartialEq)]
enum Input {
    Open,
    /// stdin is at its end, but `unsent` may not be empty.
    Ended,
    /// The server has got it all, and knows by our half-close.
    Sent,
    /// The server takes nothing any more.
    Refused,
}

impl Conversation {
    /// Carries bytes both ways until the server ends the connection.
    fn hold(&mut self) -> Result<()> {
        loop {
            self.output.prompt();
            match self.output.flush() {
                Err(Errno::EPIPE) => return Ok(()), // nobody reads us, as after `| head -1`
                Err(errno) => bail!("cannot write to stdout: {}", errno.desc()),
                Ok(()) => {}
            }
            let (stdin_ready, socket_ready) = self.wait()?;
            if stdin_ready {
                self.read_input()?;
            }
            self.send_some();
            if self.input == Input::Ended && self.unsent.is_empty() {
                self.half_close();
            }
            if socket_ready && !self.receive()? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do: on stdin, on the socket.
    fn wait(&self) -> Result<(bool, bool)> {
        let stdin = stdin();
        let mut interest = PollFlags::POLLIN;
        if !self.unsent.is_empty() {
            interest |= PollFlags::POLLOUT;
        }
        let mut asked = [
            PollFd::new(self.socket.as_fd(), interest),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        // A stdin that is not to be read must not be asked about at all: at its end
        // poll would report it again and again, whatever the interest.
        let read_stdin = self.input == Input::Open && self.unsent.len() < MAX_UNSENT;
        let count = if read_stdin { 2 } else { 1 };
        match poll(&mut asked[..count], PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(errno) => bail!("cannot wait for input: {}", errno.desc()),
        }
        // POLLERR and POLLHUP come unasked: then the read tells what has happened.
        let ready = |asked: &PollFd| asked.revents().unwrap_or(PollFlags::POLLERR);
        let socket_ready = ready(&asked[0]).intersects(PollFlags::POLLOUT.complement());
        Ok((!ready(&asked[1]).is_empty(), socket_ready))
    }

    fn read_input(&mut self) -> Result<()> {
        let mut chunk = [0; CHUNK];
        match read(stdin(), &mut chunk) {
            Ok(0) => {
                self.input = Input::Ended;
                self.output.end_of_input();
            }
            Ok(count) => {
                self.unsent.extend_from_slice(&chunk[..count]);
                self.output.typed(&chunk[..count]);
            }
            // Another reader of the same stdin was faster.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => bail!("cannot read stdin: {}", errno.desc()),
        }
        Ok(())
    }

    /// One `send`: the socket takes what it has room for.
    fn send_some(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        // DONTWAIT: when there is no room, rather read the answers than wait. NOSIGNAL:
        // a server that is gone is an error, and not also a SIGPIPE (Rust ignores it).
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.socket.as_raw_fd(), &self.unsent, flags) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => {
                // Go on receiving: what the server said before it left is still there.
                debug!("The server takes nothing any more: {}", errno.desc());
                self.input = Input::Refused;
                self.unsent.clear();
            }
        }
    }

    /// Tells the server that no more lines come; its answers still can.
    fn half_close(&mut self) {
        self.input = match shutdown(self.socket.as_raw_fd(), Shutdown::Write) {
            Ok(()) => Input::Sent,
            Err(_) => Input::Refused, // it has left before us: recv will tell
        };
    }

    /// One `recv`. False when the server has ended the conversation, as it should
    /// after our half-close; before that it is an error.
    fn receive(&mut self) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        match recv(self.socket.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
            Ok(0) if self.input == Input::Sent => Ok(false),
            Ok(0) => bail!("Server closed the connection"),
            Ok(count) => {
                self.output.answer(&chunk[..count]);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
            Err(errno) => bail!("Server closed the connection ({})", errno.desc()),
        }
    }
}
