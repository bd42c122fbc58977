//! The protocol of these servers: each line is answered with the same line
//! reversed. Bytes in, bytes out, no sockets, so that it can be tested alone.

/// The longest line, in bytes. A longer one is answered in pieces of this size,
/// so that no client makes the server remember more than that.
pub const MAX_LINE: usize = 64 * 1024;

/// Memory up to this size is kept for the next line, in bytes.
const KEPT_CAPACITY: usize = 4096;

/// Finds the lines in a stream of bytes. TCP keeps the order of the bytes, not
/// the cuts between two sends: a line may come in pieces, or with many others.
#[derive(Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// `bytes[..taken]` has been handed out.
    taken: usize,
    /// `bytes[taken..searched]` holds no `\n`, so it is not searched again.
    searched: usize,
}

impl Lines {
    /// Takes in what one read brought.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next line with its ending, or [`MAX_LINE`] bytes of one that is longer.
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

    /// Forgets the lines handed out. Memory that a big read needed goes back, or
    /// each idle client would keep some.
    fn keep_unfinished(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.searched = self.bytes.len();
        if self.bytes.is_empty() && self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = Vec::new();
        }
    }

    /// What is left when the stream has ended: a last line without `\n`.
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

/// Appends `line` to `answer` reversed. Its ending, `\n` or `\r\n`, stays last.
pub fn reverse(line: &[u8], answer: &mut Vec<u8>) {
    let (text, ending) = split_ending(line);
    match std::str::from_utf8(text) {
        // By character: the bytes of `é` must keep their order.
        Ok(text) if !text.is_ascii() => {
            for character in text.chars().rev() {
                answer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        // ASCII, or bytes that mean nothing to us: one by one.
        _ => answer.extend(text.iter().rev()),
    }
    answer.extend_from_slice(ending);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reversed(line: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        reverse(line, &mut answer);
        answer
    }

    /// The answers to a stream that arrives in pieces of `sizes` bytes, over and over.
    fn answers(stream: &[u8], sizes: &[usize]) -> Vec<u8> {
        let (mut lines, mut answers, mut rest) = (Lines::default(), Vec::new(), stream);
        for &size in sizes.iter().cycle() {
            let (piece, later) = rest.split_at(size.min(rest.len()));
            lines.push(piece);
            while let Some(line) = lines.next_line() {
                reverse(line, &mut answers);
            }
            if later.is_empty() {
                break;
            }
            rest = later;
        }
        if let Some(line) = lines.last_line() {
            reverse(line, &mut answers);
        }
        answers
    }

    #[test]
    fn the_ending_stays_at_the_end() {
        assert_eq!(reversed(b"hello\n"), b"olleh\n");
        assert_eq!(reversed(b"hello\r\n"), b"olleh\r\n");
        assert_eq!(reversed(b"hello"), b"olleh");
        assert_eq!(reversed(b"\n"), b"\n");
        assert_eq!(reversed(b"\r\n"), b"\r\n");
        assert_eq!(reversed(b""), b"");
    }

    #[test]
    fn a_lone_carriage_return_is_text() {
        assert_eq!(reversed(b"ab\rc\n"), b"c\rba\n");
        assert_eq!(reversed(b"ab\r"), b"\rba");
        assert_eq!(reversed(b"ab\r\r\n"), b"\rba\r\n");
    }

    #[test]
    fn utf8_by_character_anything_else_by_byte() {
        assert_eq!(reversed("añ€🦀\n".as_bytes()), "🦀€ña\n".as_bytes());
        assert_eq!(reversed(b"a\xffb\0c\n"), b"c\0b\xffa\n");
        // One stray byte, and the bytes of `é` are just bytes too.
        assert_eq!(reversed(b"\xc3\xa9\xff\n"), b"\xff\xa9\xc3\n");
    }

    #[test]
    fn a_line_over_the_limit_is_answered_in_pieces() {
        let mut stream = vec![b'a'; MAX_LINE - 1];
        stream.extend_from_slice(b"bcd\n");
        let mut expected = vec![b'b'];
        expected.extend(vec![b'a'; MAX_LINE - 1]);
        expected.extend_from_slice(b"dc\n");
        assert!(answers(&stream, &[1000]) == expected);
    }

    #[test]
    fn a_line_that_just_fits_is_one_line() {
        let mut stream = vec![b'a'; MAX_LINE - 1];
        stream.push(b'\n');
        let mut lines = Lines::default();
        lines.push(&stream);
        assert_eq!(lines.next_line().map(<[u8]>::len), Some(MAX_LINE));
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.last_line(), None);
    }

    #[test]
    fn a_character_cut_by_the_limit_makes_its_piece_one_of_bytes() {
        let mut stream = vec![b'a'; MAX_LINE - 1];
        stream.extend_from_slice("é\n".as_bytes());
        let mut expected = vec![0xc3];
        expected.extend(vec![b'a'; MAX_LINE - 1]);
        expected.extend_from_slice(b"\xa9\n");
        assert!(answers(&stream, &[usize::MAX]) == expected);
    }

    proptest! {
        #[test]
        fn how_the_bytes_were_cut_does_not_matter(
            stream in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..400),
            sizes in proptest::collection::vec(1usize..40, 1..8),
        ) {
            let whole: Vec<u8> = stream
                .split_inclusive(|&byte| byte == b'\n')
                .flat_map(reversed)
                .collect();
            prop_assert_eq!(answers(&stream, &sizes), whole);
        }

        #[test]
        fn twice_reversed_is_as_before(text in "[^\r\n]*") {
            let line = text + "\n";
            prop_assert_eq!(reversed(&reversed(line.as_bytes())), line.into_bytes());
        }
    }
}
