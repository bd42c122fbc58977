//! The ends of a program's stdin and stdout that a check holds.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::data::{show, time};
use crate::failure::{Failure, Outcome, Verdict};
use crate::hint;
use crate::patience::patience;
use crate::trace::Trace;

/// The writing end of a program's stdin. Dropping it ends the input through a pipe. On a
/// terminal [`CTRL_D`] ends it.
pub struct Stdin {
    program: String,
    file: File,
    trace: Trace,
}

/// Ctrl-D at the start of a line: the end of the input (`termios(3)`, VEOF).
pub const CTRL_D: &[u8] = b"\x04";

impl Stdin {
    pub(crate) fn new(program: &str, file: File, trace: &Trace) -> Self {
        Self {
            program: program.to_owned(),
            file,
            trace: trace.clone(),
        }
    }

    /// Only for a few lines: with more than a pipe holds (64 KiB) it would wait until the
    /// program reads.
    pub fn send(&self, bytes: &[u8]) -> Verdict {
        let (program, shown) = (&self.program, show(bytes));
        self.trace.step(format!(
            "the check writes {shown} to the stdin of `{program}`"
        ));
        let result = (&self.file).write_all(bytes);
        result.map_err(|error| {
            Failure::behaviour(format!("`{program}` does not read its stdin: {error}"))
        })
    }

    pub fn close(self) {
        let step = format!("the check closes the stdin of `{}`", self.program);
        self.trace.step(step);
    }
}

/// The reading end of a program's stdout, which only the check reads.
pub struct Stdout {
    program: String,
    file: File,
    trace: Trace,
    deadline: Instant,
}

impl Stdout {
    pub(crate) fn new(program: &str, file: File, trace: &Trace, deadline: Instant) -> Self {
        Self {
            program: program.to_owned(),
            file,
            trace: trace.clone(),
            deadline,
        }
    }

    pub fn close(self) {
        let step = format!(
            "the check closes the reading end of `{}`'s stdout",
            self.program
        );
        self.trace.step(step);
    }

    /// Expects exactly `expected`, then the end of the output.
    pub fn expect_all(&self, expected: &[u8]) -> Verdict {
        let mut chunk = vec![0; 64 * 1024];
        let mut count = 0;
        loop {
            let more = self.receive(&mut chunk, count)?;
            if !expected[count..].starts_with(&chunk[..more]) {
                return Err(self.wrong(expected, count, &chunk[..more]));
            }
            count += more;
            if more == 0 {
                break;
            }
        }
        if count < expected.len() {
            let (program, all) = (&self.program, expected.len());
            let what = format!("the output of `{program}` ends after {count} of {all} bytes");
            return Err(Failure::new(Outcome::ShortData, what));
        }
        let (program, shown) = (&self.program, show(expected));
        self.trace.step(format!("`{program}` has printed {shown}"));
        Ok(())
    }

    /// Reads what there is, until nothing more comes for a moment.
    pub fn read_on(&self) -> Verdict<Vec<u8>> {
        let (mut printed, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        let moment = Duration::from_millis(50);
        while self.has_more(moment)? {
            match self.receive(&mut chunk, printed.len())? {
                0 => break,
                count => printed.extend_from_slice(&chunk[..count]),
            }
        }
        Ok(printed)
    }

    /// One read, after the first `count` bytes. Returns 0 at the end.
    fn receive(&self, chunk: &mut [u8], count: usize) -> Verdict<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let patience = patience().min(left);
        let begun = Instant::now();
        if !self.has_more(patience)? {
            let program = &self.program;
            let what = format!(
                "`{program}` has printed {count} bytes, then none for {}",
                time(begun.elapsed())
            );
            let failure = Failure::new(Outcome::Timeout, what);
            return Err(match count {
                0 => failure.hint(hint::FLUSH),
                _ => failure,
            });
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

    /// `chunk` came after the first `count` bytes, and is not what was `expected` there.
    fn wrong(&self, expected: &[u8], count: usize, chunk: &[u8]) -> Failure {
        let right = expected[count..].iter().zip(chunk);
        let right = right.take_while(|(a, b)| a == b).count();
        let from = count + right;
        let to = expected.len().min(from + 30);
        let rest = &chunk[right..chunk.len().min(right + 30)];
        let program = &self.program;
        let what = format!("the output of `{program}` is wrong after the first {from} bytes");
        let failure = Failure::new(Outcome::WrongData, what);
        failure
            .expected(show(&expected[from..to]))
            .received(show(rest))
    }
}
