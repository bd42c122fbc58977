//! Reads the lines of the user of udp-client from stdin, with a prompt on a terminal, and
//! writes the answers to stdout.

use std::io::{self, BufRead, IsTerminal, Read, Write, stdin, stdout};

use super::answers::show_answer;

/// Returns the next line with its ending, or `None` at the end of stdin. Of a line that is
/// longer than `limit` bytes it returns only the first `limit + 1`, so that the caller can see
/// that the line is too long.
pub fn read_line(limit: usize) -> io::Result<Option<Vec<u8>>> {
    let interactive = stdin().is_terminal() && stdout().is_terminal();
    if interactive {
        stdout().write_all(b"> ")?;
        stdout().flush()?;
    }
    let mut line = Vec::new();
    let mut input = stdin().lock();
    let head = limit as u64 + 1;
    input.by_ref().take(head).read_until(b'\n', &mut line)?;
    if line.len() > limit && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    if interactive && !line.ends_with(b"\n") {
        stdout().write_all(b"\n")?; // Ctrl-D, unlike Enter, does not move the cursor
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Prints an answer: escaped on a terminal, otherwise its bytes as they are.
pub fn print_answer(answer: &[u8]) -> io::Result<()> {
    let mut stdout = stdout();
    if stdout.is_terminal() {
        let mut shown = String::new();
        show_answer(answer, &mut shown);
        stdout.write_all(shown.as_bytes())?;
    } else {
        stdout.write_all(answer)?;
    }
    stdout.flush()
}
