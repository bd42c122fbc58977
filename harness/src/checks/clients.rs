//! Exchanges that many checks use.

use crate::data::reversed;
use crate::failure::Verdict;
use crate::peer::Peer;

/// A line that is the same in reverse, so that an echo and a server that reverses lines give
/// the same answer.
pub fn ping(client: &Peer) -> Verdict {
    client.ask(b"oxo\n", b"oxo\n")
}

/// A line and its echo.
pub fn echo_ping(client: &Peer) -> Verdict {
    client.ask(b"ping\n", b"ping\n")
}

/// A line and its answer from a server that reverses lines.
pub fn reverse_ping(client: &Peer) -> Verdict {
    ask_line(client, b"ping\n")
}

/// A line and its answer from a server that reverses lines.
pub fn ask_line(client: &Peer, line: &[u8]) -> Verdict {
    client.ask_for_one_of(line, &[&reversed(line), &with_its_line_break(line)])
}

/// The answer to `line`. A server that reverses its line break as well fails the check that asks
/// for this, and no other: here its answers count.
pub fn expect_answer(client: &Peer, line: &[u8]) -> Verdict {
    client.expect_one_of(&[&reversed(line), &with_its_line_break(line)])
}

fn with_its_line_break(line: &[u8]) -> Vec<u8> {
    line.iter().rev().copied().collect()
}
