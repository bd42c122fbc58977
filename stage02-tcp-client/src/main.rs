//! Stage 2: a TCP client.
//!
//! After `socket` and `connect` there are two flows: from stdin to the server, and from the
//! server to stdout. A client that sends everything before it reads any answer can wait
//! forever, because the server may be waiting until the client reads. So this client waits
//! for both flows at the same time, with `poll(2)`.
//!
//! `connect.rs` opens the connection. The second program of this stage, `bin/multi-client.rs`,
//! forks many clients. You may skip the folder `given`: this stage needs it, but does not teach
//! it.

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
use stage02_tcp_client::given::output::Output;

/// The most that one `read` or `recv` takes, in bytes.
const CHUNK: usize = 64 * 1024;
/// While this many bytes wait to be sent, stdin is not read.
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
        output: Output::for_stdout(),
    };
    let result = conversation.hold();
    conversation.output.end_of_answers();
    let _ = conversation.output.flush(); // if stdout has failed, `hold` has reported it
    result
}

/// The connection, and what is on its way in each direction.
struct Conversation {
    socket: OwnedFd,
    input: Input,
    /// Read from stdin, but not sent yet.
    unsent: Vec<u8>,
    output: Output,
}

/// How far stdin has come on its way to the server.
#[derive(PartialEq)]
enum Input {
    Open,
    /// stdin is at its end, but `unsent` may hold something.
    Ended,
    /// All of it is sent, and we have half-closed the connection.
    Sent,
    /// Sending has failed: the server receives nothing more.
    Refused,
}

impl Conversation {
    /// Carries bytes both ways until the server ends the connection.
    fn hold(&mut self) -> Result<()> {
        loop {
            self.output.prompt();
            match self.output.flush() {
                Err(Errno::EPIPE) => return Ok(()), // our reader has left, as in `| head -1`
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

    /// Waits until stdin or the socket is ready, and returns which of them is.
    fn wait(&self) -> Result<(bool, bool)> {
        let stdin = stdin();
        // A socket nearly always has room to send. With nothing to send, POLLOUT would make
        // poll return immediately each time, and the client would use all of a CPU.
        let mut interest = PollFlags::POLLIN;
        if !self.unsent.is_empty() {
            interest |= PollFlags::POLLOUT;
        }
        let mut asked = [
            PollFd::new(self.socket.as_fd(), interest),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        // While we do not read stdin, leave it out: at the end of a pipe, poll would return
        // POLLHUP immediately, again and again, even if we asked for nothing.
        let read_stdin = self.input == Input::Open && self.unsent.len() < MAX_UNSENT;
        let count = if read_stdin { 2 } else { 1 };
        match poll(&mut asked[..count], PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(errno) => bail!("cannot wait for input: {}", errno.desc()),
        }
        // poll also reports POLLERR and POLLHUP, asked for or not. The next `recv` or `read`
        // will say what happened.
        let ready = |asked: &PollFd| asked.revents().unwrap_or(PollFlags::POLLERR);
        let socket_ready = ready(&asked[0]).intersects(PollFlags::POLLOUT.complement());
        Ok((!ready(&asked[1]).is_empty(), socket_ready))
    }

    /// One `read` of stdin. 0 bytes is its end: Ctrl-D, the end of a file, a closed pipe.
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
            // Another program that reads the same stdin was faster.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => bail!("cannot read stdin: {}", errno.desc()),
        }
        Ok(())
    }

    /// One `send`: the socket takes as much as it has room for.
    fn send_some(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        // DONTWAIT: if there is no room, the call fails with EAGAIN and does not wait. The
        // server may be waiting until we read. NOSIGNAL: if the server is gone, the call
        // fails, and the kernel does not send us the signal SIGPIPE.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(self.socket.as_raw_fd(), &self.unsent, flags) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => {
                // Go on receiving: what the server sent before it left can still be read.
                debug!("Sending failed: {}", errno.desc());
                self.input = Input::Refused;
                self.unsent.clear();
            }
        }
    }

    /// Tells the server that no more lines will come. We can still receive its answers.
    fn half_close(&mut self) {
        self.input = match shutdown(self.socket.as_raw_fd(), Shutdown::Write) {
            Ok(()) => Input::Sent,
            Err(_) => Input::Refused, // the server has left already: `recv` will say how
        };
    }

    /// One `recv`. Returns false if the server ends the connection after our half-close. If
    /// the server ends it earlier, that is an error.
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
