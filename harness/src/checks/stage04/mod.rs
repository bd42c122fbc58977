//! Stage 4: many clients on one thread.

mod base;
mod batches;
mod disconnects;
mod exhaustion;
mod idling;
mod slow_readers;
mod surroundings;

use super::{netcat, odd_starts, reversing, soak, stopping, terminal};
use crate::check::Check;
use crate::stage::Stage;

pub use batches::STOPPED_AND_CONTINUED;

pub fn checks() -> Vec<Check> {
    let own = &[stopping::SIGTERM_UNDER_LOAD, soak::LINES];
    [
        reversing::CHECKS,
        MANY_CLIENTS,
        own,
        terminal::CHECKS,
        netcat::CHECKS,
        &odd_starts::checks(Stage::Stage04),
    ]
    .concat()
}

/// What every server that reverses the lines of many clients must do.
pub const MANY_CLIENTS: &[Check] = &[
    base::CLIENTS_AT_THE_SAME_TIME,
    base::SILENT_CLIENT,
    base::OUTLIVES_ITS_CLIENTS,
    // What a client may do without any harm to the others.
    slow_readers::NEVER_READS,
    slow_readers::STUCK_CLIENT_IS_CHEAP,
    slow_readers::STREAMING_CLIENT,
    disconnects::RESETS,
    disconnects::RESET_DURING_AN_ANSWER,
    disconnects::NOTHING_IS_LEFT_OF_A_RESET,
    disconnects::CONNECTS_AND_LEAVES,
    disconnects::VANISHES,
    disconnects::NO_LEAK,
    // The event loop.
    batches::MORE_THAN_ONE_READ,
    batches::DISCONNECT_IN_A_BATCH,
    batches::MANY_AT_ONCE_IN_THE_QUEUE,
    batches::LONG_QUEUE,
    batches::STOPPED_AND_CONTINUED,
    idling::IDLE_CLIENTS,
    idling::WAITING_FOR_A_READER,
    idling::THOUSANDS_IDLE,
    exhaustion::AT_THE_DESCRIPTOR_LIMIT,
    exhaustion::SERVES_ON_AFTER_THE_LIMIT,
    exhaustion::RAISES_THE_LIMIT,
    // The program.
    stopping::SIGTERM,
    stopping::PORT_IS_FREE_AT_ONCE,
    surroundings::EPOLL_WAIT_LOG,
    surroundings::STDOUT_UNREAD,
    surroundings::FULL_STDOUT,
    surroundings::STDERR_CLOSED,
    surroundings::STDERR_UNREAD,
];
