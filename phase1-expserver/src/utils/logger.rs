//! The program's output, which never blocks: log lines on stderr, what clients send on stdout.
//!
//! A plain write blocks while the reader does not read: a pipe is full after 64 KiB, and a
//! terminal stops at Ctrl-S. `println!` even panics once the reader has gone. With one thread for
//! all clients neither may happen, so this module asks `poll(2)` first and then writes little.
//! `main` starts it once; all other modules use the macros of `log`.

use std::env;
use std::fmt::{Arguments, Write};
use std::io::{IsTerminal, stderr, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record, warn};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{dup2_stderr, dup2_stdout, write};
use simple_logger::SimpleLogger;

use super::show::show_message;

/// A pipe that is ready for writing takes this many bytes without blocking (pipe(7)).
const PIPE_BUF: usize = 4096;
/// How many bytes are kept while stdout takes none.
const MAX_KEPT: usize = 1024 * 1024;

/// Held from `poll` to `write`, so that no other worker fills the pipe in between.
static WRITING: Mutex<()> = Mutex::new(());

/// Starts the log. It goes to stderr, so that stdout holds only the messages. A level on the
/// command line wins over `XPS_DEBUG=1`, which wins over `RUST_LOG`.
pub fn start(verbose: u8, quiet: bool) {
    unblock_terminals();
    block_file_limit_signal();
    let debug = env::var_os("XPS_DEBUG").is_some_and(|value| value == "1");
    let logger = SimpleLogger::new().with_level(LevelFilter::Info).env();
    let levels = match asked_level(verbose, quiet, debug) {
        Some(level) => logger.with_level(level),
        None => logger,
    };
    log::set_max_level(levels.max_level());
    let _ = log::set_boxed_logger(Box::new(CarefulLogger {
        levels,
        colors: wants_colors(),
        dropped: AtomicUsize::new(0),
    })); // fails if there is a logger already, which stays
}

/// If stdout or stderr is a file that is as large as `ulimit -f` allows, a write fails with EFBIG, and
/// the kernel also sends SIGXFSZ, which ends a program (setrlimit(2)). Blocked, the signal does
/// nothing. The workers inherit that.
fn block_file_limit_signal() {
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block(); // cannot fail
}

fn wants_colors() -> bool {
    let setting = |name| env::var_os(name).unwrap_or_default();
    stderr().is_terminal() && setting("NO_COLOR").is_empty() && setting("TERM") != "dumb"
}

/// The level that the command line or `XPS_DEBUG` asks for, if they do.
fn asked_level(verbose: u8, quiet: bool, debug: bool) -> Option<LevelFilter> {
    match (quiet, verbose, debug) {
        (true, ..) => Some(LevelFilter::Warn),
        (_, 2.., _) => Some(LevelFilter::Trace),
        (_, 1, _) | (_, _, true) => Some(LevelFilter::Debug),
        _ => None,
    }
}

/// Opens the terminals again, with `O_NONBLOCK`. A terminal may be ready and yet have room for less
/// than a line, and then a blocking write waits after all. The inherited descriptor cannot be made
/// non-blocking, because it shares its flags with the shell (open(2)).
fn unblock_terminals() {
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let reopen = |path: &str| open(path, flags, Mode::empty());
    if stdout().is_terminal()
        && let Ok(terminal) = reopen("/dev/stdout")
    {
        let _ = dup2_stdout(terminal); // if it fails, the old one stays
    }
    if stderr().is_terminal()
        && let Ok(terminal) = reopen("/dev/stderr")
    {
        let _ = dup2_stderr(terminal);
    }
}

/// Writes as much of `bytes` as `output` takes without blocking. Fails with `EAGAIN` if it takes
/// nothing. After any other error these bytes cannot be written at all.
fn write_ready(output: BorrowedFd, bytes: &[u8]) -> nix::Result<usize> {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Writes all of `bytes`; fails if `output` has no room for all of them now.
fn write_all(output: BorrowedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write_ready(output, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Prints like simple_logger, but without its `eprintln!`, which may block, and which panics when
/// stderr fails (a log file on a full disk). Here such a line is dropped and counted.
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
        let target = record.target();
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let lost = format_args!("{dropped} log lines lost: stderr took none");
            self.add_line(&mut text, Level::Warn, target, lost);
        }
        self.add_line(&mut text, record.level(), target, *record.args());
        if write_all(stderr().as_fd(), text.as_bytes()).is_err() {
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

/// The `[CLIENT MESSAGE]` lines for stdout, flushed once per turn of the loop.
#[derive(Default)]
pub struct Transcript {
    shown: bool,
    kept: String,
    /// `kept[..written]` has been written.
    written: usize,
    dropped: usize,
    /// Stdout did not take all of `kept` when it was last tried.
    full: bool,
}

impl Transcript {
    /// A transcript that prints; with `-q`, `shown` is false and it ignores all messages.
    pub fn new(shown: bool) -> Transcript {
        Transcript {
            shown,
            ..Transcript::default()
        }
    }

    /// Adds one line of a client, `text` without the line's ending. If too much is kept already,
    /// the line is dropped and counted.
    pub fn message(&mut self, text: &[u8]) {
        self.message_to(stdout().as_fd(), text);
    }

    fn message_to(&mut self, output: BorrowedFd, text: &[u8]) {
        if !self.shown {
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.flush_to(output);
        }
        if self.kept.len() >= MAX_KEPT {
            self.dropped += 1;
        } else {
            show_message(text, &mut self.kept);
        }
    }

    /// Writes what stdout takes without blocking. It makes no system call while stdout is full, so
    /// the lines of one client do not make the other clients wait.
    pub fn flush(&mut self) {
        self.flush_to(stdout().as_fd());
    }

    /// Whether messages wait for room. Then watch stdout for `EPOLLOUT`, and call
    /// [`resume`](Transcript::resume) when it comes.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Stdout has room again, or its reader has gone: goes on writing.
    pub fn resume(&mut self) {
        self.full = false;
        self.flush();
    }

    fn flush_to(&mut self, output: BorrowedFd) {
        while !self.full && self.written < self.kept.len() {
            let rest = whole_lines(&self.kept.as_bytes()[self.written..]);
            match write_ready(output, rest) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.full = true,
                Err(_) => self.written = self.kept.len(), // the reader has gone
            }
        }
        if self.full {
            return;
        }
        self.kept.clear();
        self.kept.shrink_to(PIPE_BUF);
        self.written = 0;
        if self.dropped > 0 {
            let dropped = self.dropped;
            warn!("{dropped} messages not shown: stdout is read too slowly");
            self.dropped = 0;
        }
    }
}

/// As many whole lines as fit into one atomic write, which no other worker's write can split.
fn whole_lines(text: &[u8]) -> &[u8] {
    let head = &text[..text.len().min(PIPE_BUF)];
    match head.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &head[..=end],
        None => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{pipe, read};

    #[test]
    fn the_command_line_wins_over_the_environment() {
        assert_eq!(asked_level(0, true, true), Some(LevelFilter::Warn));
        assert_eq!(asked_level(2, false, true), Some(LevelFilter::Trace));
        assert_eq!(asked_level(1, false, false), Some(LevelFilter::Debug));
        assert_eq!(asked_level(0, false, true), Some(LevelFilter::Debug));
        assert_eq!(asked_level(0, false, false), None, "RUST_LOG decides");
    }

    #[test]
    fn a_pipe_that_nobody_reads_blocks_nobody() {
        let (reader, writer) = pipe().unwrap();
        let mut written = 0;
        while let Ok(count) = write_ready(writer.as_fd(), &[b'x'; 10_000]) {
            assert!(count <= PIPE_BUF);
            written += count;
        }
        assert_eq!(written, 64 * 1024);
        assert_eq!(write_ready(writer.as_fd(), b"x"), Err(Errno::EAGAIN));
        read(&reader, &mut [0; PIPE_BUF]).unwrap();
        assert_eq!(write_ready(writer.as_fd(), b"x"), Ok(1));
        drop(reader);
        assert_eq!(write_ready(writer.as_fd(), b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_long_line_is_written_whole() {
        let (reader, writer) = pipe().unwrap();
        let line = [vec![b'x'; 3 * PIPE_BUF], b"\n".to_vec()].concat();
        write_all(writer.as_fd(), &line).unwrap();
        let mut written = vec![0; 64 * 1024];
        let count = read(&reader, &mut written).unwrap();
        assert_eq!(&written[..count], line);
    }

    #[test]
    fn what_goes_out_at_once_ends_with_a_line() {
        assert_eq!(whole_lines(b"a\nb\nc"), b"a\nb\n");
        assert_eq!(whole_lines(b"abc"), b"abc");
        let many = "0123456\n".repeat(1000);
        assert_eq!(whole_lines(many.as_bytes()).len(), PIPE_BUF);
        assert_eq!(whole_lines(&many.as_bytes()[1..]).len(), PIPE_BUF - 1);
    }

    #[test]
    fn a_quiet_transcript_keeps_nothing_and_a_shown_one_not_too_much() {
        let mut quiet = Transcript::new(false);
        quiet.message(b"hello");
        quiet.flush();
        assert!(quiet.kept.is_empty());

        let mut shown = Transcript::new(true);
        shown.message(b"hello\x07");
        assert_eq!(shown.kept, "[CLIENT MESSAGE] hello\\x07\n");
        let (_reader, full) = pipe().unwrap();
        for _ in 0..2000 {
            shown.message_to(full.as_fd(), &[b'x'; 1000]);
        }
        assert!(shown.kept.len() < MAX_KEPT + 2000);
        assert!(shown.dropped > 800);
    }

    #[test]
    fn a_full_stdout_is_not_tried_until_it_has_room() {
        let (reader, full) = pipe().unwrap();
        while write_ready(full.as_fd(), &[b'x'; 10_000]).is_ok() {}
        let mut shown = Transcript::new(true);
        while shown.dropped == 0 {
            shown.message_to(full.as_fd(), &[b'x'; 1000]);
        }
        read(&reader, &mut [0; PIPE_BUF]).unwrap();
        for _ in 0..10 {
            shown.message_to(full.as_fd(), b"nobody has said that there is room");
            shown.flush_to(full.as_fd());
        }
        assert_eq!((shown.dropped, shown.written), (11, 0));
        assert!(shown.is_full());
        shown.full = false;
        shown.flush_to(full.as_fd());
        assert!(shown.written > 0 && shown.is_full());
    }

    #[test]
    fn nothing_is_dropped_while_stdout_takes_it() {
        let taker = open("/dev/null", OFlag::O_WRONLY, Mode::empty()).unwrap();
        let mut shown = Transcript::new(true);
        for _ in 0..2000 {
            shown.message_to(taker.as_fd(), &[b'x'; 1000]);
        }
        assert_eq!(shown.dropped, 0);
        shown.flush_to(taker.as_fd());
        assert!(shown.kept.is_empty() && !shown.is_full());
    }
}
