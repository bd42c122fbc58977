//! The ends of a program's stdin and stdout that a check holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::data::show;
use crate::failure::{Failure, Outcome, Verdict};
use crate::patience::patience;
use crate::trace::Trace;

/// What a program reads. Dropping it ends a pipe; on a terminal Ctrl-D does.
pub struct Stdin {
    file: File,
    trace: Trace,
}

/// Ctrl-D at the start of a line: the end of the input (`termios(3)`, VEOF).
pub const CTRL_D: &[u8] = b"\x04";

impl Stdin {
    pub(crate) fn new(file: File, trace: &Trace) -> Self {
        let trace = trace.clone();
        Self { file, trace }
    }

    /// For a few lines: more than a pipe holds (64 KiB) would wait for its reader.
    pub fn send(&self, bytes: &[u8]) -> Verdict {
        self.trace.step(format!("its stdin gets {}", show(bytes)));
        let result = (&self.file).write_all(bytes);
        result.map_err(|error| Failure::behaviour(format!("it does not read its stdin: {error}")))
    }

    pub fn close(self) {
        self.trace.step("its stdin is at the end");
    }
}

/// What a program prints, in a pipe that nobody reads unless the check does.
pub struct Stdout {
    file: File,
    trace: Trace,
    deadline: Instant,
}

impl Stdout {
    pub(crate) fn new(file: File, trace: &Trace, deadline: Instant) -> Self {
        let trace = trace.clone();
        Self {
            file,
            trace,
            deadline,
        }
    }

    pub fn close(self) {
        self.trace.step("nobody reads its stdout any more");
    }

    /// It prints exactly `expected`, then the end.
    pub fn expect_all(&self, expected: &[u8]) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        let mut count = 0;
        loop {
            let more = self.receive(&mut chunk).map_err(|failure| Failure {
                what: format!("after {count} bytes, {}", failure.what),
                ..failure
            })?;
            if !expected[count..].starts_with(&chunk[..more]) {
                return Err(wrong(expected, count, &chunk[..more]));
            }
            count += more;
            if more == 0 {
                break;
            }
        }
        if count < expected.len() {
            let what = format!("its output ends after {count} of {} bytes", expected.len());
            return Err(Failure::new(Outcome::ShortData, what));
        }
        self.trace
            .step(format!("it has printed {}", show(expected)));
        Ok(())
    }

    /// Reads what there is, until nothing more comes for a moment.
    pub fn read_on(&self) -> Verdict<Vec<u8>> {
        let (mut printed, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        let moment = Duration::from_millis(50);
        while self.has_more(moment)? {
            match self.receive(&mut chunk)? {
                0 => break,
                count => printed.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(printed)
    }

    /// One read: 0 at the end.
    fn receive(&self, chunk: &mut [u8]) -> Verdict<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = patience().min(left);
        if !self.has_more(patience)? {
            let what = format!("nothing was printed for {patience:.1?}");
            return Err(Failure::new(Outcome::Timeout, what));
        }
        let result = (&self.file).read(chunk);
        result.map_err(|error| Failure::grader("read its stdout", error))
    }

    /// Waits until there is something to read, or the end.
    fn has_more(&self, patience: Duration) -> Verdict<bool> {
        let mut asked = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        match poll(&mut asked, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => self.has_more(patience),
            Err(errno) => Err(Failure::grader("poll its stdout", errno)),
        }
    }
}

/// `chunk` came after the first `count` bytes, and is not what was `expected` there.
fn wrong(expected: &[u8], count: usize, chunk: &[u8]) -> Failure {
    let right = expected[count..].iter().zip(chunk);
    let right = right.take_while(|(a, b)| a == b).count();
    let from = count + right;
    let to = expected.len().min(from + 30);
    let rest = &chunk[right..chunk.len().min(right + 30)];
    let what = format!("its output is wrong after the first {from} bytes");
    let failure = Failure::new(Outcome::WrongData, what);
    failure
        .expected(show(&expected[from..to]))
        .received(show(rest))
}
