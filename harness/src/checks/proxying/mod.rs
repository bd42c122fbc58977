//! What every proxy must do, however it is built. Each check is written for stage 5; phase 1
//! takes it over for the modular server.
//!
//! The check plays both ends: the client, and the server behind the proxy.

mod base;
mod bytes;
mod crowds;
mod ends;
mod idling;
mod limits;
mod resets;
mod slow;
mod thousands;
mod tools;
mod upstreams;

use crate::check::Check;

pub use base::*;
pub use thousands::{NEVER_READ, NEVER_READ_AND_FORGOTTEN};

pub const CHECKS: &[Check] = &[
    base::PASSES_REQUESTS_AND_ANSWERS,
    base::CLIENTS_AT_THE_SAME_TIME,
    bytes::ANY_BYTE,
    bytes::LARGE_ANSWER,
    ends::UPSTREAM_ENDS,
    ends::CLIENT_ENDS,
    tools::CURL,
    // The bytes.
    bytes::AT_ONCE,
    bytes::BOTH_WAYS_AT_ONCE,
    bytes::CONSTANT_MEMORY,
    // How streams end.
    ends::CLIENT_HALF_CLOSES,
    ends::UPSTREAM_HALF_CLOSES,
    ends::ECHO_AND_HALF_CLOSE,
    ends::LATE_READER,
    ends::END_WITH_BYTES_IN_ONE_EVENT,
    resets::RESETS,
    resets::VANISHES,
    resets::RESET_PASSES_THROUGH,
    resets::BYTES_BEFORE_A_RESET,
    resets::ANSWER_BEFORE_A_RESET,
    resets::RESET_DURING_A_TRANSFER,
    // The upstream.
    upstreams::DOWN,
    upstreams::DOWN_FOR_MANY_AT_ONCE,
    upstreams::COMES_BACK,
    upstreams::CONNECTED_TO_ITSELF,
    upstreams::NO_PORT,
    upstreams::FULL_QUEUE,
    upstreams::ANSWERS_AND_RESETS,
    upstreams::CONNECT_TIMEOUT,
    upstreams::NAME_UNKNOWN,
    upstreams::NAME_WITH_SEVERAL_ADDRESSES,
    upstreams::CLOSES_AT_ONCE,
    upstreams::ANSWERS_EARLY,
    // Slow sides, idle sides.
    thousands::COME_AND_GO,
    thousands::CLOSED_AT_ONCE,
    thousands::RESET_MIDWAY,
    thousands::ANSWERED_EARLY,
    thousands::SLOW,
    thousands::NEVER_CONNECTED,
    slow::CLIENT_NEVER_READS,
    slow::UPSTREAM_NEVER_READS,
    slow::STUCK_PAIR_IS_CHEAP,
    slow::STREAMING_PAIR,
    idling::IDLE_PAIRS,
    idling::WAITING_FOR_THE_UPSTREAM,
    idling::DEAD_ENDS,
    idling::GONE_WHILE_BOTH_WAIT,
    idling::EARLY_ANSWER,
    idling::THOUSANDS_IDLE,
    // Many clients.
    crowds::ONE_AFTER_THE_OTHER,
    crowds::FIFTY_AT_ONCE,
    crowds::THOUSANDS_AT_ONCE,
    crowds::MANY_AT_ONCE_IN_THE_QUEUE,
    limits::CONNECTS_AND_LEAVES,
    limits::NO_LEAK,
    limits::AT_THE_DESCRIPTOR_LIMIT,
    limits::AT_A_HIGHER_LIMIT,
    limits::RAISES_THE_LIMIT,
    // The program.
    crowds::STOPPED_AND_CONTINUED,
    tools::CURL_KEEP_ALIVE,
    tools::CURL_LARGE_FILE,
    tools::CHROMIUM,
];
