//! One TCP connection as a [`Source`] (recv) and a [`Sink`] (send): [`Connection`].
//!
//! Owns the descriptor, which is non-blocking, and what is known about it. Called by the session
//! that it belongs to: [`notice`](Connection::notice) with each event, the rest by pipes. It never
//! waits, knows no epoll and no other connection.
//!
//! # Edges
//! The descriptor is registered edge-triggered (`epoll(7)`): an event tells that something has
//! **become** so, once. So readiness is remembered here, and forgotten only when a call has shown
//! that it is over:
//! - `EAGAIN` shows it.
//! - A recv that brings less than asked for has emptied the socket: whatever arrives later makes a
//!   new edge. That spares the second call that would only see `EAGAIN`, but not when the end of
//!   the stream, an error or urgent data was announced: these were there already, and make no new
//!   edge. Data and FIN may come as one event, and urgent data cuts a recv in the middle.
//! - A send that takes less than offered has filled the socket.
//! - A `splice(2)` that moves less than asked for shows nothing: it may be the pipe that was full.
//!   And it stops for good at the mark of urgent data, or says there that the stream has ended. So
//!   after one of the announcements above all is received, not spliced, and the end of the stream is
//!   what `recv` says.

use std::mem::{self, offset_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, tcp_info};
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, send, setsockopt, shutdown};
use nix::{getsockopt_impl, sockopt_impl};

use super::socket::Readiness;
use crate::flow::{KernelPipe, Outcome, Progress, Resources, Sink, Source};
use crate::utils::buffer::{BufferList, LEAST_READ};

// What is asked of `struct tcp_info`, which is taken as words and only up to the last of these:
// each kernel knows more of it than the one before, and nix insists on all that it asks for.
const UNACKED: usize = offset_of!(tcp_info, tcpi_unacked) / 4;
const NOT_SENT: usize = offset_of!(tcp_info, tcpi_notsent_bytes) / 4;

sockopt_impl!(
    /// What the kernel knows about a TCP connection; nix has no name for it.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u32; NOT_SENT + 1]
);

/// A connected socket.
pub struct Connection {
    fd: OwnedFd,
    /// recv may bring something.
    readable: bool,
    /// send may take something.
    writable: bool,
    /// Only `EAGAIN` or the end shows that all is read.
    exhaust: bool,
    /// The input has ended: recv has said so, or failed.
    ended: bool,
    /// Nothing that is sent will arrive. Kept, since the kernel reports an error only once, to the
    /// call that happens to come first: were that a send, recv would tell of an orderly end.
    dead: bool,
    /// Silence counts as the end of the input.
    last_call: bool,
}

impl Connection {
    /// Of a connected, non-blocking socket. There is room for sending at once; the first event
    /// tells whether there is something to read.
    pub fn new(fd: OwnedFd) -> Self {
        Connection {
            fd,
            readable: false,
            writable: true,
            exhaust: false,
            ended: false,
            dead: false,
            last_call: false,
        }
    }

    /// Takes in an event.
    pub fn notice(&mut self, seen: Readiness) {
        // HUP alone is not death: after our own FIN it comes with the FIN of a healthy peer.
        let special = seen.closing || seen.failed || seen.urgent;
        self.readable |= seen.readable || special;
        self.writable |= seen.writable;
        self.exhaust |= special;
        self.dead |= seen.failed;
    }

    /// Asks to end in order: what has arrived is still read, the first silence then is the end.
    pub fn last_call(&mut self) {
        self.last_call = true;
    }

    /// Whether the input has ended: all that the peer sent has been read.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the connection has failed: nothing that is sent will arrive.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the peer's kernel has acknowledged all that was sent, so that nothing on our side can
    /// destroy it any more (`tcp(7)`, TCP_INFO).
    pub fn is_delivered(&self) -> bool {
        self.undelivered() == 0
    }

    /// A measure of what was sent and is not acknowledged: segments on their way plus bytes that are
    /// not. While nothing more is sent, it changes when the peer takes something.
    pub fn undelivered(&self) -> u64 {
        match getsockopt(&self.fd, TcpInfo) {
            // Both: to a peer that takes nothing now, nothing is on its way.
            Ok(info) => u64::from(info[UNACKED]) + u64::from(info[NOT_SENT]),
            Err(_) => 0, // no TCP: nothing to wait for
        }
    }

    /// From here on to close is to reset: what is missing must not look like the end. It loses what
    /// the kernel still holds as well.
    pub fn reset_at_close(&self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        let _ = setsockopt(&self.fd, Linger, &at_once); // fails only if it is no socket
    }

    /// One read whose bytes are forgotten. Nobody wants them, but a socket that is closed with bytes
    /// unread resets the connection, which destroys what the peer has not received yet.
    pub fn discard(&mut self, resources: &mut Resources) -> Outcome {
        let mut unwanted = BufferList::new();
        let outcome = self.read_into(&mut unwanted, resources);
        unwanted.clear(&mut resources.chunks);
        outcome
    }

    fn cannot_receive(&mut self, errno: Errno) -> Outcome {
        self.ended = true;
        self.dead = true;
        Err(errno)
    }

    fn cannot_send(&mut self, errno: Errno) -> Outcome {
        match errno {
            Errno::EINTR => return Ok(Progress::Moved(0)),
            Errno::EAGAIN => {
                self.writable = false;
                return Ok(Progress::Blocked);
            }
            _ => {}
        }
        self.dead = true;
        // The error is told, so no event will be: but there may be bytes and an end to read.
        self.readable = true;
        self.exhaust = true;
        Err(errno)
    }

    fn silence(&mut self) -> Progress {
        self.readable = false;
        // Once only: what comes later is there for who reads on (a lingering close does).
        if mem::take(&mut self.last_call) {
            Progress::Eof
        } else {
            Progress::Blocked
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Source for Connection {
    fn readable(&self) -> bool {
        // On last call a read is wanted in any case: it finds the silence, for which no event comes.
        !self.ended && (self.readable || self.last_call)
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        let room = into.room(LEAST_READ, &mut resources.chunks);
        let asked = room.len();
        let received = recv(self.fd.as_raw_fd(), room, MsgFlags::empty());
        into.commit(received.unwrap_or(0), &mut resources.chunks);
        match received {
            Ok(0) => {
                self.ended = true;
                Ok(Progress::Eof)
            }
            Ok(count) => {
                let emptied = count < asked && !self.exhaust;
                self.readable &= !emptied;
                Ok(Progress::Moved(count))
            }
            Err(Errno::EINTR) => Ok(Progress::Moved(0)),
            Err(Errno::EAGAIN) => Ok(self.silence()),
            Err(errno) => self.cannot_receive(errno),
        }
    }

    fn splices(&self) -> bool {
        !self.exhaust && !self.last_call
    }

    fn splice_into(&mut self, into: &mut KernelPipe) -> Outcome {
        match into.fill_from(&self.fd) {
            Ok(count) => {
                self.exhaust |= count == 0; // the end? recv knows
                Ok(Progress::Moved(count))
            }
            Err(Errno::EINTR) => Ok(Progress::Moved(0)),
            Err(Errno::EAGAIN) if into.is_full() => Ok(Progress::Moved(0)),
            Err(Errno::EAGAIN) => Ok(self.silence()),
            Err(errno) => self.cannot_receive(errno),
        }
    }
}

impl Sink for Connection {
    fn writable(&self) -> bool {
        self.writable && !self.dead
    }

    fn gone(&self) -> bool {
        self.dead
    }

    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome {
        let bytes = from.front();
        let offered = bytes.len();
        // NOSIGNAL: a peer that is gone is an error here and nothing else. By default it is SIGPIPE
        // as well, which ends a C program; Rust has it ignored from the start.
        match send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => {
                self.writable = count == offered;
                from.consume(count, &mut resources.chunks);
                Ok(Progress::Moved(count))
            }
            Err(errno) => self.cannot_send(errno),
        }
    }

    fn splice_from(&mut self, from: &mut KernelPipe) -> Outcome {
        // There is no NOSIGNAL for this one: that Rust has SIGPIPE ignored is what it rests on.
        match from.drain_into(&self.fd) {
            Ok(count) => Ok(Progress::Moved(count)),
            Err(errno) => self.cannot_send(errno),
        }
    }

    /// The FIN (half-close): the peer reads the end of the stream, and may go on sending.
    fn shut(&mut self, _resources: &mut Resources) {
        // It fails only if the peer has reset the connection meanwhile; an event tells of that.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
    }

    fn break_off(&mut self) {
        self.reset_at_close();
    }
}

#[cfg(test)]
mod tests;
