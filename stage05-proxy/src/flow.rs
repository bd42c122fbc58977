//! One direction of a pair: the bytes on their way from a source to a sink.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// The most that one `recv` brings, and so the most that a flow ever holds, in bytes. Few
/// enough to be in the processor's nearest cache still when `send` copies them out: 64 KiB
/// would cost half as much again.
pub const CHUNK: usize = 32 * 1024;

#[derive(Default)]
pub struct Flow {
    /// What the sink did not take. Until it is gone nothing more is read: the
    /// kernel's buffers fill up, and TCP makes the sender wait (backpressure).
    waiting: Vec<u8>,
    /// The source will bring nothing more.
    pub source_ended: bool,
    /// The sink will take nothing more: it has been shut down, or it is broken.
    pub sink_closed: bool,
    /// How many bytes the source has brought.
    pub total: u64,
}

impl Flow {
    /// Whether the source is to be read, also when nobody takes its bytes any more: who
    /// cannot send may not read either, and it may still be owed something.
    pub fn wants_bytes(&self) -> bool {
        !self.source_ended && self.waiting.is_empty()
    }

    /// Whether bytes wait until the sink has room.
    pub fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it is time to pass on the end of the source: all before it is sent.
    pub fn must_end(&self) -> bool {
        self.source_ended && !self.sink_closed && self.waiting.is_empty()
    }

    /// Sends what the source has brought, and keeps what the sink does not take.
    pub fn push(&mut self, bytes: &[u8], sink: &OwnedFd) {
        if self.sink_closed {
            return;
        }
        self.total += bytes.len() as u64;
        let count = self.send(bytes, sink);
        if count < bytes.len() && !self.sink_closed {
            self.waiting = bytes[count..].to_vec();
        }
    }

    /// Goes on with what waits, now that the sink has room.
    pub fn resume(&mut self, sink: &OwnedFd) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let count = self.send(&waiting, sink);
        if count < waiting.len() && !self.sink_closed {
            waiting.drain(..count);
            self.waiting = waiting;
        } // else it is freed: an idle flow has no buffer
    }

    /// One `send`: how many of the bytes the sink took.
    fn send(&mut self, bytes: &[u8], sink: &OwnedFd) -> usize {
        // NOSIGNAL: a sink that is gone is an error, and not also a SIGPIPE, which would
        // end a C program. Rust's start-up code ignores that signal.
        match send(sink.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => {
                self.break_off();
                0
            }
        }
    }

    /// The sink is broken: what was meant for it has nowhere to go.
    pub fn break_off(&mut self) {
        self.sink_closed = true;
        self.waiting = Vec::new();
    }
}
