//! Broken proxies (stage 5), and which check catches which.

use super::proxy_loop::Proxy;
use super::{Case, case};

pub const CASES: &[Case] = &[
    case(
        "stage05/passes-requests-and-answers",
        "proxy-ends-after-the-first-answer",
    ),
    case(
        "stage05/clients-at-the-same-time",
        "proxy-answers-the-last-client",
    ),
    case("stage05/any-byte", "proxy-stops-at-nul"),
    case("stage05/large-transfers", "proxy-sends-once"),
    case("stage05/end-of-the-upstream", "proxy-keeps-the-client-open"),
    case("stage05/end-of-the-client", "proxy-keeps-the-upstream-open"),
    case("stage05/curl", "proxy-ends-with-its-first-client"),
    case("stage05/each-byte-at-once", "proxy-waits-for-a-line"),
    case(
        "stage05/both-ways-at-once",
        "proxy-has-one-buffer-for-both-directions",
    ),
    case("stage05/constant-memory", "proxy-remembers-every-byte"),
    case(
        "stage05/client-half-closes",
        "proxy-closes-at-the-end-of-the-client",
    ),
    case(
        "stage05/upstream-half-closes",
        "proxy-closes-at-the-end-of-the-upstream",
    ),
    case(
        "stage05/three-megabytes-and-half-close",
        "proxy-closes-at-the-end-of-the-client",
    ),
    case(
        "stage05/ends-before-all-is-read",
        "proxy-reads-on-and-drops-it-at-the-end",
    ),
    case(
        "stage05/bytes-and-end-in-one-event",
        "proxy-closes-on-hangup",
    ),
    case(
        "stage05/resets-at-any-moment",
        "proxy-panics-when-a-recv-fails",
    ),
    case(
        "stage05/resets-at-any-moment",
        "proxy-forgets-pairs-that-reset",
    ),
    case(
        "stage05/reset-passes-through",
        "proxy-keeps-the-other-side-after-a-reset",
    ),
    case("stage05/bytes-before-a-reset", "proxy-closes-on-hangup"),
    case(
        "stage05/answer-before-a-reset",
        "proxy-closes-when-its-upstream-resets",
    ),
    case("stage05/reset-during-a-transfer", "proxy-dies-of-sigpipe"),
    case(
        "stage05/reset-during-a-transfer",
        "proxy-panics-when-a-send-fails",
    ),
    case(
        "stage05/upstream-down",
        "proxy-panics-when-the-upstream-is-down",
    ),
    case(
        "stage05/upstream-down",
        "proxy-forgets-clients-without-an-upstream",
    ),
    case(
        "stage05/connected-to-itself",
        "proxy-takes-itself-for-the-upstream",
    ),
    case(
        "stage05/no-port-for-the-upstream",
        "proxy-panics-when-the-upstream-is-down",
    ),
    case(
        "stage05/upstream-down-for-many-at-once",
        "proxy-stops-accepting-at-a-failed-connect",
    ),
    case(
        "stage05/upstream-comes-back",
        "proxy-remembers-that-the-upstream-was-down",
    ),
    case(
        "stage05/upstream-with-a-full-queue",
        "proxy-blocks-while-it-connects",
    ),
    case(
        "stage05/upstream-answers-and-resets",
        "proxy-takes-a-reset-for-a-refusal",
    ),
    case(
        "stage05/connect-timeout",
        "proxy-waits-for-the-kernel-to-give-up",
    ),
    case(
        "stage05/upstream-without-an-address",
        "proxy-resolves-with-the-first-client",
    ),
    case("stage05/upstream-by-name", "proxy-tries-one-address-only"),
    case(
        "stage05/upstream-accepts-and-closes",
        "proxy-leaks-a-descriptor",
    ),
    case(
        "stage05/upstream-accepts-and-closes",
        "proxy-panics-when-a-recv-fails",
    ),
    case(
        "stage05/upstream-answers-early",
        "proxy-reads-the-upstream-only-after-a-request",
    ),
    case(
        "stage05/upstream-answers-early",
        "proxy-closes-at-the-end-of-the-upstream",
    ),
    case(
        "stage05/upstream-down-for-thousands",
        "proxy-forgets-clients-without-an-upstream",
    ),
    case(
        "stage05/upstream-down-for-thousands",
        "proxy-remembers-that-the-upstream-was-down",
    ),
    case(
        "stage05/upstream-closes-on-thousands",
        "proxy-leaks-a-descriptor",
    ),
    case(
        "stage05/upstream-resets-thousands-midway",
        "proxy-closes-on-hangup",
    ),
    case(
        "stage05/upstream-answers-thousands-early",
        "proxy-closes-at-the-end-of-the-upstream",
    ),
    case(
        "stage05/upstream-never-reads-thousands",
        "proxy-waits-for-a-slow-reader",
    ),
    case(
        "stage05/upstream-slow-for-thousands",
        "proxy-counts-its-pairs-in-a-byte",
    ),
    case(
        "stage05/connect-timeout-for-thousands",
        "proxy-waits-for-the-kernel-to-give-up",
    ),
    case(
        "stage05/client-that-never-reads",
        "proxy-keeps-bytes-without-bound",
    ),
    case(
        "stage05/client-that-never-reads",
        "proxy-waits-for-a-slow-reader",
    ),
    case(
        "stage05/upstream-that-never-reads",
        "proxy-keeps-bytes-without-bound",
    ),
    case(
        "stage05/upstream-that-never-reads",
        "proxy-waits-for-a-slow-reader",
    ),
    case(
        "stage05/stuck-pair-is-cheap",
        "proxy-copies-what-waits-at-every-turn",
    ),
    case(
        "stage05/streaming-pair",
        "proxy-moves-one-pair-until-it-is-empty",
    ),
    case(
        "stage05/idle-pairs-cost-nothing",
        "proxy-always-waits-for-room",
    ),
    case(
        "stage05/idle-pairs-cost-nothing",
        "proxy-watches-for-ends-that-it-knows",
    ),
    case(
        "stage05/waiting-for-the-upstream-costs-nothing",
        "proxy-watches-clients-while-it-connects",
    ),
    case(
        "stage05/gone-while-bytes-wait",
        "proxy-watches-dead-sockets",
    ),
    case(
        "stage05/gone-while-bytes-wait",
        "proxy-passes-a-reset-on-at-once",
    ),
    case(
        "stage05/gone-while-both-wait",
        "proxy-stops-reading-when-the-other-side-is-gone",
    ),
    case(
        "stage05/answer-to-a-client-that-still-sends",
        "proxy-closes-with-unread-input",
    ),
    case(
        "stage05/thousands-of-idle-pairs",
        "proxy-looks-at-all-pairs-at-every-turn",
    ),
    case(
        "stage05/two-hundred-one-after-the-other",
        "proxy-has-room-for-ten-pairs",
    ),
    case(
        "stage05/fifty-answered-in-reverse-order",
        "proxy-has-room-for-ten-pairs",
    ),
    case(
        "stage05/fifty-answered-in-reverse-order",
        "proxy-always-waits-for-room",
    ),
    case(
        "stage05/thousands-at-once",
        "proxy-counts-its-pairs-in-a-byte",
    ),
    case(
        "stage05/many-at-once-in-the-queue",
        "proxy-accepts-once-per-edge",
    ),
    case(
        "stage05/connects-and-leaves",
        "proxy-needs-the-address-of-its-clients",
    ),
    case("stage05/connects-and-leaves", "proxy-leaks-a-descriptor"),
    case(
        "stage05/client-that-vanishes",
        "proxy-never-asks-a-silent-client",
    ),
    case("stage05/no-leak", "proxy-leaks-a-descriptor"),
    case("stage05/no-leak", "proxy-leaks-memory"),
    case(
        "stage05/at-the-descriptor-limit",
        "proxy-spins-at-the-descriptor-limit",
    ),
    case(
        "stage05/at-the-descriptor-limit",
        "proxy-accepts-no-more-after-the-limit",
    ),
    case(
        "stage05/at-a-higher-descriptor-limit",
        "proxy-spins-at-the-descriptor-limit",
    ),
    case(
        "stage05/at-a-higher-descriptor-limit",
        "proxy-panics-at-the-descriptor-limit",
    ),
    case(
        "stage05/raises-its-descriptor-limit",
        "proxy-keeps-its-soft-limit",
    ),
    case("stage05/soak", "proxy-panics-when-a-send-fails"),
    case("stage05/soak", "proxy-keeps-the-other-side-after-a-reset"),
    case(
        "stage05/stopped-and-continued",
        "proxy-panics-when-a-wait-is-interrupted",
    ),
    case("stage05/sigterm", "proxy-dies-of-sigterm"),
    case(
        "stage05/sigterm-under-load",
        "proxy-handles-signals-only-when-idle",
    ),
    case(
        "stage05/port-is-free-at-once",
        "proxy-does-not-reuse-the-address",
    ),
    case(
        "stage05/shows-requests",
        "proxy-shows-the-first-request-only",
    ),
    case("stage05/shows-requests", "proxy-prints-what-it-gets"),
    case("stage05/shows-totals", "proxy-shows-the-first-request-only"),
    case("stage05/log-lines", "proxy-logs-nothing-but-its-address"),
    case("stage05/one-warning", "proxy-warns-for-each-client"),
    case("stage05/one-warning", "proxy-logs-nothing-but-its-address"),
    case("stage05/quiet", "proxy-prints-although-quiet"),
    case("stage05/stdout-closed", "proxy-prints-what-it-gets"),
    case("stage05/stdout-unread", "proxy-prints-what-it-gets"),
    case(
        "stage05/full-stdout-costs-nothing",
        "proxy-looks-at-stdout-every-20-ms",
    ),
    case("stage05/stderr-closed", "proxy-logs-with-eprintln"),
    case("stage05/stderr-unread", "proxy-logs-with-eprintln"),
    case("stage05/port-in-use", "does-not-say-why"),
    case("stage05/privileged-port", "does-not-say-why"),
    case("stage05/address-of-another-machine", "does-not-say-why"),
    case(
        "stage05/usage-error",
        "ends-with-status-1-on-a-typing-error",
    ),
    case("stage05/ipv6", "always-takes-127.0.0.1"),
    case("stage05/host-by-name", "refuses-host-names"),
    case(
        "stage05/curl-keep-alive-and-range",
        "proxy-ends-after-the-first-answer",
    ),
    case("stage05/curl-large-file", "proxy-sends-once"),
    case("stage05/browser", "proxy-has-room-for-ten-pairs"),
];

/// Runs the proxy that is broken as `name` says; false when there is no such proxy.
pub fn serve(name: &str, options: &[String]) -> bool {
    let known = CASES.iter().find(|case| case.broken == name);
    let sound = name == "proxy-not-broken"; // to try the loop itself; only checks of output fail
    if let Some(fault) = known.map(|case| case.broken).or(sound.then_some("")) {
        Proxy::new(fault.trim_start_matches("proxy-"), options).run();
    }
    false
}
