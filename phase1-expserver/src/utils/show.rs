//! What a client sent, escaped for display on a terminal: a peer must not be able to
//! move our cursor, clear our screen or forge one of our lines.

use std::fmt::Write;

/// The longest text shown for one line, in bytes.
const MAX_SHOWN: usize = 1024;

/// Appends `[CLIENT MESSAGE] …` for one line, given without its ending. Control
/// characters and bytes that are not UTF-8 are escaped, a long line is cut.
pub fn show_message(text: &[u8], shown: &mut String) {
    shown.push_str("[CLIENT MESSAGE] ");
    let limit = shown.len() + MAX_SHOWN;
    // Three bytes more than are shown, so that the last character shown is complete.
    let head = &text[..text.len().min(MAX_SHOWN + 3)];
    for chunk in head.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(character, shown);
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}"); // a String takes everything
        }
    }
    if shown.len() > limit {
        while shown.len() > limit {
            shown.pop();
        }
        let _ = write!(shown, "… ({} bytes)", text.len());
    }
    shown.push('\n');
}

fn push_escaped(character: char, shown: &mut String) {
    let _ = match character {
        '\t' | '\r' | '\n' => write!(shown, "{}", character.escape_default()),
        '\0'..='\x1f' | '\x7f' => write!(shown, "\\x{:02x}", u32::from(character)),
        // C1 controls, and the marks that change the direction of writing.
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
    use proptest::prelude::*;

    fn shown(text: &[u8]) -> String {
        let mut shown = String::new();
        show_message(text, &mut shown);
        shown
    }

    #[test]
    fn text_is_shown_as_it_is() {
        assert_eq!(shown(b"hello"), "[CLIENT MESSAGE] hello\n");
        assert_eq!(shown("añ🦀".as_bytes()), "[CLIENT MESSAGE] añ🦀\n");
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        let line = "\x1b[2J\t\0\r\x7f\u{85}\u{202e}x".as_bytes();
        let expected = "\\x1b[2J\\t\\x00\\r\\x7f\\u{85}\\u{202e}x\n";
        assert_eq!(shown(line), format!("[CLIENT MESSAGE] {expected}"));
        assert_eq!(shown(b"a\xff\xc3"), "[CLIENT MESSAGE] a\\xff\\xc3\n");
    }

    #[test]
    fn a_long_line_is_cut_and_says_how_long_it_was() {
        let text = shown(&[b'a'; 5000]);
        assert_eq!(
            text,
            format!("[CLIENT MESSAGE] {}… (5000 bytes)\n", "a".repeat(1024))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_short_line(
            line in proptest::collection::vec(any::<u8>(), 0..3000)
        ) {
            let text = shown(&line);
            prop_assert!(text.len() < 1100);
            prop_assert_eq!(text.lines().count(), 1);
            prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
        }
    }
}
