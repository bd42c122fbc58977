//! Text that a program under test, a student or the file system has made, for a reader.
//!
//! Such text may be anything: sequences that clear a terminal or forge its lines, characters that
//! turn the order of a line around or are not allowed in XML, commands for a CI system, a gigabyte.
//! After [`text`] or [`line`] it is a bounded number of visible characters, whatever it is shown in.

/// How many bytes of a long text are kept: half from its beginning, half from its end.
const KEPT: usize = 30_000;

/// How many characters of a long line are kept.
const LINE: usize = 1_000;

/// How much longer than [`LINE`] or [`KEPT`] a text is when it is cut. A text that was cut, with
/// the words about it, is not cut again.
const SLACK: usize = 50;

/// How many combining characters may follow each other: `n` and a tilde, Indic vowels.
const COMBINING: usize = 4;

/// Several lines: what was printed, a build's messages.
pub fn text(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    if bytes.len() <= KEPT + SLACK {
        return lines(bytes);
    }
    let (begin, end) = (&bytes[..KEPT / 2], &bytes[bytes.len() - KEPT / 2..]);
    let left_out = bytes.len() - KEPT;
    format!(
        "{}\n[… {left_out} bytes left out …]\n{}",
        lines(begin),
        lines(end)
    )
}

/// One line: a name, a word of a command line.
pub fn line(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let bytes = &bytes[..bytes.len().min(KEPT)];
    without_commands(&shorten(visible(bytes).replace('\n', "\\n")))
}

fn lines(bytes: &[u8]) -> String {
    let visible = visible(bytes);
    let lines: Vec<String> = visible
        .split('\n')
        .map(|line| without_commands(&shorten(line.to_owned())))
        .collect();
    lines.join("\n")
}

/// Escapes everything that is not a visible character, a blank or the end of a line.
fn visible(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    // How many combining characters have followed the last visible one.
    let mut combining = 0;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | ' '..='~' => shown.push(character),
                '\t' => shown.push_str("    "),
                _ if is_combining(character) => {
                    combining += 1;
                    match combining <= COMBINING {
                        true => shown.push(character),
                        false => shown.extend(character.escape_debug()),
                    }
                    continue;
                }
                _ => shown.extend(character.escape_debug()),
            }
            combining = 0;
        }
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

/// The standard library escapes a combining character on its own, but not after a letter.
fn is_combining(character: char) -> bool {
    let escaped = |text: &str| text.escape_debug().count() > text.chars().count();
    escaped(&character.to_string()) && !escaped(&format!("a{character}"))
}

fn shorten(line: String) -> String {
    match line.char_indices().nth(LINE + SLACK) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(LINE).collect();
            let more = line.chars().count() - LINE;
            format!("{kept}… ({more} more characters)")
        }
    }
}

/// Breaks what a CI system would take for a command: GitHub reads a line that begins with
/// `::`, and `##[` anywhere; others read `##vso[` and `##teamcity[`.
pub fn without_commands(line: &str) -> String {
    let line = match line.trim_start().strip_prefix("::") {
        Some(rest) => format!("{}:\\x3a{rest}", &line[..line.len() - rest.len() - 2]),
        None => line.to_owned(),
    };
    ["##[", "##vso[", "##teamcity["]
        .iter()
        .fold(line, |line, command| {
            line.replace(command, &command.replacen("##", "#\\x23", 1))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_text_stays_as_it_is() {
        for kept in [
            "error: `x` isn't \"here\" \\ (os error 2)\n  at main.c:7\n",
            "Zoë, Jose\u{301}, മലയാളം, தமிழ், 中文, 🙂",
            "std::vector<int>::at",
        ] {
            assert_eq!(text(kept), kept);
            assert_eq!(line(kept), kept.replace('\n', "\\n"));
        }
        assert_eq!(text("\tat Main.main"), "    at Main.main");
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(
            text("\x1b[2J\x07\x08\r\n\0\x7f"),
            "\\u{1b}[2J\\u{7}\\u{8}\\r\n\\0\\u{7f}"
        );
        assert_eq!(
            text(b"\xff\xc2\x9b31m\xe2\x80"),
            "\\xff\\u{9b}31m\\xe2\\x80"
        );
        assert_eq!(
            text("a\u{202e}b\u{200b}c\u{feff}\u{2028}"),
            "a\\u{202e}b\\u{200b}c\\u{feff}\\u{2028}"
        );
    }

    #[test]
    fn what_xml_does_not_allow_is_escaped() {
        assert_eq!(
            text("\u{fffe}\u{ffff}\u{1ffff}"),
            "\\u{fffe}\\u{ffff}\\u{1ffff}"
        );
    }

    #[test]
    fn commands_for_a_ci_system_are_broken() {
        assert_eq!(text("x\n  ::error::forged\n"), "x\n  :\\x3aerror::forged\n");
        assert_eq!(
            text("a ##[group]b ##vso[task]"),
            "a #\\x23[group]b #\\x23vso[task]"
        );
    }

    #[test]
    fn long_text_and_floods_are_bounded() {
        let marks = format!("a{}", "\u{301}".repeat(COMBINING + 1));
        assert!(text(&marks).ends_with("\\u{301}"), "{}", text(&marks));
        let much = text("x".repeat(10 << 20));
        assert!(much.len() < 3 * LINE, "{}", much.len());
        let lines = text("a line\n".repeat(1 << 20));
        assert!(lines.len() < KEPT + 100 && lines.contains("bytes left out"));
        assert!(line("\x1b".repeat(10 << 20)).len() < 2 * LINE);
    }

    #[test]
    fn twice_is_the_same_as_once() {
        for raw in [
            "\x1b\u{202e}##[x]\n::x".to_owned(),
            "x".repeat(5_000),
            "a\n".repeat(KEPT),
        ] {
            let once = text(raw);
            assert_eq!(text(&once), once);
            assert_eq!(line(line(&once)), line(&once));
        }
    }
}
