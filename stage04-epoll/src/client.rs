//! One client: the line that it has not finished, the answers that it has not
//! taken, and what epoll shall watch its socket for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::given::lines::Lines;
use crate::given::messages::Messages;
use crate::given::reverse::reverse;

/// While more answers than this wait for a client, in bytes, nothing is read from
/// it, and TCP makes it wait in turn: backpressure. One read may overshoot it.
const MAX_OWED: usize = 64 * 1024;
/// Memory up to this size is kept for the next answers, in bytes.
const KEPT_CAPACITY: usize = 4096;

pub struct Client {
    socket: OwnedFd,
    lines: Lines,
    /// Answers that the socket has not taken yet.
    owed: Vec<u8>,
    /// The client sends no more. It may still read: a half-closed connection.
    ended: bool,
    /// What epoll watches the socket for at present, see [`Client::interest`].
    pub watched: EpollFlags,
}

impl Client {
    pub fn new(socket: OwnedFd) -> Client {
        Client {
            socket,
            lines: Lines::default(),
            owed: Vec::new(),
            ended: false,
            watched: EpollFlags::EPOLLIN,
        }
    }

    /// What to wait for. Readiness is level-triggered: a state that we watch and do
    /// not act on would wake us again at once, for ever. So each watched state has
    /// its step in [`Client::serve`].
    ///
    /// | answers owed     | still sending  | has ended   |
    /// |------------------|----------------|-------------|
    /// | none             | `IN`           | (none) done |
    /// | up to `MAX_OWED` | `IN` and `OUT` | `OUT`       |
    /// | more             | `OUT`          | `OUT`       |
    ///
    /// `RDHUP` is never watched: it would stay on while the answers wait, and the
    /// `recv` that returns 0 says the same in its turn, after the last byte. `ERR`
    /// and `HUP` come unasked. `HUP` says that both directions are shut; we never
    /// shut ours, so here it means a reset.
    pub fn interest(&self) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.wants_input());
        interest.set(EpollFlags::EPOLLOUT, !self.owed.is_empty());
        interest
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.owed.len() <= MAX_OWED
    }

    /// At most one `recv` and one `send`: what is left over makes epoll report the
    /// client again, after the others have had their turn.
    ///
    /// A dead connection is no special case. Its bytes are read to the last, then
    /// `recv` fails or returns 0; a `send` fails and cancels the answers.
    pub fn serve(&mut self, ready: EpollFlags, chunk: &mut [u8], messages: &mut Messages) {
        if self.wants_input() && ready != EpollFlags::EPOLLOUT {
            self.receive(chunk, messages);
        }
        // The answers are tried at once: nearly always the socket takes them, and
        // epoll need not be asked.
        if !self.owed.is_empty() {
            self.send_owed();
        }
    }

    fn receive(&mut self, chunk: &mut [u8], messages: &mut Messages) {
        let count = match recv(self.socket.as_raw_fd(), chunk, MsgFlags::empty()) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return, // epoll will tell again
            Err(errno) => {
                debug!("Lost a client: {}", errno.desc());
                self.owed.clear();
                self.ended = true;
                return;
            }
        };
        let mut answer = |line: &[u8]| {
            reverse(line, &mut self.owed);
            messages.add(line);
        };
        self.lines.push(&chunk[..count]);
        while let Some(line) = self.lines.next_line() {
            answer(line);
        }
        self.ended = count == 0;
        if self.ended
            && let Some(line) = self.lines.last_line()
        {
            answer(line);
        }
    }

    fn send_owed(&mut self) {
        // NOSIGNAL: a client that is gone is an error, and not also a SIGPIPE, which would
        // end a C program. Rust's start-up code ignores that signal.
        match send(self.socket.as_raw_fd(), &self.owed, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => drop(self.owed.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => {
                debug!("A client takes no more answers: {}", errno.desc());
                self.owed.clear();
            }
        }
        if self.owed.is_empty() && self.owed.capacity() > KEPT_CAPACITY {
            self.owed = Vec::new(); // an idle client keeps no memory of a burst
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
