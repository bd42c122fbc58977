//! The log, on stderr. A log line that cannot be written does not stop or end the program.
//!
//! A plain write waits while nobody reads stderr: a pipe is full after 64 KiB, and Ctrl-S
//! stops a terminal. If the reader of stderr is gone, `eprintln!` panics. This logger drops
//! the line instead, and its next line says how many were lost.

use std::env::var_os;
use std::fmt::{Arguments, Write};
use std::io::{IsTerminal, stderr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, write};
use simple_logger::SimpleLogger;

/// A pipe that is ready for writing takes this many bytes without waiting (pipe(7)).
const PIPE_BUF: usize = 4096;

/// How long an error may wait for room, in milliseconds. It is usually the last line of a
/// program, and says why the program ends.
const ERROR_PATIENCE: u16 = 1000;

/// Log lines go to stderr, so that stdout holds only the messages. A level on the command
/// line overrides `RUST_LOG`.
pub fn start_logger(verbose: u8, quiet: bool) {
    unblock_terminal();
    block_file_limit_signal();
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
        colors: wants_colors(),
        lost: Mutex::new(0),
    })); // fails only if there is a logger already
}

/// A terminal can be ready and still have room for less than a line, so that a write waits.
/// So we open the terminal a second time, and set `O_NONBLOCK` only there: the flags of the
/// descriptor that we inherited are shared with the shell (open(2)).
fn unblock_terminal() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    if stderr().is_terminal()
        && let Ok(terminal) = open("/dev/stderr", flags, Mode::empty())
    {
        let _ = dup2_stderr(terminal); // if it fails, the old one stays
    }
}

/// If stdout or stderr is a file that is as large as `ulimit -f` allows, a write fails with EFBIG,
/// and the kernel also sends SIGXFSZ, which ends a program (setrlimit(2)). Blocked, the signal does
/// nothing. Threads and child processes inherit that.
fn block_file_limit_signal() {
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block(); // cannot fail
}

fn wants_colors() -> bool {
    let setting = |name| var_os(name).unwrap_or_default();
    stderr().is_terminal() && setting("NO_COLOR").is_empty() && setting("TERM") != "dumb"
}

/// Writes as much of `bytes` as `output` takes without waiting. EAGAIN: it takes nothing
/// now. After any other error it will never take anything again.
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

/// Prints lines in the format of simple_logger, which itself uses `eprintln!`.
struct CarefulLogger {
    levels: SimpleLogger,
    colors: bool,
    /// How many lines were lost since the last one that was written. The lock also keeps
    /// the lines of several threads apart.
    lost: Mutex<usize>,
}

impl Log for CarefulLogger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.levels.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        // The target is a path of modules. Only the program's name helps a reader of the log.
        let target = record.target().split("::").next().unwrap_or_default();
        let mut text = String::new();
        if *lost > 0 {
            let note = format_args!("{lost} log lines lost: stderr took none");
            self.add_line(&mut text, Level::Warn, target, note);
        }
        self.add_line(&mut text, record.level(), target, *record.args());
        match write_all(&text, record.level()) {
            Ok(()) => *lost = 0,
            Err(_) => *lost += 1,
        }
    }

    fn flush(&self) {}
}

impl CarefulLogger {
    fn add_line(&self, text: &mut String, level: Level, target: &str, message: Arguments) {
        let color = match level {
            _ if !self.colors => "",
            Level::Error => "\x1b[31m",
            Level::Warn => "\x1b[33m",
            Level::Info => "\x1b[36m",
            Level::Debug => "\x1b[35m",
            Level::Trace => "\x1b[39m",
        };
        let plain = if self.colors { "\x1b[0m" } else { "" };
        let _ = writeln!(text, "{color}{level:<5}{plain} [{target}] {message}");
    }
}

fn write_all(text: &str, level: Level) -> nix::Result<()> {
    let stderr = stderr();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        if level == Level::Error {
            let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
            let _ = poll(&mut asked, ERROR_PATIENCE); // the write will say if there is room
        }
        match write_ready(stderr.as_fd(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
