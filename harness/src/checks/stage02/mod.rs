//! Stage 2: the client. The check plays the server; [`multi`] is about the program that
//! forks many clients.

mod addresses;
mod base;
mod endings;
mod multi;
mod pipes;
mod signals;
mod terminal;

use crate::check::Check;

pub const CHECKS: &[Check] = &[
    terminal::SHOWS_EACH_ANSWER,
    endings::CONNECTION_REFUSED,
    endings::SERVER_CLOSES_UNANSWERED,
    pipes::END_OF_INPUT,
    pipes::ANSWERS_CUT_ANYWHERE,
    pipes::LINES_FASTER_THAN_ANSWERS,
    pipes::LARGE_FILE,
    pipes::SLOW_SERVER,
    pipes::ANSWERS_IN_BULK,
    pipes::LATE_READER,
    pipes::LAST_LINE_WITHOUT_NEWLINE,
    pipes::ANY_BYTES,
    pipes::IDLE,
    terminal::ANSWER_IN_PIECES,
    terminal::PROMPT,
    terminal::CONTROL_BYTES,
    terminal::END_OF_INPUT,
    endings::REASON_OF_A_REFUSAL,
    endings::CONNECTED_TO_ITSELF,
    endings::SERVER_GONE_AT_THE_PROMPT,
    endings::SERVER_CLOSES_EARLY,
    endings::SERVER_RESETS,
    endings::STDOUT_READER_GONE,
    endings::LOG_LOST,
    endings::UNKNOWN_HOST,
    endings::USAGE,
    signals::STOPPED_WHILE_IT_WAITS,
    signals::STOPPED_WHILE_IT_CARRIES,
    signals::ENDS_ON_A_SIGNAL,
    addresses::HOST_NAME,
    addresses::IPV6,
    multi::ALL_AT_ONCE,
    multi::WRONG_ANSWER,
    multi::SERVER_CLOSES,
    multi::CONNECTION_REFUSED,
    multi::NO_MORE_PROCESSES,
    multi::SIGCHLD_IGNORED,
    multi::KILLED,
    multi::FIFTY,
];
