//! Exchanges that many checks use.

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
    client.ask(b"ping\n", b"gnip\n")
}
