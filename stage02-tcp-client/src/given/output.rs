//! What the user sees. On a terminal this is a prompt and the answers. In a pipe it is the
//! server's bytes as they are.

use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::answers::show_answer;
use super::lines::Lines;

pub struct Output {
    terminal: bool,
    /// stdin and stdout are terminals: a user types, and sees the prompt.
    interactive: bool,
    /// How many typed lines have no answer yet.
    awaited: usize,
    /// The prompt has been printed, and the cursor is still in its line.
    prompted: bool,
    answers: Lines,
    unwritten: Vec<u8>,
}

impl Output {
    pub fn for_stdout() -> Self {
        let terminal = stdout().is_terminal();
        Self {
            terminal,
            interactive: terminal && stdin().is_terminal(),
            awaited: 0,
            prompted: false,
            answers: Lines::default(),
            unwritten: Vec::new(),
        }
    }

    /// Prompts for a line when all lines before it are answered.
    pub fn prompt(&mut self) {
        if self.interactive && !self.prompted && self.awaited == 0 {
            self.unwritten.extend_from_slice(b"> ");
            self.prompted = true;
        }
    }

    /// Counts the typed lines. Enter moves the cursor to a new line, away from the prompt.
    pub fn typed(&mut self, input: &[u8]) {
        self.awaited += count_lines(input);
        if input.ends_with(b"\n") {
            self.prompted = false;
        }
    }

    pub fn end_of_input(&mut self) {
        self.leave_prompt();
        self.interactive = false;
    }

    /// Adds what one `recv` brought: it may begin and end within a line.
    pub fn answer(&mut self, bytes: &[u8]) {
        if !self.terminal {
            self.unwritten.extend_from_slice(bytes);
            return;
        }
        self.awaited = self.awaited.saturating_sub(count_lines(bytes));
        self.answers.push(bytes);
        let mut shown = String::new();
        while let Some(line) = self.answers.next_line() {
            show_answer(line, &mut shown);
        }
        self.show(&shown);
    }

    /// The server sends nothing more. Its last line may have no ending.
    pub fn end_of_answers(&mut self) {
        let mut shown = String::new();
        if let Some(line) = self.answers.last_line() {
            show_answer(line, &mut shown);
        }
        self.show(&shown);
        self.leave_prompt();
    }

    fn show(&mut self, shown: &str) {
        if !shown.is_empty() {
            self.leave_prompt();
            self.unwritten.extend_from_slice(shown.as_bytes());
        }
    }

    fn leave_prompt(&mut self) {
        if self.prompted {
            self.unwritten.push(b'\n');
            self.prompted = false;
        }
    }

    /// Writes everything. While stdout takes nothing, this waits, and we receive no more
    /// answers: that is backpressure.
    pub fn flush(&mut self) -> nix::Result<()> {
        let mut rest = self.unwritten.as_slice();
        while !rest.is_empty() {
            match write(stdout(), rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EINTR) => {}
                // Another program that shares this stdout has made it non-blocking.
                Err(Errno::EAGAIN) => wait_for_stdout()?,
                Err(errno) => return Err(errno),
            }
        }
        self.unwritten.clear();
        Ok(())
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

fn wait_for_stdout() -> nix::Result<()> {
    let stdout = stdout();
    let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut asked, PollTimeout::NONE) {
        Err(Errno::EINTR) => Ok(()),
        result => result.map(drop),
    }
}
