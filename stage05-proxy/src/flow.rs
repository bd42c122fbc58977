//! One direction of a pair: the bytes on their way from a source to a sink.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

/// How many bytes one `recv` brings at most. A flow never holds more. This chunk still fits into
/// the processor's nearest cache when `send` copies it: with 64 KiB, copying takes 1.5 times as
/// long.
pub const CHUNK: usize = 32 * 1024;

#[derive(Default)]
pub struct Flow {
    /// What the sink did not take. While this waits, nothing more is read. The kernel's buffers
    /// fill up, and TCP makes the sender wait (backpressure).
    waiting: Vec<u8>,
    /// The source sends nothing more.
    pub source_ended: bool,
    /// The sink takes nothing more: it was shut down, or it is broken.
    pub sink_closed: bool,
    /// How many bytes the source has brought.
    pub total: u64,
}

impl Flow {
    /// Whether to read from the source. We keep reading even if the bytes will be dropped: a
    /// source that is blocked in `send` may never read what we still have for it.
    pub fn wants_bytes(&self) -> bool {
        !self.source_ended && self.waiting.is_empty()
    }

    /// Whether bytes wait until the sink has room.
    pub fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether to pass on the end of the source now: all bytes before it are sent.
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

    /// Sends what waits, now that the sink has room.
    pub fn resume(&mut self, sink: &OwnedFd) {
        let mut waiting = std::mem::take(&mut self.waiting);
        let count = self.send(&waiting, sink);
        if count < waiting.len() && !self.sink_closed {
            waiting.drain(..count);
            self.waiting = waiting;
        } // otherwise it is freed: an idle flow has no buffer
    }

    /// Calls `send` once. Returns how many of the bytes the sink took.
    fn send(&mut self, bytes: &[u8], sink: &OwnedFd) -> usize {
        // If the sink is gone, `send` fails. Without NOSIGNAL the kernel would also send us
        // SIGPIPE, which ends a C program. Rust's start-up code ignores that signal.
        match send(sink.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Err(_) => {
                self.break_off();
                0
            }
        }
    }

    /// The sink is broken: drops what was meant for it.
    pub fn break_off(&mut self) {
        self.sink_closed = true;
        self.waiting = Vec::new();
    }
}
