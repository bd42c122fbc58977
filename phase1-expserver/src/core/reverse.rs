//! Role `reverse`: each line is answered with the same line reversed. [`Framer`] is where the pipe
//! from the client ends and the pipe back to it begins: a [`Sink`] that finds the lines, a
//! [`Source`] of their answers.
//!
//! It owns the line that is not complete yet and the answers that were not fetched yet. Owned by a
//! session; called by its pipes. It knows no sockets.

use std::mem;

use crate::flow::{Outcome, Progress, Resources, Sink, Source};
use crate::utils::buffer::BufferList;
use crate::vec::XpsVec;

/// The longest line, in bytes. A longer one is answered in pieces of this size,
/// so that no client makes the server remember more than that.
pub const MAX_LINE: usize = 64 * 1024;

/// As long as there are this many bytes of answers, no line is framed: who does not fetch answers
/// gets no more of them.
const MAX_ANSWERS: usize = 64 * 1024;

enum Input {
    Open,
    /// All lines have been answered.
    Ended,
    /// Nobody wants the answers.
    Gone,
}

/// Finds the lines in a stream of bytes and answers them. TCP keeps the order of the bytes, not the
/// cuts between two sends: a line may come in pieces, or with many others.
pub struct Framer {
    // The beginning of a line, always shorter than MAX_LINE. Empty (and without memory) when
    // reads bring whole lines, as they mostly do.
    line: XpsVec<u8>,
    answers: BufferList,
    input: Input,
}

impl Default for Framer {
    fn default() -> Self {
        Framer::new()
    }
}

impl Framer {
    pub fn new() -> Self {
        Framer {
            line: XpsVec::new(),
            answers: BufferList::new(),
            input: Input::Open,
        }
    }

    fn answer(&mut self, line: &[u8], resources: &mut Resources) {
        // An answer is as long as its line, so it fits into a chunk.
        let room = self.answers.room(line.len(), &mut resources.chunks);
        reverse(line, &mut room[..line.len()]);
        self.answers.commit(line.len(), &mut resources.chunks);
        let (text, _) = split_ending(line);
        resources.transcript.message(text);
    }
}

impl Sink for Framer {
    fn writable(&self) -> bool {
        self.answers.len() < MAX_ANSWERS
    }

    fn gone(&self) -> bool {
        matches!(self.input, Input::Gone)
    }

    fn write_from(&mut self, from: &mut BufferList, resources: &mut Resources) -> Outcome {
        let bytes = from.front();
        let mut rest = bytes;
        while !rest.is_empty() && self.writable() {
            let (line, complete) = first_line(rest, MAX_LINE - self.line.len());
            rest = &rest[line.len()..];
            if complete && self.line.is_empty() {
                self.answer(line, resources); // out of the pipe's memory, not copied before
                continue;
            }
            self.line.extend_from_slice(line);
            if complete {
                let line = mem::take(&mut self.line);
                self.answer(&line, resources);
            }
        }
        let taken = bytes.len() - rest.len();
        from.consume(taken, &mut resources.chunks);
        Ok(Progress::Moved(taken))
    }

    /// The client has ended its stream: what is left is a last line without `\n`.
    fn shut(&mut self, resources: &mut Resources) {
        let line = mem::take(&mut self.line);
        if !line.is_empty() {
            self.answer(&line, resources);
        }
        self.input = Input::Ended;
    }
}

impl Source for Framer {
    fn readable(&self) -> bool {
        !self.answers.is_empty() || matches!(self.input, Input::Ended)
    }

    fn read_into(&mut self, into: &mut BufferList, resources: &mut Resources) -> Outcome {
        match self.answers.len() {
            0 if matches!(self.input, Input::Ended) => Ok(Progress::Eof),
            0 => Ok(Progress::Blocked),
            count => {
                into.append(&mut self.answers, &mut resources.chunks);
                Ok(Progress::Moved(count))
            }
        }
    }

    fn stop(&mut self, resources: &mut Resources) {
        self.line = XpsVec::new();
        self.answers.clear(&mut resources.chunks);
        self.input = Input::Gone;
    }
}

/// The first line of `bytes` and true; or false and all of them, if no line ends here. A line ends
/// with `\n`, or where it has got `limit` bytes long.
fn first_line(bytes: &[u8], limit: usize) -> (&[u8], bool) {
    let seen = &bytes[..bytes.len().min(limit)];
    match seen.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&seen[..=at], true),
        None => (seen, seen.len() == limit),
    }
}

/// Writes `line` reversed to `answer`, which is as long. Its ending, `\n` or `\r\n`, stays last.
pub fn reverse(line: &[u8], answer: &mut [u8]) {
    let (text, ending) = split_ending(line);
    let (reversed, last) = answer.split_at_mut(text.len());
    match std::str::from_utf8(text) {
        // By character: the bytes of `é` must keep their order.
        Ok(text) if !text.is_ascii() => {
            let mut at = 0;
            for character in text.chars().rev() {
                at += character.encode_utf8(&mut reversed[at..]).len();
            }
        }
        // ASCII, or bytes that mean nothing to us: one by one.
        _ => {
            reversed.copy_from_slice(text);
            reversed.reverse();
        }
    }
    last.copy_from_slice(ending);
}

/// A line as `(text, ending)`. A `\r` that no `\n` follows belongs to the text.
pub fn split_ending(line: &[u8]) -> (&[u8], &[u8]) {
    let ending = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    line.split_at(line.len() - ending)
}

#[cfg(test)]
mod tests;
