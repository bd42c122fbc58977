//! Finds the lines in a stream of bytes. There is no socket in this file, so it can be
//! tested alone.

/// The longest line, in bytes. A longer one is handed out in pieces of this size.
/// Without a limit, a client that never sends `\n` could fill our memory.
pub const MAX_LINE: usize = 64 * 1024;

/// The largest buffer that is kept when all lines are handed out, in bytes.
const KEPT_CAPACITY: usize = 4096;

/// The bytes that have arrived and are not yet handed out as lines. TCP keeps the order
/// of the bytes, but not the borders between two sends: one `recv` may bring a piece of
/// a line, or many lines.
#[derive(Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// `bytes[..taken]` has been handed out.
    taken: usize,
    /// `bytes[taken..searched]` holds no `\n` and need not be searched again.
    searched: usize,
}

impl Lines {
    /// Adds what one `recv` brought. Then call `next_line` until it returns `None`.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete line with its ending, or [`MAX_LINE`] bytes of a longer one.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        let limit = self.bytes.len().min(self.taken + MAX_LINE);
        let unseen = &self.bytes[self.searched..limit];
        if let Some(at) = unseen.iter().position(|&byte| byte == b'\n') {
            Some(self.take(self.searched + at + 1))
        } else if limit == self.taken + MAX_LINE {
            Some(self.take(limit))
        } else {
            self.keep_unfinished();
            None
        }
    }

    /// Removes the lines that were handed out. Also frees the memory that a long line
    /// needed: otherwise an idle client would keep it.
    fn keep_unfinished(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.searched = self.bytes.len();
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
    }

    /// For the end of the stream: what is left is a last line without `\n`.
    pub fn last_line(&mut self) -> Option<&[u8]> {
        (self.taken < self.bytes.len()).then(|| self.take(self.bytes.len()))
    }

    fn take(&mut self, end: usize) -> &[u8] {
        let line = &self.bytes[self.taken..end];
        self.taken = end;
        self.searched = end;
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a stream that arrives in pieces of these sizes, repeated as needed.
    fn lines_of(stream: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), stream);
        for &size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            lines.push(piece);
            while let Some(line) = lines.next_line() {
                found.push(line.to_vec());
            }
            if later.is_empty() {
                break;
            }
            rest = later;
        }
        found.extend(lines.last_line().map(<[u8]>::to_vec));
        found
    }

    /// One byte less than the longest line.
    fn almost_full() -> Vec<u8> {
        vec![b'a'; MAX_LINE - 1]
    }

    #[test]
    fn a_line_over_the_limit_comes_in_pieces() {
        let stream = [&almost_full()[..], b"bcd\n"].concat();
        let first = [&almost_full()[..], b"b"].concat();
        assert!(lines_of(&stream, &[1000]) == [first, b"cd\n".to_vec()]);
    }

    #[test]
    fn a_line_that_just_fits_is_one_line() {
        let stream = [&almost_full()[..], b"\n"].concat();
        assert!(lines_of(&stream, &[usize::MAX]) == [stream]);
    }

    #[test]
    fn the_limit_may_cut_a_character() {
        let stream = [&almost_full()[..], "é\n".as_bytes()].concat();
        let first = [&almost_full()[..], b"\xc3"].concat();
        assert!(lines_of(&stream, &[usize::MAX]) == [first, b"\xa9\n".to_vec()]);
    }

    #[test]
    fn how_the_bytes_were_cut_does_not_matter() {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Short streams first, so that the first one that fails is easy to read.
            let length = random.usize(..=seed as usize / 2);
            let byte = |_| match random.u8(..4) {
                0 => b'\n',
                1 => b'\r',
                2 => b'a',
                _ => random.u8(..),
            };
            let stream: Vec<u8> = (0..length).map(byte).collect();
            let pieces = random.usize(1..8);
            let sizes: Vec<usize> = (0..pieces).map(|_| random.usize(1..40)).collect();
            let whole: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();
            assert_eq!(
                lines_of(&stream, &sizes),
                whole,
                "seed {seed}, cut at {sizes:?}"
            );
        }
    }
}
