//! One TCP connection as a [`Source`] (recv) and a [`Sink`] (send): [`Connection`].
//!
//! It owns the non-blocking descriptor and what is known about it. The session calls
//! [`notice`](Connection::notice) with each event, its pipes call the rest. A connection never
//! waits, and knows neither epoll nor any other connection.
//!
//! # Edges
//! The descriptor is registered edge-triggered (`epoll(7)`): an event reports once that the socket
//! has **become** readable or writable. So this is remembered here, until a system call has shown
//! that it is no longer true:
//! - `EAGAIN` shows it.
//! - A recv that brings less than asked for has emptied the socket, and what arrives later makes a
//!   new edge. That saves a second call, which would only return `EAGAIN`. There is an exception:
//!   if the end of the stream, an error or urgent data has been announced, it is in the socket
//!   already and makes no new edge. Data and FIN may come as one event, and urgent data ends a recv
//!   early.
//! - A send that takes less than offered has filled the socket.
//! - A `splice(2)` that moves less than asked for shows nothing, because the kernel pipe may be
//!   full. And at the mark of urgent data it stops for good, or reports the end of the stream
//!   although bytes follow. So after one of these announcements the connection calls `recv` and no
//!   longer `splice`, and only `recv` decides that the stream has ended.

use std::mem::{self, offset_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, tcp_info};
use nix::sys::socket::sockopt::{Linger, RcvBuf};
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, send, setsockopt, shutdown};
use nix::{getsockopt_impl, sockopt_impl};

use super::socket::Readiness;
use crate::flow::{KernelPipe, Outcome, Progress, Resources, Sink, Source};
use crate::utils::buffer::{BufferList, LEAST_READ};

// Positions in `struct tcp_info`, in bytes of the first 32-bit word, and in words. Only the words up to the last of these
// are read: newer kernels have a longer struct, and nix panics if it does not get exactly the size
// that it asked for.
const RETRANSMITS: usize = offset_of!(tcp_info, tcpi_retransmits);
const PROBES: usize = offset_of!(tcp_info, tcpi_probes);
const UNACKED: usize = offset_of!(tcp_info, tcpi_unacked) / 4;
const NOT_SENT: usize = offset_of!(tcp_info, tcpi_notsent_bytes) / 4;

sockopt_impl!(
    /// What the kernel knows about a TCP connection. nix does not have this option.
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
    /// Only `EAGAIN` or the end of the stream shows that everything has been read.
    exhaust: bool,
    /// The input has ended: recv has returned 0, or failed.
    ended: bool,
    /// Nothing that is sent will arrive. This is stored because the kernel reports an error only
    /// once, to whichever call comes first. After a send that fails, recv reports an orderly end.
    dead: bool,
    /// The first `EAGAIN` of a recv counts as the end of the input.
    last_call: bool,
    /// What [`read_early`](Connection::read_early) has read: the next read takes it from here.
    early: Option<Box<BufferList>>,
}

impl Connection {
    /// Takes over a connected, non-blocking socket. It can be written to immediately; the first
    /// event reports whether there is something to read.
    pub fn new(fd: OwnedFd) -> Self {
        Connection {
            fd,
            readable: false,
            writable: true,
            exhaust: false,
            ended: false,
            dead: false,
            last_call: false,
            early: None,
        }
    }

    /// Takes note of an event.
    pub fn notice(&mut self, seen: Readiness) {
        // HUP alone is not an error: after our own FIN it comes with the FIN of a healthy peer.
        let special = seen.closing || seen.failed || seen.urgent;
        self.readable |= seen.readable || special;
        self.writable |= seen.writable;
        self.exhaust |= special;
        self.dead |= seen.failed;
    }

    /// Ends the input after what has already arrived: that is still read, and then the first
    /// `EAGAIN` counts as the end of the stream.
    pub fn last_call(&mut self) {
        self.last_call = true;
    }

    /// Whether the input has ended: everything that the peer sent has been read.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the connection has failed: nothing that is sent will arrive.
    pub fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether the peer's kernel has acknowledged everything that was sent, so that closing this
    /// side cannot destroy it any more (`tcp(7)`, TCP_INFO).
    pub fn is_delivered(&self) -> bool {
        self.undelivered() == 0
    }

    /// A measure of what is not acknowledged: the segments in flight, plus the bytes that are not
    /// sent yet. While nothing is added, it changes only when the peer takes something.
    pub fn undelivered(&self) -> u64 {
        match getsockopt(&self.fd, TcpInfo) {
            // Both are needed: while the peer's receive window is closed, nothing is in flight.
            Ok(info) => u64::from(info[UNACKED]) + u64::from(info[NOT_SENT]),
            Err(_) => 0, // not a TCP socket: nothing to wait for
        }
    }

    /// Whether the kernel has asked the peer at least twice in a row, by a retransmission or by a
    /// probe of its closed receive window, and has got no answer. The kernel of a peer that only
    /// does not read does answer.
    pub fn is_unanswered(&self) -> bool {
        let asked = match getsockopt(&self.fd, TcpInfo) {
            Ok([counters, ..]) => {
                let counters = counters.to_ne_bytes();
                counters[RETRANSMITS].max(counters[PROBES])
            }
            Err(_) => 0,
        };
        asked >= 2
    }

    /// Reads although no pipe has room, so that the kernel opens its receive window again. It
    /// closes the window when the receive buffer is full, and opens it when a sixteenth is free.
    /// This reads an eighth, and at most four times before a pipe takes the bytes. Returns how many
    /// were read.
    pub fn read_early(&mut self, resources: &mut Resources) -> usize {
        if self.last_call {
            return 0; // the server is ending: every wait has its timeout
        }
        let buffer = getsockopt(&self.fd, RcvBuf).unwrap_or(0);
        let mut early = self.early.take().unwrap_or_default();
        let before = early.len();
        let target = (before + buffer / 8).min(buffer / 2);
        while early.len() < target
            && matches!(
                self.receive(&mut early, resources),
                Ok(Progress::Moved(1..))
            )
        {}
        if mem::take(&mut self.ended) {
            (self.readable, self.exhaust) = (true, true); // the next read finds the end again
        }
        let count = early.len() - before;
        self.early = Some(early).filter(|early| !early.is_empty());
        count
    }

    /// Returns borrowed memory.
    pub fn release(&mut self, resources: &mut Resources) {
        if let Some(mut early) = self.early.take() {
            early.clear(&mut resources.chunks);
        }
    }

    /// One recv.
    fn receive(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
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
            Err(Errno::EAGAIN) => Ok(self.nothing_to_read()),
            Err(errno) => self.cannot_receive(errno),
        }
    }

    /// From now on, closing the socket resets the connection, so that the peer does not think that
    /// it has received everything. A reset also drops the bytes that the kernel still holds.
    pub fn reset_at_close(&self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        let _ = setsockopt(&self.fd, Linger, &at_once); // fails only if it is not a socket
    }

    /// Reads once and drops the bytes. When a socket is closed with unread bytes, the kernel sends
    /// a reset, which destroys what the peer has not received yet.
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
        // The kernel has reported the error here, so perhaps it reports no event. But the socket
        // may still hold bytes and the end of the stream.
        self.readable = true;
        self.exhaust = true;
        Err(errno)
    }

    fn nothing_to_read(&mut self) -> Progress {
        self.readable = false;
        // Only once: a lingering close goes on reading, and must not find this end of the stream
        // again.
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
        // After `last_call` a read is needed even without an event: its `EAGAIN` ends the input.
        self.early.is_some() || !self.ended && (self.readable || self.last_call)
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        let Some(mut early) = self.early.take() else {
            return self.receive(into, resources);
        };
        let count = early.len();
        into.append(&mut early, &mut resources.chunks);
        Ok(Progress::Moved(count))
    }

    fn splices(&self) -> bool {
        !self.exhaust && !self.last_call && self.early.is_none()
    }

    fn splice_into(&mut self, into: &mut KernelPipe) -> Outcome {
        match into.fill_from(&self.fd) {
            Ok(count) => {
                self.exhaust |= count == 0; // perhaps the end: recv decides
                Ok(Progress::Moved(count))
            }
            Err(Errno::EINTR) => Ok(Progress::Moved(0)),
            Err(Errno::EAGAIN) if into.is_full() => Ok(Progress::Moved(0)),
            Err(Errno::EAGAIN) => Ok(self.nothing_to_read()),
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
        // NOSIGNAL: by default, sending to a peer that is gone raises SIGPIPE, which ends a C
        // program (Rust programs ignore it from the start). With this flag it is only an error.
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
        // splice has no flag like NOSIGNAL. But a Rust program ignores SIGPIPE from the start.
        match from.drain_into(&self.fd) {
            Ok(count) => Ok(Progress::Moved(count)),
            Err(errno) => self.cannot_send(errno),
        }
    }

    /// Sends a FIN (half-close): the peer reads the end of the stream, and may go on sending.
    fn shut(&mut self, _resources: &mut Resources) {
        // Fails only if the peer has reset the connection meanwhile; an event reports that.
        let _ = shutdown(self.fd.as_raw_fd(), Shutdown::Write);
    }

    fn break_off(&mut self) {
        self.reset_at_close();
    }
}

#[cfg(test)]
mod tests;
