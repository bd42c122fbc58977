//! The lines of a long output that a failure shows.

use std::collections::BTreeSet;

use crate::foreign;

/// How many lines are shown as they are.
const ALL: usize = 12;

/// Of a longer output: how many of the first lines, and of the last ones.
const FIRST: usize = 3;
const LAST: usize = 4;

/// How many lines are shown because they say what happened, each with the lines that follow it.
const TELLING: usize = 4;
const FOLLOWING: usize = 3;

/// How many bytes of a line are shown.
const WIDTH: usize = 300;

/// Words of sanitizers, runtimes, C libraries and kernels for what went wrong.
const WORDS: &[&str] = &[
    "ERROR: ",
    "runtime error:",
    "panicked at",
    "Traceback (most recent",
    "Exception",
    "Error: ",
    "Caused by: ",
    "Segmentation fault",
    "ssertion",
    "terminate called",
    "stack smashing",
    "free(): ",
    "malloc(): ",
    "double free",
    "fatal",
    "Address already in use",
    "Too many open files",
    "Resource temporarily unavailable",
    "Cannot allocate memory",
    "Broken pipe",
];

/// The first lines, those that say what happened, and the last ones; `…` for what is between.
pub fn excerpt(output: &[u8]) -> Vec<String> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    if output.is_empty() {
        return Vec::new();
    }
    let lines: Vec<&[u8]> = output.split(|&byte| byte == b'\n').collect();
    let mut shown = Vec::new();
    let mut next = 0;
    for number in chosen(&lines) {
        match number - next {
            0 => {}
            1 => shown.push("… (1 line)".to_owned()),
            left_out => shown.push(format!("… ({left_out} lines)")),
        }
        shown.push(show(lines[number]));
        next = number + 1;
    }
    shown
}

fn chosen(lines: &[&[u8]]) -> BTreeSet<usize> {
    let count = lines.len();
    if count <= ALL {
        return (0..count).collect();
    }
    let mut chosen: BTreeSet<usize> = (0..FIRST).chain(count - LAST..count).collect();
    let mut found: Vec<&[u8]> = Vec::new();
    let mut next = 0;
    for (number, line) in lines.iter().enumerate() {
        if number >= next && is_telling(line) && !found.contains(line) {
            found.push(line);
            next = (number + FOLLOWING + 1).min(count);
            chosen.extend(number..next);
        }
        if found.len() == TELLING {
            break;
        }
    }
    chosen
}

fn is_telling(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(&line[..line.len().min(WIDTH)]);
    WORDS.iter().any(|word| line.contains(word))
}

fn show(line: &[u8]) -> String {
    match line.len() > WIDTH {
        true => format!("{}… ({} bytes)", foreign::line(&line[..WIDTH]), line.len()),
        false => foreign::line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[String]) -> Vec<String> {
        excerpt((lines.join("\n") + "\n").as_bytes())
    }

    #[test]
    fn a_short_output_is_shown_whole() {
        assert_eq!(excerpt(b""), Vec::<String>::new());
        assert_eq!(excerpt(b"one\n\n  two"), ["one", "", "  two"]);
    }

    #[test]
    fn lines_that_say_what_happened_are_among_them() {
        let mut lines: Vec<String> = (0..1_000).map(|number| format!("line {number}")).collect();
        lines[500] = "==7==ERROR: AddressSanitizer: heap-buffer-overflow".to_owned();
        let shown = of(&lines);
        let wanted = [
            "line 0",
            "line 1",
            "line 2",
            "… (497 lines)",
            &*lines[500],
            "line 501",
            "line 502",
            "line 503",
            "… (492 lines)",
            "line 996",
            "line 997",
            "line 998",
            "line 999",
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_flood_is_bounded() {
        let lines = vec![format!("Error: {}", "x".repeat(10_000)); 2_000];
        let shown = of(&lines);
        assert!(shown.len() < 25, "{shown:?}");
        assert!(shown.iter().all(|line| line.len() < WIDTH + 100));
    }
}
