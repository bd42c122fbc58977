//! Stage 5: the proxy, and file transfer.

mod files;
mod output;

use super::{odd_starts, proxying, soak, stopping, terminal};
use crate::check::{Check, taken_over};
use crate::stage::Stage;

pub fn checks() -> Vec<Check> {
    let listening = taken_over(terminal::LISTENING, Stage::Stage05);
    let odd = odd_starts::checks(Stage::Stage05);
    [proxying::CHECKS, OWN, &listening, &odd].concat()
}

const OWN: &[Check] = &[
    proxying::NEVER_READ,
    soak::PROXY,
    stopped(stopping::SIGTERM),
    stopped(stopping::SIGTERM_UNDER_LOAD),
    stopped(stopping::PORT_IS_FREE_AT_ONCE),
    output::REQUESTS,
    output::TOTALS,
    output::LOG_LINES,
    output::ONE_WARNING,
    output::QUIET,
    output::STDOUT_CLOSED,
    output::STDOUT_UNREAD,
    output::FULL_STDOUT,
    output::STDERR_CLOSED,
    output::STDERR_UNREAD,
    output::IPV6,
    output::LOCALHOST,
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
    files::NOHUP,
    files::FILE_LIMIT,
    files::PERMISSIONS,
    files::PASSING_ERRORS,
    files::LOG_LOST,
    files::SILENT_CLIENT,
    files::SERVER_CANNOT_WRITE,
    files::CLIENT_CANNOT_READ,
    files::CLIENT_WITHOUT_A_SERVER,
    files::CLIENT_CONNECTED_TO_ITSELF,
    files::SERVER_GONE_IN_THE_MIDDLE,
];

const fn stopped(check: Check) -> Check {
    Check {
        chapter: "docs/src/phase0/stage05.md",
        ..check.taken_over(Stage::Stage05)
    }
}
