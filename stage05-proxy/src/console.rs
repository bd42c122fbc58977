//! The terminal, kept from stopping the server. A plain write to stdout or stderr
//! waits while their reader does not read (a pipe is full after 64 KiB, a terminal
//! stops at Ctrl-S), and `println!` panics once the reader is gone. With one thread
//! for all clients neither may happen: ask with `poll(2)` first, write little.

use std::io::{IsTerminal, stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use simple_logger::SimpleLogger;

/// A pipe that is ready for writing takes this many bytes at once (pipe(7)).
const PIPE_BUF: usize = 4096;
/// What is kept for a stdout that takes nothing, in bytes.
const MAX_KEPT: usize = 1024 * 1024;

enum Room {
    Free,
    Full,
    /// The reading end is closed: nobody will ever see it.
    Gone,
}

fn room(output: BorrowedFd) -> Room {
    let mut asked = [PollFd::new(output, PollFlags::POLLOUT)];
    let answer = match poll(&mut asked, PollTimeout::ZERO) {
        Ok(_) => asked[0].revents().unwrap_or(PollFlags::POLLERR),
        Err(_) => PollFlags::empty(),
    };
    if answer.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
        Room::Gone
    } else if answer.contains(PollFlags::POLLOUT) {
        Room::Free
    } else {
        Room::Full
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
    /// Adds the line that `show` appends; only counts it when too many are kept.
    pub fn add(&mut self, show: impl FnOnce(&mut String)) {
        if self.kept.len() < MAX_KEPT {
            show(&mut self.kept);
        } else {
            self.dropped += 1;
        }
    }

    /// Writes what stdout takes without waiting. False when something is left: then
    /// call again soon, no event will tell.
    pub fn flush(&mut self) -> bool {
        while self.written < self.kept.len() {
            match room(stdout().as_fd()) {
                Room::Free => self.write_some(),
                Room::Full => return false,
                Room::Gone => self.written = self.kept.len(),
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

    fn write_some(&mut self) {
        let end = self.kept.len().min(self.written + PIPE_BUF);
        match write(stdout(), &self.kept.as_bytes()[self.written..end]) {
            Ok(count) => self.written += count,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.written = self.kept.len(),
        }
    }
}

/// simple_logger, which is not called while stderr would stop or end us.
struct CarefulLogger {
    inner: SimpleLogger,
    dropped: AtomicUsize,
}

impl Log for CarefulLogger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if !matches!(room(stderr().as_fd()), Room::Free) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let target = record.target();
            let said = format_args!("{dropped} log lines lost: stderr was not read");
            let warning = Record::builder()
                .level(Level::Warn)
                .target(target)
                .args(said)
                .build();
            self.inner.log(&warning);
        }
        self.inner.log(record); // both are short: they fit in PIPE_BUF
    }

    fn flush(&self) {}
}

/// Log lines go to stderr, so that stdout holds the messages alone. A level asked
/// for here wins over `RUST_LOG`.
pub fn start_logger(verbose: u8, quiet: bool) {
    let logger = SimpleLogger::new().with_level(LevelFilter::Info).env();
    let logger = match (quiet, verbose) {
        (true, _) => logger.with_level(LevelFilter::Warn),
        (_, 0) => logger,
        (_, 1) => logger.with_level(LevelFilter::Debug),
        _ => logger.with_level(LevelFilter::Trace),
    };
    let inner = logger.with_colors(stderr().is_terminal());
    log::set_max_level(inner.max_level());
    let dropped = AtomicUsize::new(0);
    let _ = log::set_boxed_logger(Box::new(CarefulLogger { inner, dropped })); // the first one stays
}
