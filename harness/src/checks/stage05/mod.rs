//! Stage 5: the proxy, and file transfer.

use super::proxying::*;
use super::stopping::{PORT_IS_FREE_AT_ONCE, SIGTERM, SIGTERM_UNDER_LOAD};
use super::terminal::{ADDRESS_NOT_HERE, PORT_IN_USE, PRIVILEGED_PORT, USAGE_ERROR};
use crate::check::Check;
use crate::stage::Stage;

mod files;
mod output;

pub const CHECKS: &[Check] = &[
    PASSES_REQUESTS_AND_ANSWERS,
    CLIENTS_AT_THE_SAME_TIME,
    ANY_BYTE,
    LARGE_ANSWER,
    UPSTREAM_ENDS,
    CLIENT_ENDS,
    CURL,
    // The bytes.
    AT_ONCE,
    BOTH_WAYS_AT_ONCE,
    CONSTANT_MEMORY,
    // How streams end.
    CLIENT_HALF_CLOSES,
    UPSTREAM_HALF_CLOSES,
    ECHO_AND_HALF_CLOSE,
    LATE_READER,
    END_WITH_BYTES_IN_ONE_EVENT,
    RESETS,
    RESET_PASSES_THROUGH,
    BYTES_BEFORE_A_RESET,
    RESET_DURING_A_TRANSFER,
    // The upstream.
    DOWN,
    DOWN_FOR_MANY_AT_ONCE,
    COMES_BACK,
    FULL_QUEUE,
    ANSWERS_AND_RESETS,
    CONNECT_TIMEOUT,
    NAME_UNKNOWN,
    NAME_WITH_SEVERAL_ADDRESSES,
    CLOSES_AT_ONCE,
    ANSWERS_EARLY,
    // Slow sides, idle sides.
    COME_AND_GO,
    CLOSED_AT_ONCE,
    RESET_MIDWAY,
    ANSWERED_EARLY,
    NEVER_READ,
    SLOW,
    NEVER_CONNECTED,
    CLIENT_NEVER_READS,
    UPSTREAM_NEVER_READS,
    STUCK_PAIR_IS_CHEAP,
    STREAMING_PAIR,
    IDLE_PAIRS,
    WAITING_FOR_THE_UPSTREAM,
    DEAD_ENDS,
    GONE_WHILE_BOTH_WAIT,
    EARLY_ANSWER,
    THOUSANDS_IDLE,
    // Many clients.
    ONE_AFTER_THE_OTHER,
    FIFTY_AT_ONCE,
    THOUSANDS_AT_ONCE,
    MANY_AT_ONCE_IN_THE_QUEUE,
    CONNECTS_AND_LEAVES,
    NO_LEAK,
    AT_THE_DESCRIPTOR_LIMIT,
    AT_A_HIGHER_LIMIT,
    RAISES_THE_LIMIT,
    super::soak::PROXY,
    // The program.
    STOPPED_AND_CONTINUED,
    stopped(SIGTERM, "stage05/sigterm"),
    stopped(SIGTERM_UNDER_LOAD, "stage05/sigterm-under-load"),
    stopped(PORT_IS_FREE_AT_ONCE, "stage05/port-is-free-at-once"),
    output::REQUESTS,
    output::TOTALS,
    output::LOG_LINES,
    output::ONE_WARNING,
    output::QUIET,
    output::STDOUT_CLOSED,
    output::STDOUT_UNREAD,
    output::STDERR_CLOSED,
    output::STDERR_UNREAD,
    PORT_IN_USE.taken_over(Stage::Stage05, "stage05/port-in-use"),
    PRIVILEGED_PORT.taken_over(Stage::Stage05, "stage05/privileged-port"),
    ADDRESS_NOT_HERE.taken_over(Stage::Stage05, "stage05/address-of-another-machine"),
    USAGE_ERROR.taken_over(Stage::Stage05, "stage05/usage-error"),
    output::IPV6,
    output::LOCALHOST,
    CURL_KEEP_ALIVE,
    CURL_LARGE_FILE,
    CHROMIUM,
    // The practice problem.
    files::WHOLE_FILE,
    files::EMPTY_FILE,
    files::LARGE_FILE,
    files::CLASSIC_CLIENT,
    files::RESET_LEAVES_THE_OLD_FILE,
    files::DEATH_SHOWS_AS_A_RESET,
    files::KILLED_CLIENT,
    files::SERVERS_DEATH_SHOWS_AS_A_RESET,
    files::KEEP,
    files::SIGNAL_REMOVES_THE_PART,
    files::SERVER_CANNOT_WRITE,
    files::CLIENT_CANNOT_READ,
    files::CLIENT_WITHOUT_A_SERVER,
    files::SERVER_GONE_IN_THE_MIDDLE,
];

const fn stopped(check: Check, id: &'static str) -> Check {
    Check {
        chapter: "docs/src/phase0/stage05.md",
        ..check.taken_over(Stage::Stage05, id)
    }
}
