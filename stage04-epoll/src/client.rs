//! One client: its unfinished line, the answers that it has not taken yet, and which events
//! epoll should report for its socket.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use log::debug;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::given::lines::Lines;
use crate::given::messages::Messages;
use crate::given::reverse::reverse;

/// While more bytes of answers than this wait for a client, nothing is read from it. TCP then
/// makes the client wait as well (backpressure). The answers to one read may go beyond this limit.
const MAX_OWED: usize = 64 * 1024;
/// When all answers are sent, the buffer keeps at most this many bytes of memory.
const KEPT_CAPACITY: usize = 4096;

pub struct Client {
    socket: OwnedFd,
    lines: Lines,
    /// Answers that the socket has not taken yet.
    owed: Vec<u8>,
    /// The client sends no more. It may still read: then the connection is half-closed.
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

    /// Which events to wait for. epoll is level-triggered: if we watched for a state and did
    /// not act on it, epoll would wake us again and again. So each state that is watched has
    /// its step in [`Client::serve`].
    ///
    /// | answers owed     | still sending  | has ended   |
    /// |------------------|----------------|-------------|
    /// | none             | `IN`           | (none) done |
    /// | up to `MAX_OWED` | `IN` and `OUT` | `OUT`       |
    /// | more             | `OUT`          | `OUT`       |
    ///
    /// `RDHUP` is never watched. It would be reported for as long as the answers wait, and we
    /// do not need it: after the last byte `recv` returns 0. The kernel always reports `ERR`
    /// and `HUP`, asked for or not. `HUP` means that both directions are shut down. We never
    /// shut down ours, so here it means a reset.
    pub fn interest(&self) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, self.wants_input());
        interest.set(EpollFlags::EPOLLOUT, !self.owed.is_empty());
        interest
    }

    fn wants_input(&self) -> bool {
        !self.ended && self.owed.len() <= MAX_OWED
    }

    /// At most one `recv` and one `send`, so that a busy client does not starve the others. If
    /// there is more to do, epoll reports the client again in the next turn.
    ///
    /// A dead connection needs no code of its own. Its last bytes are read, and then `recv`
    /// fails or returns 0. If a `send` fails, the answers are dropped.
    pub fn serve(&mut self, ready: EpollFlags, chunk: &mut [u8], messages: &mut Messages) {
        if self.wants_input() && ready != EpollFlags::EPOLLOUT {
            self.receive(chunk, messages);
        }
        // The socket nearly always has room. So we try to send before we ask epoll.
        if !self.owed.is_empty() {
            self.send_owed();
        }
    }

    fn receive(&mut self, chunk: &mut [u8], messages: &mut Messages) {
        let count = match recv(self.socket.as_raw_fd(), chunk, MsgFlags::empty()) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return, // epoll reports it again
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
        // If the client is gone, `send` fails. Without NOSIGNAL the kernel would also send
        // us SIGPIPE, which ends a C program. Rust's start-up code ignores that signal.
        match send(self.socket.as_raw_fd(), &self.owed, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => drop(self.owed.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => {
                debug!("A client takes no more answers: {}", errno.desc());
                self.owed.clear();
            }
        }
        if self.owed.is_empty() && self.owed.capacity() > KEPT_CAPACITY {
            self.owed = Vec::new(); // give back the memory that a burst needed
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
