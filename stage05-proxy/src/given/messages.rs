//! The lines for stdout, kept while stdout does not take them: a plain write would stop the
//! event loop, and `println!` panics once the reader is gone.

use std::io::{IsTerminal, stdout};
use std::os::fd::AsFd;

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::dup2_stdout;

use super::logger::write_ready;

/// What is kept for a stdout that takes nothing, in bytes.
const MAX_KEPT: usize = 1024 * 1024;

/// As for stderr in `logger.rs`: a terminal that is opened again can be made non-blocking.
fn unblock_terminal() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if stdout().is_terminal()
        && let Ok(terminal) = open("/dev/stdout", flags, Mode::empty())
    {
        let _ = dup2_stdout(terminal); // if it fails, the old one stays
    }
}

/// The messages for stdout, written once per batch of work.
#[derive(Default)]
pub struct Messages {
    kept: String,
    /// `kept[..written]` is out.
    written: usize,
    dropped: usize,
}

impl Messages {
    pub fn for_stdout() -> Messages {
        unblock_terminal();
        Messages::default()
    }

    /// Adds the line that `show` appends; only counts it when too many are kept and
    /// stdout takes none of them.
    pub fn add(&mut self, show: impl FnOnce(&mut String)) {
        if self.kept.len() >= MAX_KEPT && !self.flush() {
            self.dropped += 1;
        } else {
            show(&mut self.kept);
        }
    }

    /// Writes what stdout takes without waiting. False when something is left: then
    /// call again soon, no event will tell.
    pub fn flush(&mut self) -> bool {
        while self.written < self.kept.len() {
            let rest = &self.kept.as_bytes()[self.written..];
            match write_ready(stdout().as_fd(), rest) {
                Ok(count) => self.written += count,
                Err(Errno::EAGAIN | Errno::EINTR) => return false,
                Err(_) => self.written = self.kept.len(),
            }
        }
        self.kept.clear();
        self.written = 0;
        if self.dropped > 0 {
            warn!(
                "{} messages not shown: stdout is read too slowly",
                self.dropped
            );
            self.dropped = 0;
        }
        true
    }
}
