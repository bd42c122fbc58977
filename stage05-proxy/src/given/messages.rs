//! The `[CLIENT MESSAGE]` lines for stdout, kept in memory until stdout takes them. A plain
//! write would stop the event loop while nobody reads stdout, and `println!` panics when the
//! reader is gone.

use std::io::{IsTerminal, Stdout, stdout};
use std::os::fd::{AsFd, BorrowedFd};

use log::warn;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::dup2_stdout;

use super::logger::write_ready;
use super::show::show_message;

/// How much is kept while stdout takes nothing, in bytes. The last line may go beyond it.
const MAX_KEPT: usize = 1024 * 1024;
/// When this many bytes are kept, they are written before the turn ends. A buffer of
/// up to twice this size is kept for later.
const BURST: usize = 64 * 1024;

/// The lines for stdout, which are written once per turn of the event loop. Tests use another
/// output.
pub struct Messages<Output = Stdout> {
    output: Output,
    quiet: bool,
    kept: String,
    /// `kept[..written]` has been written.
    written: usize,
    /// How many lines were not kept.
    dropped: usize,
    /// The output did not take all of `kept` when it was last tried.
    full: bool,
}

impl Messages {
    /// With `quiet`, nothing is shown at all.
    pub fn for_stdout(quiet: bool) -> Messages {
        unblock_terminal();
        Messages::new(stdout(), quiet)
    }
}

/// Does what `logger.rs` does for stderr: a terminal that we open again can be non-blocking.
fn unblock_terminal() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if stdout().is_terminal()
        && let Ok(terminal) = open("/dev/stdout", flags, Mode::empty())
    {
        let _ = dup2_stdout(terminal); // if it fails, the old one stays
    }
}

impl<Output: AsFd> Messages<Output> {
    fn new(output: Output, quiet: bool) -> Self {
        Messages {
            output,
            quiet,
            kept: String::new(),
            written: 0,
            dropped: 0,
            full: false,
        }
    }

    /// Adds the message for one line of a client. If too much is kept, only counts it.
    pub fn add(&mut self, line: &[u8]) {
        if self.quiet {
            return;
        }
        if self.kept.len() >= BURST {
            self.flush();
        }
        if self.kept.len() >= MAX_KEPT {
            self.dropped += 1;
        } else {
            show_message(line, &mut self.kept);
        }
    }

    /// Writes as much as the output takes without waiting. Makes no system call if nothing is
    /// kept, or if the output was full and has not been reported to have room.
    pub fn flush(&mut self) {
        while !self.full && self.written < self.kept.len() {
            match write_ready(self.output.as_fd(), &self.kept.as_bytes()[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => self.full = true,
                Err(_) => self.written = self.kept.len(), // nobody will ever read it
            }
        }
        if self.written < self.kept.len() {
            return;
        }
        self.kept.clear();
        self.kept.shrink_to(2 * BURST);
        self.written = 0;
        if self.dropped > 0 {
            let dropped = self.dropped;
            warn!("{dropped} messages not shown: stdout is read too slowly");
            self.dropped = 0;
        }
    }

    /// Whether messages wait for room. If so, watch for `EPOLLOUT`, and call
    /// [`Messages::resume`] when epoll reports it.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Goes on writing. Call it when epoll reports that there is room, or that the reader is gone.
    pub fn resume(&mut self) {
        self.full = false;
        self.flush();
    }
}

impl<Output: AsFd> AsFd for Messages<Output> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use nix::unistd::{pipe, read};

    use super::*;

    /// A line whose message is 1,018 bytes long.
    const LINE: &[u8] = &[b'x'; 1000];

    /// A pipe that nobody has read, and so many messages that one was dropped.
    fn overflowing() -> (OwnedFd, Messages<OwnedFd>) {
        let (reader, writer) = pipe().unwrap();
        let mut messages = Messages::new(writer, false);
        while messages.dropped == 0 {
            messages.add(LINE);
        }
        (reader, messages)
    }

    #[test]
    fn a_full_output_is_not_asked_again_for_each_line() {
        let (reader, mut messages) = overflowing();
        let written = messages.written;
        // Now there is room. Nothing may look for it before epoll reports it.
        read(&reader, &mut [0; 32 * 1024]).unwrap();
        for _ in 0..10 {
            messages.add(LINE);
            messages.flush();
        }
        assert_eq!((messages.dropped, messages.written), (11, written));
        messages.resume();
        assert_eq!(messages.written, written + 32 * 1024);
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let (reader, mut messages) = overflowing();
        assert!(messages.kept.len() < MAX_KEPT + 1100);
        while messages.is_full() {
            read(&reader, &mut [0; 64 * 1024]).unwrap();
            messages.resume();
        }
        assert_eq!((messages.dropped, messages.kept.len()), (0, 0));
        assert!(messages.kept.capacity() <= 2 * BURST);
    }

    #[test]
    fn nothing_is_dropped_while_the_output_takes_it() {
        let mut messages = Messages::new(File::create("/dev/null").unwrap(), false);
        for _ in 0..5000 {
            messages.add(LINE);
        }
        assert!(messages.dropped == 0 && !messages.is_full());
    }

    #[test]
    fn when_the_reader_is_gone_nothing_is_kept() {
        let (reader, mut messages) = overflowing();
        drop(reader);
        messages.resume();
        assert!(messages.kept.is_empty() && !messages.is_full());
    }

    #[test]
    fn quiet_shows_nothing() {
        let mut messages = Messages::new(File::create("/dev/null").unwrap(), true);
        messages.add(LINE);
        assert!(messages.kept.is_empty());
    }
}
