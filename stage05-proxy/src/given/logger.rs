//! The log: lines on stderr that neither stop nor end the program. A plain write waits while
//! the reader of stderr does not read (a pipe is full after 64 KiB, a terminal stops at
//! Ctrl-S), and `eprintln!` panics once the reader is gone.

use std::fmt::{Arguments, Write};
use std::io::{IsTerminal, stderr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, write};
use simple_logger::SimpleLogger;

/// A pipe that is ready for writing takes this many bytes without waiting (pipe(7)).
const PIPE_BUF: usize = 4096;

/// Writes as much of `bytes` as `output` takes without waiting. EAGAIN when that is
/// nothing; any other error means that the output is lost for good.
pub fn write_ready(output: BorrowedFd, bytes: &[u8]) -> nix::Result<usize> {
    let mut asked = [PollFd::new(output, PollFlags::POLLOUT)];
    poll(&mut asked, PollTimeout::ZERO)?;
    let ready = asked[0].revents().unwrap_or(PollFlags::POLLERR);
    if ready.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
        return Err(Errno::EPIPE); // the reading end is closed
    }
    if !ready.contains(PollFlags::POLLOUT) {
        return Err(Errno::EAGAIN);
    }
    write(output, &bytes[..bytes.len().min(PIPE_BUF)])
}

/// A terminal may be ready and yet have room for less than a line, so that a write waits
/// after all. A terminal that is opened again has an `O_NONBLOCK` of its own; that of the
/// descriptor we inherited is shared with the shell (open(2)).
fn unblock_terminal() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if stderr().is_terminal()
        && let Ok(terminal) = open("/dev/stderr", flags, Mode::empty())
    {
        let _ = dup2_stderr(terminal); // if it fails, the old one stays
    }
}

/// Prints as simple_logger does, which has `eprintln!` do it: that may wait, and
/// panics when stderr fails (a log file on a full disk). Here such a line is lost.
struct CarefulLogger {
    levels: SimpleLogger,
    colors: bool,
    dropped: AtomicUsize,
}

impl Log for CarefulLogger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.levels.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = String::new();
        // The program, not its parts: a reader of the log need not know those.
        let target = record.target().split("::").next().unwrap_or_default();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lost = format_args!("{dropped} log lines lost: stderr took none");
            self.add_line(&mut text, Level::Warn, target, lost);
        }
        self.add_line(&mut text, record.level(), target, *record.args());
        if write_ready(stderr().as_fd(), text.as_bytes()).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

impl CarefulLogger {
    fn add_line(&self, text: &mut String, level: Level, target: &str, said: Arguments) {
        let color = match level {
            _ if !self.colors => "",
            Level::Error => "\x1b[31m",
            Level::Warn => "\x1b[33m",
            Level::Info => "\x1b[36m",
            Level::Debug => "\x1b[35m",
            Level::Trace => "\x1b[39m",
        };
        let plain = if self.colors { "\x1b[0m" } else { "" };
        let _ = writeln!(text, "{color}{level:<5}{plain} [{target}] {said}");
    }
}

/// Log lines go to stderr, so that stdout holds the messages alone. A level asked
/// for here wins over `RUST_LOG`.
pub fn start_logger(verbose: u8, quiet: bool) {
    unblock_terminal();
    let logger = SimpleLogger::new().with_level(LevelFilter::Info).env();
    let levels = match (quiet, verbose) {
        (true, _) => logger.with_level(LevelFilter::Warn),
        (_, 0) => logger,
        (_, 1) => logger.with_level(LevelFilter::Debug),
        _ => logger.with_level(LevelFilter::Trace),
    };
    log::set_max_level(levels.max_level());
    let _ = log::set_boxed_logger(Box::new(CarefulLogger {
        levels,
        colors: stderr().is_terminal(),
        dropped: AtomicUsize::new(0),
    })); // the first one stays
}
