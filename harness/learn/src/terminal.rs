//! What the student reads: words with a colour where the terminal has some, and lines that fit.

use std::io::{IsTerminal, stdout};
use std::sync::OnceLock;

use harness::foreign;
use harness::host::wants_colors;

/// A state is always a word; the colour only repeats it.
#[derive(Clone, Copy)]
pub enum Colour {
    Green,
    Red,
    Yellow,
    Bold,
    Faint,
}

/// The text in this colour, if stdout shows colours.
pub fn coloured(colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::Green => 32,
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Bold => 1,
        Colour::Faint => 2,
    };
    if has_colours() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// See <https://no-color.org>.
pub fn has_colours() -> bool {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    *COLOURS.get_or_init(|| stdout().is_terminal() && wants_colors())
}

/// The width of the terminal, in columns: at most 100, and 80 if there is none.
pub fn width() -> usize {
    static WIDTH: OnceLock<usize> = OnceLock::new();
    *WIDTH.get_or_init(|| match textwrap::termwidth() {
        0 => 80,
        width => width.min(100),
    })
}

/// Prints text in lines that fit, each with this indentation.
pub fn say(indent: &str, text: &str) {
    wrapped(indent, text)
        .iter()
        .for_each(|line| println!("{line}"));
}

/// The text in lines that fit. Paragraphs are filled; what is indented by four columns is code
/// and keeps its form, and so does each point of a list.
pub fn wrapped(indent: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut paragraph = String::new();
    let flush = |paragraph: &mut String, lines: &mut Vec<String>| {
        let hanging = if paragraph.starts_with("- ") {
            "  "
        } else {
            ""
        };
        let room = width().saturating_sub(1 + indent.len());
        let options = textwrap::Options::new(room).subsequent_indent(hanging);
        let filled = textwrap::wrap(paragraph, &options);
        lines.extend(filled.iter().map(|line| format!("{indent}{line}")));
        paragraph.clear();
    };
    for line in text.lines() {
        if line.is_empty() || line.starts_with("  ") || line.starts_with("- ") {
            if !paragraph.is_empty() {
                flush(&mut paragraph, &mut lines);
            }
            match line {
                "" => lines.push(String::new()),
                point if point.starts_with("- ") => paragraph = point.to_owned(),
                code => lines.push(format!("{indent}{code}")),
            }
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph += line;
        }
    }
    if !paragraph.is_empty() {
        flush(&mut paragraph, &mut lines);
    }
    lines
}

/// What a program has printed, in lines that are cut at the width of the terminal.
pub fn clipped(indent: &str, text: &str) -> Vec<String> {
    let room = width().saturating_sub(1 + indent.len());
    let clip = |line: &str| match line.chars().count() > room {
        true => line
            .chars()
            .take(room.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => line.to_owned(),
    };
    let text = foreign::text(text);
    text.lines()
        .map(|line| format!("{indent}{}", clip(line)))
        .collect()
}

/// Prints what another program has written.
pub fn quote(text: &str) {
    eprint!("{text}");
}
