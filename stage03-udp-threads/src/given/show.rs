//! The line on stdout for each message of a client.

use std::fmt::Write;

use super::escape::escape;

/// At most this much of a line is shown, in bytes.
const MAX_SHOWN: usize = 1024;

/// Appends `[CLIENT MESSAGE] …` for one line. A long one is cut, and its length is shown.
pub fn show_message(line: &[u8], shown: &mut String) {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = if text.len() < line.len() {
        text.strip_suffix(b"\r").unwrap_or(text)
    } else {
        text
    };
    shown.push_str("[CLIENT MESSAGE] ");
    let limit = shown.len() + MAX_SHOWN;
    // A cut can split a character, which has at most four bytes. So we first keep three bytes
    // more than the limit. The loop below removes them, and the pieces of a split character.
    let head = &text[..text.len().min(MAX_SHOWN + 3)];
    escape(head, shown);
    if shown.len() > limit {
        while shown.len() > limit {
            shown.pop();
        }
        let _ = write!(shown, "… ({} bytes)", text.len());
    }
    shown.push('\n');
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
        assert_eq!(shown(b"hello\r\n"), "[CLIENT MESSAGE] hello\n");
        assert_eq!(shown("añ🦀".as_bytes()), "[CLIENT MESSAGE] añ🦀\n");
    }

    #[test]
    fn the_ending_is_not_shown_and_the_rest_is_escaped() {
        assert_eq!(shown(b"hello\n"), "[CLIENT MESSAGE] hello\n");
        assert_eq!(shown(b"a\r"), "[CLIENT MESSAGE] a\\r\n");
        assert_eq!(shown(b"\x1b[2J\xff\n"), "[CLIENT MESSAGE] \\x1b[2J\\xff\n");
    }

    #[test]
    fn a_long_line_is_cut_and_says_how_long_it_was() {
        let text = shown(&[b'a'; 5000]);
        assert_eq!(
            text,
            format!("[CLIENT MESSAGE] {}… (5000 bytes)\n", "a".repeat(1024))
        );
    }

    #[test]
    fn any_bytes_make_one_short_line() {
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
            assert!(text.len() < 1100, "seed {seed}: {text}");
            assert_eq!(text.lines().count(), 1, "seed {seed}: {text}");
            let controls = text.trim_end_matches('\n').chars().any(char::is_control);
            assert!(!controls, "seed {seed}: {text}");
        }
    }
}
