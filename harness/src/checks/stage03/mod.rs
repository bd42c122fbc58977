//! Stage 3: UDP. [`answers`] is what any UDP server must do, [`threads`] is what a server with
//! threads must do, and [`client`] is about `udp-client`.

mod answers;
mod base;
mod client;
mod netcat;
mod threads;

use super::odd_starts;
use crate::check::Check;
use crate::stage::Stage;

pub fn checks() -> Vec<Check> {
    [CHECKS, &odd_starts::checks(Stage::Stage03)].concat()
}

const CHECKS: &[Check] = &[
    answers::LISTENS,
    answers::REVERSES_A_DATAGRAM,
    answers::OWN_ANSWERS,
    answers::EXACT_LENGTHS,
    answers::EMPTY,
    answers::LINE_ENDINGS,
    answers::ANY_BYTES,
    answers::CLIENTS_GONE,
    answers::SEND_FAILS,
    answers::OWN_ADDRESS,
    answers::SHOWN_WHOLE,
    answers::SHOWN_ESCAPED,
    answers::STDOUT_GONE,
    answers::STOPPED_FOR_A_WHILE,
    Check {
        hint: "neither block nor handle these signals",
        chapter: "docs/src/phase0/stage03.md",
        ..super::signals::ENDS_ON_A_SIGNAL.taken_over(Stage::Stage03)
    },
    answers::PORT_IN_USE,
    answers::PRIVILEGED_PORT,
    answers::USAGE,
    answers::IPV6,
    netcat::OPENBSD,
    netcat::TRADITIONAL,
    netcat::NCAT,
    threads::BOUNDED_IN_A_FLOOD,
    threads::NO_MORE_THREADS,
    threads::IDLE,
    threads::SEVERAL,
    threads::THREADS,
    threads::THREADS_NO_MORE,
    threads::PER_DATAGRAM,
    threads::MAX_THREADS,
    threads::PER_DATAGRAM_NO_MORE_THREADS,
    client::A_LINE_IS_A_DATAGRAM,
    client::SENDS_AGAIN,
    client::GIVES_UP,
    client::LATE_ANSWER,
    client::STRANGER,
    client::LONG_LINES,
    client::NOBODY_THERE,
    client::STOPPED_FOR_A_WHILE,
    client::STDOUT_READER_GONE,
];
