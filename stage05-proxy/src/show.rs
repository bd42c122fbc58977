//! What a client sent, made fit for a terminal: a peer must not be able to move
//! our cursor, clear our screen or forge a line of ours.

use std::fmt::Write;

/// The longest text shown for one line, in bytes.
const MAX_SHOWN: usize = 1024;

/// Appends `[CLIENT MESSAGE] …` for one line, cut if it is long.
pub fn show_message(line: &[u8], shown: &mut String) {
    let (text, _) = split_ending(line);
    shown.push_str("[CLIENT MESSAGE] ");
    let limit = shown.len() + MAX_SHOWN;
    // Three bytes more than can be shown: a character is never taken for a broken one.
    let head = &text[..text.len().min(MAX_SHOWN + 3)];
    show_text(head, shown);
    if shown.len() > limit {
        while shown.len() > limit {
            shown.pop();
        }
        let _ = write!(shown, "… ({} bytes)", text.len());
    }
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

/// Appends the `[CLIENT MESSAGE] …` for a connection whose bytes were not shown: how
/// many came from the client and from the upstream.
pub fn show_totals([client, upstream]: [u64; 2], shown: &mut String) {
    let text = format!("{client} bytes from client, {upstream} bytes from upstream");
    show_message(text.as_bytes(), shown);
}

/// The first line of `bytes` if it reads like `GET / HTTP/1.1`. Anything else a client
/// may send to an upstream is not for a terminal.
pub fn request_line(bytes: &[u8]) -> Option<&[u8]> {
    let line = bytes.split_inclusive(|&byte| byte == b'\n').next()?;
    is_request(split_ending(line).0).then_some(line)
}

/// A method, a target and a version (RFC 9112, section 3).
fn is_request(text: &[u8]) -> bool {
    let words: Vec<&[u8]> = text.splitn(4, |&byte| byte == b' ').collect();
    matches!(words[..], [method, target, version]
        if !method.is_empty() && method.iter().all(u8::is_ascii_uppercase)
            && !target.is_empty() && version.starts_with(b"HTTP/"))
}

/// A line as `(text, ending)`. A `\r` that no `\n` follows belongs to the text.
fn split_ending(line: &[u8]) -> (&[u8], &[u8]) {
    let ending = match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    };
    line.split_at(line.len() - ending)
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
        assert_eq!(shown(b"hello\r\n"), "[CLIENT MESSAGE] hello\n");
        assert_eq!(shown("añ🦀".as_bytes()), "[CLIENT MESSAGE] añ🦀\n");
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        let line = "\x1b[2J\t\0\r\x7f\u{85}\u{202e}x".as_bytes();
        let expected = "\\x1b[2J\\t\\x00\\r\\x7f\\u{85}\\u{202e}x\n";
        assert_eq!(shown(line), format!("[CLIENT MESSAGE] {expected}"));
        assert_eq!(shown(b"a\xff\xc3\n"), "[CLIENT MESSAGE] a\\xff\\xc3\n");
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
    fn only_a_request_line_is_shown_as_one() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(request_line(request), Some(&b"GET / HTTP/1.1\r\n"[..]));
        assert_eq!(request_line(&request[..14]), Some(&b"GET / HTTP/1.1"[..]));
        for other in [
            "hello\n",
            "GET /\n",
            "get / HTTP/1.1\n",
            " / HTTP/1.1\n",
            "GET  HTTP/1.1\n",
            "",
            "\n",
            "G",
        ] {
            assert_eq!(request_line(other.as_bytes()), None, "{other}");
        }
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
