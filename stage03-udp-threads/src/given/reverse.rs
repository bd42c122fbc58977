//! The protocol of these servers: the answer to a line is the same line reversed. There
//! is no socket in this file, so it can be tested alone.

/// Appends the reversed `line` to `answer`. Its ending, `\n` or `\r\n`, stays at the end.
pub fn reverse(line: &[u8], answer: &mut Vec<u8>) {
    let (text, ending) = split_ending(line);
    match std::str::from_utf8(text) {
        // Character by character, because the two bytes of `é` must keep their order.
        Ok(text) if !text.is_ascii() => {
            for character in text.chars().rev() {
                answer.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        // Byte by byte, for ASCII and for bytes that are not UTF-8.
        _ => answer.extend(text.iter().rev()),
    }
    answer.extend_from_slice(ending);
}

/// Splits a line into `(text, ending)`. A `\r` without `\n` behind it belongs to the text.
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

    fn reversed(line: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        reverse(line, &mut answer);
        answer
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
    fn twice_reversed_is_as_before() {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Short lines first, so that the first one that fails is easy to read.
            let length = random.usize(..=seed as usize / 10);
            let character = |_| match random.u8(..3) {
                0 => random.char('\0'..='\x7f'),
                1 => random.char('\u{80}'..='\u{7ff}'),
                _ => random.char(..),
            };
            let text: String = (0..length).map(character).collect();
            let line = text.replace(['\r', '\n'], "") + "\n";
            let twice = reversed(&reversed(line.as_bytes()));
            assert_eq!(twice, line.as_bytes(), "seed {seed}");
        }
    }
}
