//! The line on the terminal for each answer of the server.

use super::escape::escape;
use super::reverse::split_ending;

/// Appends `[SERVER MESSAGE] …` for one line.
pub fn show_answer(line: &[u8], shown: &mut String) {
    let (text, _) = split_ending(line);
    shown.push_str("[SERVER MESSAGE] ");
    escape(text, shown);
    shown.push('\n');
}
