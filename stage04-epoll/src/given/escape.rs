//! Bytes from a peer, escaped for display on a terminal. Otherwise a peer could move our
//! cursor, clear our screen or forge one of our lines.

use std::fmt::Write;

/// Appends `text`, with control characters and bytes that are not UTF-8 escaped.
pub fn escape(text: &[u8], shown: &mut String) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(character, shown);
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}"); // cannot fail for a String
        }
    }
}

fn push_escaped(character: char, shown: &mut String) {
    let _ = match character {
        '\t' | '\r' | '\n' => write!(shown, "{}", character.escape_default()),
        '\0'..='\x1f' | '\x7f' => write!(shown, "\\x{:02x}", u32::from(character)),
        // More control characters (C1), and those that change the direction of the text.
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => write!(shown, "{}", character.escape_unicode()),
        _ => write!(shown, "{character}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut shown = String::new();
        escape(text, &mut shown);
        shown
    }

    #[test]
    fn text_is_shown_as_it_is() {
        assert_eq!(escaped("hello añ🦀".as_bytes()), "hello añ🦀");
    }

    #[test]
    fn what_could_control_a_terminal_is_escaped() {
        let text = "\x1b[2J\t\0\r\n\x7f\u{85}\u{202e}x".as_bytes();
        let expected = "\\x1b[2J\\t\\x00\\r\\n\\x7f\\u{85}\\u{202e}x";
        assert_eq!(escaped(text), expected);
        assert_eq!(escaped(b"a\xff\xc3"), "a\\xff\\xc3");
    }

    #[test]
    fn no_bytes_become_a_control_character() {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Short texts first, so that the first one that fails is easy to read.
            let mut text = Vec::new();
            for _ in 0..random.usize(..=seed as usize) {
                if random.bool() {
                    text.push(random.u8(..));
                } else {
                    text.extend(random.char(..'\u{3000}').to_string().bytes());
                }
            }
            let shown = escaped(&text);
            let controls = shown.chars().any(char::is_control);
            assert!(!controls, "seed {seed}: {shown}");
        }
    }
}
