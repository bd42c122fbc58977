//! What the server sent, made fit for a terminal: a peer must not be able to move
//! our cursor, clear our screen or forge a line of ours.

use std::fmt::Write;

use crate::reverse::split_ending;

/// Appends `[SERVER MESSAGE] …` for one line.
pub fn show_message(line: &[u8], shown: &mut String) {
    let (text, _) = split_ending(line);
    shown.push_str("[SERVER MESSAGE] ");
    show_text(text, shown);
    shown.push('\n');
}

/// Appends `text`, with control characters and bytes that are not UTF-8 escaped.
pub fn show_text(text: &[u8], shown: &mut String) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            push_escaped(character, shown);
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}"); // a String takes everything
        }
    }
}

fn push_escaped(character: char, shown: &mut String) {
    let _ = match character {
        '\t' | '\r' | '\n' => write!(shown, "{}", character.escape_default()),
        '\0'..='\x1f' | '\x7f' => write!(shown, "\\x{:02x}", u32::from(character)),
        // C1 controls, and those that change the direction of writing.
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

    fn shown(line: &[u8]) -> String {
        let mut shown = String::new();
        show_message(line, &mut shown);
        shown
    }

    #[test]
    fn text_is_shown_as_it_is() {
        assert_eq!(shown(b"olleh\r\n"), "[SERVER MESSAGE] olleh\n");
        assert_eq!(shown("añ🦀".as_bytes()), "[SERVER MESSAGE] añ🦀\n");
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        let line = "\x1b[2J\t\0\r\x7f\u{85}\u{202e}x".as_bytes();
        let expected = "\\x1b[2J\\t\\x00\\r\\x7f\\u{85}\\u{202e}x\n";
        assert_eq!(shown(line), format!("[SERVER MESSAGE] {expected}"));
        assert_eq!(shown(b"a\xff\xc3\n"), "[SERVER MESSAGE] a\\xff\\xc3\n");
    }

    #[test]
    fn any_bytes_make_one_line() {
        for seed in 0..1000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Short lines first, so that the first one that fails is easy to read.
            let mut line = Vec::new();
            for _ in 0..random.usize(..=seed as usize) {
                if random.bool() {
                    line.push(random.u8(..));
                } else {
                    line.extend(random.char(..'\u{3000}').to_string().bytes());
                }
            }
            let text = shown(&line);
            assert_eq!(text.lines().count(), 1, "seed {seed}: {text}");
            let controls = text.trim_end_matches('\n').chars().any(char::is_control);
            assert!(!controls, "seed {seed}: {text}");
        }
    }
}
