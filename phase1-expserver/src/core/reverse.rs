//! Role `reverse`: answers each line with the same line reversed. [`Framer`] is the end of the pipe
//! from the client and the start of the pipe back to it: a [`Sink`] that finds the lines, and a
//! [`Source`] of their answers.
//!
//! It owns the incomplete last line and the answers that nothing has read yet. A session owns it;
//! the session's pipes call it. It knows no sockets.

use std::mem;

use crate::flow::{Outcome, Progress, Resources, Sink, Source};
use crate::utils::buffer::BufferList;
use crate::vec::XpsVec;

/// The longest line, in bytes. A longer line is answered in pieces of this size, so that no client
/// makes the server store more than that.
pub const MAX_LINE: usize = 64 * 1024;

/// While this many bytes of answers wait, no more lines are read: a client that does not read its
/// answers gets no more of them.
const MAX_ANSWERS: usize = 64 * 1024;

enum Input {
    Open,
    /// All lines have been answered.
    Ended,
    /// The client will not take the answers.
    Gone,
}

/// Finds the lines in a stream of bytes and answers them. TCP keeps the order of the bytes, but not
/// the boundaries between two sends: a line may arrive in pieces, or together with others.
pub struct Framer {
    // The beginning of a line, always shorter than MAX_LINE. Most reads bring whole lines; then it
    // is empty and holds no memory.
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
        // An answer is as long as its line, so it fits into one chunk.
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
                self.answer(line, resources); // directly from the pipe's memory
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

/// Returns the first line of `bytes` and true. If no line ends in `bytes`, returns all of them and
/// false. A line ends with `\n`, or when it is `limit` bytes long.
fn first_line(bytes: &[u8], limit: usize) -> (&[u8], bool) {
    let seen = &bytes[..bytes.len().min(limit)];
    match seen.iter().position(|&byte| byte == b'\n') {
        Some(at) => (&seen[..=at], true),
        None => (seen, seen.len() == limit),
    }
}

/// Writes `line` reversed to `answer`, which has the same length. The ending, `\n` or `\r\n`, stays
/// at the end.
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
        // ASCII, or bytes that are not UTF-8: byte by byte.
        _ => {
            reversed.copy_from_slice(text);
            reversed.reverse();
        }
    }
    last.copy_from_slice(ending);
}

/// A line as `(text, ending)`. A `\r` that is not followed by `\n` belongs to the text.
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
