//! Role `reverse`: what stage 4 does, in another house. All of it is taken over.

use crate::check::Check;
use crate::checks::netcat::{NC_OPENBSD, NC_TRADITIONAL, NCAT};
use crate::checks::reversing::{
    ALL_ANSWERS_TO_A_LATE_READER, ANY_BYTE, BOUNDARY_LENGTHS, CRLF, EMPTY_LINES, ENDLESS_LINE,
    EVERY_SPLIT, HALF_CLOSE, HOWEVER_IT_IS_CUT, LAST_LINE_WITHOUT_NEWLINE, LINE_AFTER_LINE,
    LONG_LINE_IN_PIECES, MANY_LINES_AT_ONCE, NOT_UTF8, REVERSES_A_LINE, UTF8,
};
use crate::checks::stage04::{
    CLIENTS_AT_THE_SAME_TIME, OUTLIVES_ITS_CLIENTS, SILENT_CLIENT, batches, disconnects,
    exhaustion, idling, slow_readers, surroundings,
};
use crate::checks::stopping;
use crate::checks::terminal::{MESSAGES, STDOUT_CLOSED};
use crate::stage::Stage;

const fn reverse(check: Check, id: &'static str) -> Check {
    check.taken_over(Stage::Phase1, id)
}

pub const CHECKS: &[Check] = &[
    reverse(REVERSES_A_LINE, "phase1/reverses-a-line"),
    reverse(LINE_AFTER_LINE, "phase1/line-after-line"),
    reverse(CLIENTS_AT_THE_SAME_TIME, "phase1/clients-at-the-same-time"),
    reverse(SILENT_CLIENT, "phase1/silent-client"),
    reverse(OUTLIVES_ITS_CLIENTS, "phase1/outlives-its-clients"),
    // The line protocol.
    reverse(
        LAST_LINE_WITHOUT_NEWLINE,
        "phase1/last-line-without-newline",
    ),
    reverse(HOWEVER_IT_IS_CUT, "phase1/however-it-is-cut"),
    reverse(EVERY_SPLIT, "phase1/every-split-of-a-message"),
    reverse(MANY_LINES_AT_ONCE, "phase1/many-lines-in-one-segment"),
    reverse(EMPTY_LINES, "phase1/empty-lines"),
    reverse(CRLF, "phase1/crlf"),
    reverse(ANY_BYTE, "phase1/nul-and-any-byte"),
    reverse(UTF8, "phase1/utf8-by-character"),
    reverse(NOT_UTF8, "phase1/what-is-not-utf8"),
    reverse(BOUNDARY_LENGTHS, "phase1/lines-as-long-as-a-buffer"),
    reverse(LONG_LINE_IN_PIECES, "phase1/long-line-in-pieces"),
    reverse(ENDLESS_LINE, "phase1/endless-line"),
    // What a client may do without harm to the others.
    reverse(
        ALL_ANSWERS_TO_A_LATE_READER,
        "phase1/all-answers-to-a-late-reader",
    ),
    reverse(HALF_CLOSE, "phase1/half-close"),
    reverse(slow_readers::NEVER_READS, "phase1/client-that-never-reads"),
    reverse(
        slow_readers::STUCK_CLIENT_IS_CHEAP,
        "phase1/stuck-client-is-cheap",
    ),
    reverse(slow_readers::STREAMING_CLIENT, "phase1/streaming-client"),
    reverse(disconnects::RESETS, "phase1/resets-at-any-moment"),
    reverse(
        disconnects::RESET_DURING_AN_ANSWER,
        "phase1/reset-during-an-answer",
    ),
    reverse(
        disconnects::CONNECTS_AND_LEAVES,
        "phase1/connects-and-leaves",
    ),
    reverse(disconnects::NO_LEAK, "phase1/no-leak"),
    // The event loop.
    reverse(batches::MORE_THAN_ONE_READ, "phase1/more-than-one-read"),
    reverse(
        batches::DISCONNECT_IN_A_BATCH,
        "phase1/disconnect-in-a-batch",
    ),
    reverse(
        batches::MANY_AT_ONCE_IN_THE_QUEUE,
        "phase1/many-at-once-in-the-queue",
    ),
    reverse(
        batches::STOPPED_AND_CONTINUED,
        "phase1/stopped-and-continued",
    ),
    reverse(idling::IDLE_CLIENTS, "phase1/idle-clients-cost-nothing"),
    reverse(
        idling::WAITING_FOR_A_READER,
        "phase1/waiting-for-a-reader-costs-nothing",
    ),
    reverse(idling::THOUSANDS_IDLE, "phase1/thousands-of-idle-clients"),
    reverse(
        exhaustion::AT_THE_DESCRIPTOR_LIMIT,
        "phase1/at-the-descriptor-limit",
    ),
    reverse(
        exhaustion::SERVES_ON_AFTER_THE_LIMIT,
        "phase1/serves-on-after-the-limit",
    ),
    reverse(
        exhaustion::RAISES_THE_LIMIT,
        "phase1/raises-its-descriptor-limit",
    ),
    // The program.
    reverse(stopping::SIGTERM, "phase1/sigterm"),
    reverse(
        stopping::PORT_IS_FREE_AT_ONCE,
        "phase1/port-is-free-at-once",
    ),
    reverse(MESSAGES, "phase1/shows-messages"),
    reverse(surroundings::EPOLL_WAIT_LOG, "phase1/logs-epoll-wait"),
    reverse(STDOUT_CLOSED, "phase1/stdout-closed"),
    reverse(surroundings::STDOUT_UNREAD, "phase1/stdout-unread"),
    reverse(surroundings::STDERR_CLOSED, "phase1/stderr-closed"),
    reverse(surroundings::STDERR_UNREAD, "phase1/stderr-unread"),
    reverse(NC_OPENBSD, "phase1/nc-openbsd"),
    reverse(NC_TRADITIONAL, "phase1/nc-traditional"),
    reverse(NCAT, "phase1/ncat"),
];
