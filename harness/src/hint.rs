//! What to look at, by what has happened. A check's own hint knows only what the check asks for.

use crate::failure::Outcome;

/// For a program that has printed nothing, and whose stdout is not a terminal.
pub const FLUSH: &str = "when stdout is not a terminal, C keeps what `printf` prints until there is much of it or the program ends: call `fflush(stdout)` after each message";

/// For a NUL where there should be none.
pub const NUL: &str = "the NUL byte that ends a string in C is not part of the message: pass to `send` how many bytes came, not `sizeof` and not `strlen` + 1";

/// For a server that ends before it listens.
pub const ENDED_EARLY: &str = "start the program by hand with the same words, and read what it prints; `echo $?` then shows its exit status";

/// For a connection that is refused although the server runs.
pub const REFUSED: &str =
    "nobody listens there any more: keep the listening socket open for as long as the server runs";

/// For a port number whose two bytes are the wrong way round.
pub const HTONS: &str = "the bytes of the port are the wrong way round: `htons(port)` puts them into network byte order";

/// For a server that other addresses reach, or none.
pub const ADDRESS: &str = "bind to 127.0.0.1, or to 0.0.0.0 for all IPv4 addresses";

/// For a server that does not listen.
pub const LISTEN: &str =
    "check what `socket`, `bind` and `listen` return, and call `perror` if it is -1";

pub fn by_outcome(outcome: &Outcome) -> Option<&'static str> {
    let signal = match outcome {
        Outcome::Killed(signal) => signal,
        Outcome::Exited(1..) => return Some("what it printed says why it has ended"),
        _ => return None,
    };
    match signal.as_str() {
        "SIGPIPE" => Some(
            "writing to a connection that the other side has closed raises SIGPIPE, which ends a program: pass `MSG_NOSIGNAL` to `send`, or ignore the signal once at the start",
        ),
        "SIGSEGV" | "SIGBUS" | "SIGABRT" | "SIGFPE" | "SIGILL" => Some(
            "compile a C program with `-g -fsanitize=address,undefined` and run the check again: it then prints the line at fault",
        ),
        "SIGXCPU" => Some("look for a loop that never waits"),
        "SIGKILL" => Some("the check did not kill it; the kernel does when memory runs out"),
        _ => None,
    }
}

/// By what a program has logged.
pub fn by_log(log: &str) -> Option<&'static str> {
    const HINTS: [(&str, &str); 2] = [
        (
            "Address already in use",
            "the port is taken: set `SO_REUSEADDR` before `bind`, and bind only once",
        ),
        (
            "Too many open files",
            "it has no descriptors left: close each connection when it has ended",
        ),
    ];
    let mut hints = HINTS.iter();
    let found = hints.find(|(words, _)| log.contains(words));
    found.map(|(_, hint)| *hint)
}
